from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.errors import FleetError, Kind
from fleet.svid import read_leaf
from tests.rig.identity import GROUND_CONTROL, SATELLITE, Realm, utc_now


def reason(der: bytes) -> str:
    with pytest.raises(FleetError) as refused:
        read_leaf(der)
    assert refused.value.kind is Kind.UNIDENTIFIED
    return refused.value.reason


def test_a_leaf_says_whose_it_is_and_until_when() -> None:
    realm, at = Realm(), utc_now()
    leaf = read_leaf(realm.material(SATELLITE, at=at, ttl=timedelta(minutes=5)).chain[0])
    assert leaf.spiffe_id == SATELLITE
    assert leaf.not_before < at < leaf.not_after
    assert leaf.not_after == (at + timedelta(minutes=5)).replace(microsecond=0)
    assert len(leaf.issuer_key_id) == 20


def test_one_uri_name_is_the_only_number() -> None:
    assert reason(Realm().forged([GROUND_CONTROL, SATELLITE]).chain[0]) == "SVID_URI_SAN"
    assert reason(Realm().forged([]).chain[0]) == "SVID_URI_SAN"


def test_an_authoritys_certificate_is_nobodys_identity() -> None:
    assert reason(Realm().forged([GROUND_CONTROL], ca=True).chain[0]) == "SVID_USAGE"
    assert reason(Realm().bundle[0]) == "SVID_USAGE"


def test_other_bytes_are_no_certificate() -> None:
    assert reason(b"") == "SVID_MALFORMED"
    assert reason(Realm().bundle[0][:-1]) == "SVID_MALFORMED"


LEAF = Realm().material(SATELLITE).chain[0]


@given(st.lists(st.tuples(st.integers(0, len(LEAF) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_any_damage_is_read_or_refused(damage: list[tuple[int, int]]) -> None:
    der = bytearray(LEAF)
    for at, value in damage:
        der[at] = value
    try:
        read_leaf(bytes(der))
    except FleetError as error:
        assert error.reason in {"SVID_MALFORMED", "SVID_URI_SAN", "SVID_USAGE"}  # noqa: PT017 - both ends are good
