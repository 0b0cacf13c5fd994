"""A Ground Control that turned evil, against a site that pins its policy signers: it can withhold, and no more."""

from __future__ import annotations

import json
import secrets
from base64 import b64decode
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from fleet.v1 import fleet_pb2 as pb
from fleet.v1 import resource_pb2
from tests.rig.estate import TAG, V3, Estate, Image, by_keys
from tests.rig.satctl import Satctl
from tests.rig.satellite import Satellite

pytestmark = [pytest.mark.needs_cosign, pytest.mark.needs_registry]

POLICY = """\
name: {name}
images: ["{image}"]
scopes: [satellite/{site}]
authorities: [{{name: release, formats: [bundle], keys: [{{file: {key}}}]}}]
"""
BLOCK = """\
kind: Block
name: {name}
scopes: [satellite/{site}]
digests: {digests}
"""


@dataclass
class Office:
    """Where policies are signed: three signers, of whom two must sign, and a satctl."""

    directory: Path
    satctl: Satctl
    sets: int = 0
    """Signer sets that have followed."""

    def __post_init__(self) -> None:
        for name in ("alice", "bob", "carol"):
            self.hire(name)

    def hire(self, name: str) -> None:
        private = ec.generate_private_key(ec.SECP256R1()) if name == "bob" else ed25519.Ed25519PrivateKey.generate()
        sealing = BestAvailableEncryption(b"open sesame") if name == "alice" else NoEncryption()
        self.key(name).write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, sealing))
        public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.key(name).with_suffix(".pub").write_bytes(public)

    def key(self, name: str) -> Path:
        return self.directory / f"{name}.key"

    def signed(self, text: str, *by: str, serial: int = 0) -> Path:
        """Sign a YAML document, one signer after the other, each at their own desk: `→ the signed file`."""
        file, out = self.directory / "rules.yaml", self.directory / f"signed-{secrets.token_hex(4)}.json"
        file.write_text(text)
        for name in by:
            numbered = ("--serial", str(serial)) if serial else ()
            self.satctl.ok(
                "policy", "sign", "-f", str(file), "--key", str(self.key(name)), "--out", str(out), *numbered
            )
            file = out
        return out

    def apply(self, text: str, *by: str) -> Path:
        signed = self.signed(text, *by)
        self.satctl.ok("policy", "apply", "-f", str(signed))
        return signed


@pytest.fixture(scope="module")
def office(estate: Estate, tmp_path_factory: pytest.TempPathFactory) -> Office:
    satctl = Satctl(tmp_path_factory.mktemp("office-satctl"))
    satctl.ok("login", estate.ground_control.operator_string("office"))
    office = Office(tmp_path_factory.mktemp("office"), satctl)
    office.satctl = Satctl(satctl.home, passphrase="open sesame")
    return office


@pytest.fixture
def pinned(estate: Estate, kind: str, office: Office) -> Satellite:
    """A site of its own that pins alice, bob and carol, two of whom must sign."""
    keys = ",".join(str(office.key(name).with_suffix(".pub")) for name in ("alice", "bob", "carol"))
    options = {"policy_signers": keys, "policy_signers_threshold": "2"}
    return estate.site(kind, f"pinned-{kind}-{secrets.token_hex(3)}", options=options)


@dataclass
class Scene:
    """A pinned site with one image that a signed policy admits."""

    estate: Estate
    site: Satellite
    office: Office
    image: Image
    name: str

    def policy(self, *, key: Path | None = None, image: str = "") -> str:
        glob = image or f"{self.image.source}/{self.image.repository}"
        return POLICY.format(
            name=self.name, image=glob, site=self.site.directory.name, key=key or self.estate.release.public
        )

    def block(self, *digests: str) -> str:
        return BLOCK.format(name=f"{self.name}-block", site=self.site.directory.name, digests=list(digests))

    def await_problem(self, reason: str) -> None:
        def told() -> bool:
            return any(one["reason"] == reason for one in self.site.status().get("problems", []))

        self.site.await_that(told, f"{reason} is reported")
        self.site.await_that(
            lambda: any(one.reason == reason for one in self.estate.status(self.site).report.exceptions),
            f"Ground Control knows of {reason}",
        )

    def evil(self, image: Image) -> str:
        """Assign an image that a stranger signed: `→ the artifact's name`."""
        image.sign(self.estate.stranger, V3)
        return self.estate.assign(self.site, image)


