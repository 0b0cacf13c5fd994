from __future__ import annotations

import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from certs.authority_store import load_or_make_root, sole_authority
from fleet.errors import FleetError

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)


def refusal(directory: Path, trust_domain: str = "fleet.test", **other: Path) -> str:
    with pytest.raises(FleetError) as refused:
        load_or_make_root(directory, trust_domain, at=AT, **other)
    return refused.value.reason


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_second_start_opens_the_same_root(tmp_path: Path) -> None:
    made = load_or_make_root(tmp_path / "a", "fleet.test", at=AT)
    opened = load_or_make_root(tmp_path / "a", "fleet.test", at=AT)
    assert opened.certificate == made.certificate
    assert opened.key.private_numbers() == made.key.private_numbers()


def test_the_root_key_is_encrypted_at_rest(tmp_path: Path) -> None:
    root = load_or_make_root(tmp_path / "a", "fleet.test", at=AT)
    plain = root.key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    stored = (tmp_path / "a" / "root.pem").read_bytes()
    secret = root.key.private_numbers().private_value.to_bytes(32, "big")
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in stored
    assert b"BEGIN PRIVATE KEY" not in stored
    for file in (tmp_path / "a").iterdir():
        assert plain not in file.read_bytes()
        assert secret not in file.read_bytes()


def test_its_files_are_the_owners_alone(tmp_path: Path) -> None:
    load_or_make_root(tmp_path / "a", "fleet.test", at=AT)
    assert mode(tmp_path / "a") == 0o700
    assert {path.name: mode(path) for path in (tmp_path / "a").iterdir()} == {
        "root.pem": 0o600,
        "master.key": 0o600,
    }


def test_the_master_key_may_be_kept_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "vault").mkdir(mode=0o700)
    elsewhere = tmp_path / "vault" / "key"
    load_or_make_root(tmp_path / "a", "fleet.test", at=AT, master_key_file=elsewhere)
    assert not (tmp_path / "a" / "master.key").exists()
    assert refusal(tmp_path / "a") == "MASTER_KEY_ABSENT"
    load_or_make_root(tmp_path / "a", "fleet.test", at=AT, master_key_file=elsewhere)


def test_without_its_master_key_a_root_is_not_replaced(tmp_path: Path) -> None:
    load_or_make_root(tmp_path / "a", "fleet.test", at=AT)
    before = (tmp_path / "a" / "root.pem").read_bytes()
    master = tmp_path / "a" / "master.key"
    master.write_bytes(bytes(32))
    assert refusal(tmp_path / "a") == "MASTER_KEY_WRONG"
    master.unlink()
    assert refusal(tmp_path / "a") == "MASTER_KEY_ABSENT"
    assert (tmp_path / "a" / "root.pem").read_bytes() == before


def test_a_directory_or_file_open_to_others_is_refused(tmp_path: Path) -> None:
    load_or_make_root(tmp_path / "a", "fleet.test", at=AT)
    (tmp_path / "a" / "root.pem").chmod(0o640)
    assert refusal(tmp_path / "a") == "PRIVATE_PATH_EXPOSED"
    (tmp_path / "a" / "root.pem").chmod(0o600)
    (tmp_path / "a").chmod(0o755)
    assert refusal(tmp_path / "a") == "PRIVATE_PATH_EXPOSED"


def test_another_trust_domains_root_is_refused(tmp_path: Path) -> None:
    load_or_make_root(tmp_path / "a", "fleet.test", at=AT)
    assert refusal(tmp_path / "a", "other.test") == "TRUST_DOMAIN_DIFFERS"


def test_a_damaged_root_is_told(tmp_path: Path) -> None:
    load_or_make_root(tmp_path / "a", "fleet.test", at=AT)
    path = tmp_path / "a" / "root.pem"
    path.write_bytes(path.read_bytes()[40:])
    assert refusal(tmp_path / "a") == "ROOT_UNREADABLE"


def test_only_one_authority_holds_a_directory(tmp_path: Path) -> None:
    with sole_authority(tmp_path / "a"):
        with pytest.raises(FleetError) as refused, sole_authority(tmp_path / "a"):
            pass
        assert refused.value.reason == "AUTHORITY_RUNNING"
        assert "another authority runs" in refused.value.public
    with sole_authority(tmp_path / "a"):
        pass
