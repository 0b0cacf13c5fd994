from __future__ import annotations

import base64
import hashlib
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.errors import FleetError, Kind
from fleet.joinstring import PREFIX, JoinKind, JoinString, parse_join_string
from tests.rig.identity import GROUND_CONTROL, SATELLITE, Realm

SECRET = bytes(range(32))
JOIN = JoinString(
    kind=JoinKind.SATELLITE,
    spiffe_id=SATELLITE,
    bootstrap="gc.fleet.test:7443",
    address="[::1]:7444",
    ground_control=GROUND_CONTROL,
    roots=Realm().bundle,
    token_id="t-1",
    secret=SECRET,
)


def reason(text: str) -> str:
    with pytest.raises(FleetError) as refused:
        parse_join_string(text)
    assert refused.value.kind is Kind.MALFORMED
    return refused.value.reason


def test_what_was_written_is_read() -> None:
    operator = replace(JOIN, kind=JoinKind.OPERATOR, spiffe_id="spiffe://fleet.test/operator/ann")
    for join in (JOIN, JOIN.spent(), operator):
        assert parse_join_string(join.encode()) == join


def test_it_is_one_line_short_enough_to_paste() -> None:
    assert JOIN.encode().startswith(PREFIX)
    assert len(JOIN.encode()) < 1200
    assert JOIN.encode().isprintable()


def test_a_terminal_may_wrap_it() -> None:
    text = JOIN.encode()
    wrapped = "  " + "\r\n".join(text[at : at + 70] for at in range(0, len(text), 70)) + "\n"
    assert parse_join_string(wrapped) == JOIN


def test_a_truncated_paste_is_told_apart() -> None:
    text = JOIN.encode()
    for length in (len(text) - 1, len(text) // 2, len(PREFIX) + 20, len(PREFIX)):
        assert reason(text[:length]) == "JOIN_STRING_DAMAGED"


def test_a_changed_character_is_noticed() -> None:
    text = JOIN.encode()
    for at in (len(PREFIX), len(text) // 2, len(text) - 3):
        changed = "A" if text[at] != "A" else "B"
        assert reason(text[:at] + changed + text[at + 1 :]) == "JOIN_STRING_DAMAGED"


def test_a_newer_version_is_named_as_such() -> None:
    assert reason(JOIN.encode().replace("hsat1.", "hsat2.")) == "JOIN_STRING_VERSION"


def test_other_text_is_no_join_string() -> None:
    assert reason("") == "JOIN_STRING_MALFORMED"
    assert reason("eyJhbGciOi.x.y") == "JOIN_STRING_MALFORMED"
    assert reason(PREFIX + "A" * 20000) == "JOIN_STRING_MALFORMED"


def test_the_secret_is_never_shown() -> None:
    assert SECRET.hex() not in repr(JOIN)
    assert repr(SECRET) not in repr(JOIN)
    assert SECRET.hex() not in str(JOIN.spent().encode())
    assert JOIN.spent().secret == b""


@pytest.mark.parametrize(
    "wrong",
    [
        {"bootstrap": "gc.fleet.test"},
        {"bootstrap": "gc.fleet.test:0"},
        {"address": "gc.fleet.test:70000"},
        {"address": "a b:1"},
        {"ground_control": SATELLITE},
        {"ground_control": "https://fleet.test/gc/main"},
        {"spiffe_id": GROUND_CONTROL},
        {"spiffe_id": "spiffe://other.test/satellite/region/north/kiosk-1"},
        {"kind": JoinKind.OPERATOR},
        {"roots": ()},
        {"secret": b""},
        {"secret": b"short"},
        {"token_id": ""},
        {"token_id": "a/b"},
    ],
)
def test_what_cannot_be_used_is_refused_where_it_is_made(wrong: dict[str, object]) -> None:
    with pytest.raises(FleetError) as refused:
        replace(JOIN, **wrong)  # type: ignore[arg-type]
    assert refused.value.kind is Kind.MALFORMED


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    for packed in (body, zlib.compress(body), zlib.compress(len(body).to_bytes(2, "big") + body)):
        checked = hashlib.sha256(packed).digest()[:6] + packed
        assert reason(PREFIX + base64.urlsafe_b64encode(checked).decode()) == "JOIN_STRING_MALFORMED"
