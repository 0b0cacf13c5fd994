"""Policies in YAML: what is read, and that what is wrong is said with its line and the remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.satctl.policy_file import read_policies
from fleet.errors import FleetError, Kind
from fleet.v1 import resource_pb2 as resources

KEY = "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----\n"
WHOLE = """\
name: base
images: ["hub/**", 'mirror/library/*']
scopes: [fleet, group/shops]
check_reference: true
referrer_types: [application/spdx+json]
authorities:
  - name: release
    formats: [bundle, simple-signing]
    keys:
      - file: cosign.pub
      - |
        -----BEGIN PUBLIC KEY-----
        MFkw
        -----END PUBLIC KEY-----
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "cosign.pub").write_text(KEY)
    (tmp_path / "cosign.key").write_text("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n")
    return tmp_path / "policy.yaml"


def wrong(file: Path, text: str) -> str:
    file.write_text(text)
    with pytest.raises(FleetError) as raised:
        read_policies(file)
    assert (raised.value.kind, raised.value.reason) == (Kind.MALFORMED, "POLICY_FILE_MALFORMED")
    return raised.value.public.removeprefix(str(file) + ":")


def test_a_whole_policy_is_read(file: Path) -> None:
    file.write_text(WHOLE)
    (policy,) = read_policies(file)
    assert policy.name == "base"
    assert list(policy.scopes) == ["fleet", "group/shops"]
    assert list(policy.spec.images) == ["hub/**", "mirror/library/*"]
    assert policy.spec.check_reference
    assert list(policy.spec.referrer_types) == ["application/spdx+json"]
    (authority,) = policy.spec.authorities
    assert list(authority.formats) == [
        resources.SIGNATURE_FORMAT_SIGSTORE_BUNDLE,
        resources.SIGNATURE_FORMAT_COSIGN_SIMPLE_SIGNING,
    ]
    assert list(authority.keys.public_keys_pem) == [KEY, KEY]


def test_what_is_left_out_has_the_strict_default(file: Path) -> None:
    lines = [line for line in WHOLE.splitlines() if not line.startswith(("scopes", "check", "referrer"))]
    file.write_text("\n".join(lines))
    (policy,) = read_policies(file)
    assert list(policy.scopes) == ["fleet"]
    assert not policy.spec.check_reference
    assert not policy.spec.referrer_types


def test_several_policies_are_separated_by_three_dashes(file: Path) -> None:
    file.write_text(WHOLE + "---\n" + WHOLE.replace("base", "other"))
    assert [policy.name for policy in read_policies(file)] == ["base", "other"]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("formats:", "format:", "8: `format` is unknown: write name, formats or keys (did you mean `formats`?)"),
        ("bundle,", "bundles,", "8: `bundles` is no format: write bundle or simple-signing (did you mean `bundle`?)"),
        ("name: base", "name: BASE", "1: a policy's name is 1 to 63 of a-z 0-9 . _ -"),
        ("[fleet, group/shops]", "[shops]", "3: a scope is fleet, group/NAME or satellite/NAME (shops)"),
        ("check_reference: true", "check_reference: yes", "4: expected true or false here"),
        ("cosign.pub", "cosign.key", "10: this is a private key, which was not sent"),
        ("cosign.pub", "absent.pub", "10: the file cannot be read as text"),
        ("[bundle, simple-signing]", "[]", "8: this list is empty, so nothing would ever be admitted"),
        ("[bundle, simple-signing]", "bundle", "8: expected a list here"),
        ("check_reference: true", "scopes: [fleet]", "4: `scopes` is there twice: remove one"),
        ("images:", "images: [", "3: this is not YAML"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(file: Path, before: str, after: str, said: str) -> None:
    assert wrong(file, WHOLE.replace(before, after)).startswith(said)


def test_what_is_missing_is_named(file: Path) -> None:
    assert wrong(file, "name: base\nimages: [hub/**]\n") == "1: `authorities` is missing: add it"
    assert wrong(file, "") == "1: there is no policy in it: begin with `name:`"
    assert wrong(file, "- name: base\n").startswith("1: expected fields here")