@pytest.fixture
def scene(estate: Estate, pinned: Satellite, office: Office) -> Scene:
    image = estate.image()
    image.sign(estate.release, V3)
    scene = Scene(estate, pinned, office, image, f"p-{secrets.token_hex(4)}")
    office.apply(scene.policy(), "alice", "bob")
    pinned.await_published(estate.assign(pinned, image))
    return scene


def test_an_unsigned_policy_admits_nothing_and_the_signed_one_stays(scene: Scene) -> None:
    evil = scene.estate.image()
    scene.estate.allow(scene.site, evil, scene.estate.stranger)  # Ground Control's own word
    scene.await_problem("POLICY_UNSIGNED")
    scene.site.await_refused(scene.evil(evil), "NO_POLICY")
    scene.estate.rule(scene.site, scene.image, by_keys(scene.estate.stranger))
    assert scene.site.pull(scene.image.repository, TAG)[0] == 200


def test_a_policy_of_too_few_signers_or_of_the_past_changes_nothing(scene: Scene) -> None:
    first = scene.office.signed(scene.policy(), "alice", "bob", serial=1)
    wider = scene.policy(key=scene.estate.stranger.public, image="**")
    scene.office.apply(wider, "carol")
    scene.await_problem("POLICY_UNSIGNED")
    evil = scene.estate.image()
    scene.site.await_refused(scene.evil(evil), "NO_POLICY")
    scene.office.apply(scene.policy(), "bob", "carol")
    scene.site.await_that(lambda: not scene.site.status()["problems"], "a signed one puts it right")
    code, said = scene.office.satctl.refused("policy", "apply", "-f", str(first))
    assert (code, "SERIAL" in said) == (1, True), said  # an honest Ground Control refuses it, too


def test_what_ground_control_takes_away_stays_in_force(scene: Scene) -> None:
    scene.office.apply(scene.block(scene.image.root), "alice", "carol")
    scene.site.await_refused(scene.image.name, "BLOCKED")
    scene.office.satctl.ok("block", "delete", f"{scene.name}-block", "--yes")
    scene.office.satctl.ok("policy", "delete", scene.name, "--yes")
    scene.await_problem("POLICY_WITHHELD")
    assert scene.site.pull(scene.image.repository, TAG)[0] == 404
    scene.site.stop()
    scene.site.start()
    scene.site.await_link()
    scene.await_problem("POLICY_WITHHELD")
    assert scene.site.pull(scene.image.repository, TAG)[0] == 404
    lifted = scene.office.signed(scene.block("sha256:" + "0" * 64), "alice", "carol", serial=1000)
    scene.office.satctl.ok("policy", "apply", "-f", str(lifted))
    scene.site.await_published(scene.image.name)


def test_bytes_that_were_changed_after_they_were_signed_do_not_count(scene: Scene) -> None:
    signed = json.loads(scene.office.signed(scene.policy(), "alice", "bob", serial=900).read_text())["signed"][0]
    payload = b64decode(signed["payload"])
    forged = payload.replace(scene.name.encode(), f"q{scene.name[1:]}".encode())
    assert forged != payload
    request = pb.SignedResource(kind=resource_pb2.RESOURCE_KIND_POLICY, payload=forged)
    for each in signed["signatures"]:
        request.signatures.add(key_id=bytes.fromhex(each["key_id"]), signature=b64decode(each["signature"]))
    scene.estate.change(pb.Change(signed=request))
    scene.await_problem("POLICY_UNSIGNED")


def test_signers_are_replaced_by_a_set_that_old_and_new_ones_signed(scene: Scene) -> None:
    office = scene.office
    office.sets += 1
    newest = f"dora{office.sets}"
    office.hire(newest)
    tightened = scene.policy(image=f"{scene.image.source}/elsewhere/**")
    office.apply(tightened, "bob", newest)
    scene.await_problem("POLICY_UNSIGNED")
    assert scene.site.pull(scene.image.repository, TAG)[0] == 200

    members = ["alice", "bob", "carol", *(f"dora{number}" for number in range(1, office.sets + 1))]
    keys = [part for name in members for part in ("--key", str(office.key(name).with_suffix(".pub")))]
    file = office.directory / "signers.json"
    numbered = ("--threshold", "2", "--serial", str(office.sets), "--out", str(file))
    office.satctl.ok("policy", "signers", *keys, *numbered)
    for name in ("alice", "carol"):
        office.satctl.ok("policy", "sign", "-f", str(file), "--key", str(office.key(name)), "--out", str(file))
    office.satctl.ok("policy", "apply", "-f", str(file))
    scene.site.await_refused(scene.image.name, "NO_POLICY")  # the new signer's policy counts now
    scene.site.await_that(lambda: not scene.site.status()["problems"], "nothing is wrong any more")
