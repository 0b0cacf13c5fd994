from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from certs.device_key import load_device_key, load_or_make_device_key
from certs.proof import check_device_signature
from fleet.errors import FleetError


def test_a_key_is_made_once_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "device.pem"
    made = load_or_make_device_key(path)
    assert load_or_make_device_key(path).public_der == made.public_der
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [file.name for file in path.parent.iterdir()] == ["device.pem"]


def test_two_starts_at_once_agree_on_one_key(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "device.pem"
    with ThreadPoolExecutor(8) as pool:
        keys = {key.public_der for key in pool.map(load_or_make_device_key, [path] * 8)}
    assert len(keys) == 1


def test_what_it_signs_is_checked_with_its_public_key(tmp_path: Path) -> None:
    key = load_or_make_device_key(tmp_path / "keys" / "device.pem")
    check_device_signature(key.public_der, b"claim", key.sign(b"claim"))
    with pytest.raises(FleetError) as refused:
        check_device_signature(key.public_der, b"another claim", key.sign(b"claim"))
    assert refused.value.reason == "PROOF_INVALID"


def test_a_damaged_key_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "device.pem"
    tmp_path.chmod(0o700)
    path.write_bytes(b"-----BEGIN")
    path.chmod(0o600)
    with pytest.raises(FleetError) as refused:
        load_or_make_device_key(path)
    assert refused.value.reason == "DEVICE_KEY_UNREADABLE"
    assert path.read_bytes() == b"-----BEGIN"


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "device.pem"
    load_or_make_device_key(path)
    path.chmod(0o604)
    with pytest.raises(FleetError) as refused:
        load_device_key(path)
    assert refused.value.reason == "PRIVATE_PATH_EXPOSED"


def test_no_key_is_not_an_error(tmp_path: Path) -> None:
    assert load_device_key(tmp_path / "device.pem") is None
