from __future__ import annotations

import stat
from datetime import UTC, datetime, timedelta
from hashlib import sha1
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from fleet.errors import FleetError
from fleet.identity import FleetId, GroundControlId, OperatorId, SatelliteId, parse_id
from spire.device_certificate import make_device_certificate
from spire.entries import Workload, device_selectors, node_entry, node_id, workload_entry
from spire.root import keep_root, load_root, make_root

AT = datetime(2026, 1, 1, tzinfo=UTC)
TD = "fleet.example"
SHOP = SatelliteId(TD, "eu", "shop-1")
IDENTITIES: list[FleetId] = [SHOP, GroundControlId(TD, "main"), OperatorId(TD, "ada")]


def test_a_device_certificate_signs_and_states_the_machine_s_place() -> None:
    authority = make_root("devices", at=AT)
    device = make_device_certificate(authority, SHOP, at=AT)
    device.certificate.verify_directly_issued_by(authority.certificate)
    assert device.certificate.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    assert not device.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    names = device.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [
        f"x509pop://{TD}/region/eu",
        f"x509pop://{TD}/satellite/shop-1",
    ]


@pytest.mark.parametrize("identity", IDENTITIES, ids=str)
def test_the_node_entry_asks_for_what_the_certificate_states(identity: FleetId) -> None:
    device = make_device_certificate(make_root("devices", at=AT), identity, at=AT)
    names = device.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    stated = {
        "x509pop:san:" + uri.removeprefix(f"x509pop://{TD}/").replace("/", ":")
        for uri in names.get_values_for_type(x509.UniformResourceIdentifier)
    }
    assert device_selectors(identity) == stated


def test_the_agent_s_id_is_the_certificate_s_sha1() -> None:
    device = make_device_certificate(make_root("devices", at=AT), SHOP, at=AT)
    digest = sha1(device.certificate.public_bytes(Encoding.DER), usedforsecurity=False).hexdigest()
    assert device.agent_id(TD) == f"spiffe://{TD}/spire/agent/x509pop/{digest}"


def test_a_device_certificate_is_private_and_never_overwritten(tmp_path: Path) -> None:
    device = make_device_certificate(make_root("devices", at=AT), SHOP, at=AT)
    files = device.save(tmp_path / "device")
    assert stat.S_IMODE(files.key.stat().st_mode) == 0o600
    with pytest.raises(FleetError) as refused:
        device.save(tmp_path / "device")
    assert refused.value.reason == "DEVICE_CERTIFICATE_EXISTS"


def test_a_name_longer_than_a_common_name_may_be_still_gets_a_certificate() -> None:
    longest = SatelliteId(TD, "r" * 63, "n" * 63)
    make_device_certificate(make_root("devices", at=AT), longest, at=AT)


def test_a_root_is_made_once_and_found_again(tmp_path: Path) -> None:
    made = load_root(keep_root(tmp_path / "root", "r", at=AT, trust_domain=TD))
    found = load_root(keep_root(tmp_path / "root", "other", at=AT))
    assert made.certificate == found.certificate
    assert made.key_pem == found.key_pem
    assert made.certificate.not_valid_after_utc.year == 2036


def test_half_of_a_root_is_reported_and_not_replaced(tmp_path: Path) -> None:
    files = keep_root(tmp_path / "root", "r", at=AT)
    files.key.unlink()
    with pytest.raises(FleetError) as refused:
        keep_root(tmp_path / "root", "r", at=AT)
    assert refused.value.reason == "SPIRE_ROOT_CORRUPT"


@pytest.mark.parametrize("identity", IDENTITIES, ids=str)
def test_a_machine_s_id_is_no_member_s_id(identity: FleetId) -> None:
    assert node_id(identity) == f"spiffe://{TD}/device{str(identity).removeprefix(f'spiffe://{TD}')}"
    with pytest.raises(FleetError):
        parse_id(node_id(identity))


def test_a_node_entry_without_selectors_is_refused() -> None:
    with pytest.raises(FleetError) as refused:
        node_entry(SHOP, frozenset())
    assert refused.value.reason == "SPIRE_SELECTORS_MALFORMED"


def test_a_workload_is_chosen_by_user_and_narrowed_by_program() -> None:
    workload = Workload(1000, path="/usr/bin/satellite", sha256="ab")
    assert workload.selectors == {"unix:uid:1000", "unix:path:/usr/bin/satellite", "unix:sha256:ab"}
    entry = workload_entry(SHOP, Workload(1000), on=GroundControlId(TD, "main"))
    assert entry.parent == f"spiffe://{TD}/device/gc/main"
    assert entry.selectors == {"unix:uid:1000"}


def test_an_entry_s_svid_lives_long_enough_to_be_renewed() -> None:
    assert workload_entry(SHOP, Workload(0), svid_ttl=timedelta(seconds=4)).svid_ttl == timedelta(seconds=4)
    with pytest.raises(FleetError) as refused:
        workload_entry(SHOP, Workload(0), svid_ttl=timedelta(seconds=3))
    assert refused.value.reason == "SPIRE_TTL_MALFORMED"
