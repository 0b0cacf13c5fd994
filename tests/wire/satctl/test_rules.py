"""`satctl policy`, `trust` and `block` against a real Ground Control: what they write, show, warn of and refuse."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.v1 import fleet_pb2 as pb
from tests.contract.store.words import shut
from tests.rig.ground_control import GroundControl
from tests.rig.policy_signing import PolicySigner, kind_of, payload_of, signed_version
from tests.rig.satctl import Satctl
from tests.rig.trust_material import authority, ca_pem, trusted_root_json

ONE, TWO = PolicySigner(), PolicySigner()
POLICY = """\
name: guarded
images: [hub/**]
authorities:
  - name: ci
    formats: [bundle]
    trust_root: sigstore
    keyless: {identities: [{issuer: https://token.example.com, subject_regexp: release@example.com}]}
"""
ROOT = "kind: TrustRoot\nname: sigstore\ntrusted_root: trusted_root.json\n"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "one.pub").write_text(ONE.pem)
    (tmp_path / "two.pub").write_text(TWO.pem)
    (tmp_path / "trusted_root.json").write_bytes(trusted_root_json())
    (tmp_path / "ca.pem").write_text(ca_pem())
    (tmp_path / "revoked.crl").write_bytes(authority().revocation_list())
    return tmp_path


@pytest.fixture(autouse=True)
def _nothing_stays(admin: Satctl) -> Iterator[None]:
    yield
    for kind in ("policy", "trust", "block"):
        for thing in admin.json(kind, "list"):
            admin.ok(kind, "delete", thing["name"])


def test_a_policy_and_its_trust_root_come_in_one_file_in_any_order(admin: Satctl, files: Path) -> None:
    file = files / "rules.yaml"
    file.write_text(POLICY + "---\n" + ROOT)
    applied = admin.run("policy", "apply", "-f", str(file))
    assert applied.returncode == 0, applied.stderr
    assert "rules.yaml:7: this expression is found anywhere" in applied.stderr
    assert [line.split() for line in applied.stdout.splitlines()[1:]] == [
        ["policy", "guarded", "created"],
        ["trust", "root", "sigstore", "created"],
    ]
    shown = admin.ok("policy", "get", "guarded")
    assert "identity /release@example.com/ by https://token.example.com" in shown
    assert "trust root sigstore" in shown
    assert "keyless, bundle" in admin.ok("policy", "list")


def test_a_trust_root_that_a_policy_names_must_be_there_and_stay(admin: Satctl, files: Path) -> None:
    file = files / "rules.yaml"
    file.write_text(POLICY)
    code, said = admin.refused("policy", "apply", "-f", str(file))
    assert (code, "TRUST_ROOT_UNKNOWN" in said, "satctl trust create" in said) == (1, True, True)
    admin.ok("trust", "create", "sigstore", "--ca", str(files / "ca.pem"))
    code, said = admin.refused("policy", "apply", "-f", str(file))
    assert (code, "TRUST_ROOT_LACKS" in said) == (2, True)
    admin.ok("trust", "apply", "sigstore", "--trusted-root", str(files / "trusted_root.json"))
    admin.ok("policy", "apply", "-f", str(file))
    code, said = admin.refused("trust", "delete", "sigstore")
    assert (code, "TRUST_ROOT_IN_USE" in said, "guarded" in said) == (1, True, True)


def test_a_trust_root_is_made_of_files_shown_replaced_and_deleted(admin: Satctl, files: Path) -> None:
    material = ("--ca", str(files / "ca.pem"), "--crl", str(files / "revoked.crl"), "--expires-at", "2100-01-01")
    made = admin.json("trust", "create", "corporate", *material, "--scope", "fleet")
    assert (made["spec"]["ca_pem"], made["expires_at"]) == ([ca_pem()], "2100-01-01T00:00:00Z")
    assert made["spec"]["revocation_lists"] == [(files / "revoked.crl").read_bytes().hex()]
    card = admin.ok("trust", "get", "corporate")
    assert "CN=corporate until" in card
    assert "1 certificate authorities, 1 revocation lists" in admin.ok("trust", "list")
    code, said = admin.refused("trust", "create", "corporate", "--ca", str(files / "ca.pem"))
    assert (code, "TRUST_ROOT_EXISTS" in said, "satctl trust apply" in said) == (1, True, True)
    replaced = admin.json("trust", "apply", "corporate", "--trusted-root", str(files / "trusted_root.json"))
    assert replaced["results"][0]["outcome"] == "updated"
    assert admin.json("trust", "get", "corporate")["serial"] > made["serial"]
    admin.ok("trust", "delete", "corporate")
    code, said = admin.refused("trust", "get", "corporate")
    assert (code, "TRUST_ROOT_UNKNOWN" in said) == (1, True)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ((), "TRUST_ROOT_EMPTY"),
        (("--ca", "one.pub"), "CA_MALFORMED"),
        (("--crl", "ca.pem"), "CRL_MALFORMED"),
        (("--trusted-root", "ca.pem"), "TRUSTED_ROOT_MALFORMED"),
        (("--ca", "absent.pem"), "FILE_UNREADABLE"),
        (("--ca", "ca.pem", "--expires-at", "soon"), "TIME_MALFORMED"),
        (("--ca", "ca.pem", "--expires-at", "2001-01-01"), "EXPIRED_ALREADY"),
    ],
)
def test_trust_material_that_nobody_could_use_is_refused_by_name(
    admin: Satctl, files: Path, options: tuple[str, ...], reason: str
) -> None:
    paths = [str(files / option) if "." in option else option for option in options]
    code, said = admin.refused("trust", "create", "corporate", *paths)
    assert (code, said.partition(":")[0]) == (2, reason)
    assert admin.json("trust", "list") == []


def test_a_block_is_made_listed_shown_and_lifted(admin: Satctl, files: Path) -> None:
    digest = "sha256:" + "d" * 64
    what = ("--digest", digest, "--signer", str(files / "one.pub"), "--signer", "e" * 64, "--reason", "leaked")
    made = admin.json("block", "create", "leak", *what, "--identity", "mallory@example.com=https://token.example.com")
    assert made["spec"]["signers"] == [ONE.key_id.hex(), "e" * 64]
    assert made["spec"]["identities"][0]["subject"] == {"exact": "mallory@example.com"}
    assert made["serial"] > 0
    assert "mallory@example.com by https://token.example.com" in admin.ok("block", "get", "leak")
    assert admin.ok("block", "list").splitlines()[1].split()[:4] == ["leak", "1", "2", "1"]
    admin.ok("block", "delete", "leak")
    assert admin.json("block", "list") == []
    for options, reason in (((), "BLOCK_EMPTY"), (("--identity", "mallory"), "IDENTITY_MALFORMED")):
        code, said = admin.refused("block", "create", "leak", *options)
        assert (code, said.partition(":")[0]) == (2, reason)


def test_a_threshold_of_keys_is_made_from_the_command_line(admin: Satctl, files: Path) -> None:
    keys = ("--key", str(files / "one.pub"), "--key", str(files / "two.pub"), "--image", "hub/**")
    made = admin.json("policy", "create", "both", *keys, "--threshold", "2")
    assert made["spec"]["authorities"][0]["keys"]["threshold"] == 2
    assert "2 of 2 keys" in admin.ok("policy", "list")
    code, said = admin.refused("policy", "create", "three", *keys, "--threshold", "3")
    assert (code, said.partition(":")[0]) == (2, "THRESHOLD_OUT_OF_RANGE")


def test_who_writes_over_what_was_signed_is_warned(admin: Satctl, ground_control: GroundControl, files: Path) -> None:
    payload = payload_of(shut("hub/**"), "guarded", serial=1_000_000)
    signature = ONE.sign(signed_version(payload))
    resource = pb.SignedResource(kind=kind_of(payload), payload=payload.SerializeToString(), signatures=[signature])

    async def write() -> None:
        other = await ground_control.join_operator("signer")
        async with other.fleet() as stub:
            await stub.ApplyChanges(pb.ApplyChangesRequest(changes=[pb.Change(signed=resource)]))

    asyncio.run(write())
    assert admin.json("policy", "get", "guarded")["signed_by"] == [ONE.key_id.hex()]
    assert "by 1" in admin.ok("policy", "list")
    file = files / "rules.yaml"
    file.write_text("name: guarded\nimages: [hub/**]\nauthorities: [{name: nobody, static: fail}]\n")
    same = admin.run("policy", "apply", "-f", str(file))
    assert "unchanged" in same.stdout
    assert "warning" not in same.stderr
    file.write_text("name: guarded\nimages: [hub/a/**]\nauthorities: [{name: nobody, static: fail}]\n")
    for options in (("--dry-run",), ()):
        done = admin.run("policy", "apply", "-f", str(file), *options)
        assert "updated" in done.stdout
        assert "guarded was signed by policy signers" in done.stderr
    assert admin.json("policy", "get", "guarded")["signed_by"] == []
