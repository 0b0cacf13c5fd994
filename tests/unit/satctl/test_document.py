"""The JSON that satctl prints."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from controlplane.satctl.document import clean, document, enum_word
from controlplane.satctl.render import ago, size, span
from fleet.v1 import attestation_pb2, fleet_pb2, state_pb2


def test_every_key_is_there_whatever_is_set() -> None:
    empty = document(fleet_pb2.SatelliteStatus())
    assert set(empty) == {field.name for field in fleet_pb2.SatelliteStatus.DESCRIPTOR.fields}
    assert (empty["report"], empty["last_seen_at"], empty["groups"], empty["desired_digest"]) == (None, None, [], "")


def test_digests_are_hexadecimal_numbers_are_numbers_and_enums_are_words() -> None:
    status = fleet_pb2.SatelliteStatus(
        desired_digest=b"\x01\xff",
        lifecycle=attestation_pb2.LIFECYCLE_ONLINE,
        report=state_pb2.StateReport(sequence=2**63, position=state_pb2.Position(epoch=1, revision=2)),
    )
    written = document(status)
    assert (written["desired_digest"], written["lifecycle"]) == ("01ff", "online")
    assert written["report"]["sequence"] == 2**63
    assert written["report"]["position"] == {"epoch": 1, "revision": 2}
    assert json.loads(json.dumps(written)) == written


def test_of_a_choice_only_what_was_chosen_is_shown() -> None:
    event = fleet_pb2.WatchFleetResponse(caught_up=state_pb2.Position(epoch=1, revision=7))
    assert document(event) == {"caught_up": {"epoch": 1, "revision": 7}}


def test_an_enum_value_of_a_newer_server_is_its_number() -> None:
    assert enum_word(attestation_pb2.Lifecycle.DESCRIPTOR, 99) == "99"
    assert enum_word(state_pb2.ArtifactState.DESCRIPTOR, state_pb2.ARTIFACT_STATE_REFUSED) == "refused"


@given(st.text())
def test_no_control_character_reaches_a_terminal(text: str) -> None:
    shown = clean(text)
    assert not any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in shown)
    assert len(shown) == len(text)


def test_spans_and_sizes_are_short() -> None:
    spans = [timedelta(seconds=-3), timedelta(seconds=59), timedelta(minutes=3), timedelta(hours=5), timedelta(days=12)]
    assert list(map(span, spans)) == ["0s", "59s", "3m", "5h", "12d"]
    assert list(map(size, (0, 1023, 1536, 5 * 2**30))) == ["0 B", "1023 B", "1.5 KiB", "5.0 GiB"]


def test_a_time_that_is_absent_is_empty() -> None:
    status = fleet_pb2.SatelliteStatus()
    at = datetime(2026, 1, 1, tzinfo=UTC)
    assert ago(status, "last_seen_at", at) == ""
    status.last_seen_at.FromDatetime(at - timedelta(minutes=2))
    assert ago(status, "last_seen_at", at) == "2m"
