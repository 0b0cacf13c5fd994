"""Whatever a peer sends is read, or refused with an error of ours; nothing else ever leaves a reader."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from controlplane.domain.session import Session, step
from controlplane.rpc.wire_changes import read_change
from controlplane.rpc.wire_entities import refuse_unknown
from controlplane.rpc.wire_session import read_request
from controlplane.rpc.wire_status import read_health
from fleet.errors import FleetError
from fleet.v1 import fleet_pb2, health_pb2, state_pb2

FIELD = st.integers(1, 24)
LEAVES = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=12).map(str.encode),
    st.sampled_from([b"fleet", b"hub/library/nginx:1", bytes(32), bytes(16)]),
)


def varint(number: int) -> bytes:
    encoded = b""
    while number > 0x7F:
        encoded += bytes([number & 0x7F | 0x80])
        number >>= 7
    return encoded + bytes([number])


def with_length(field: int, content: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(content)) + content


MESSAGES = st.recursive(
    LEAVES,
    lambda inner: st.lists(
        st.one_of(
            st.builds(with_length, FIELD, inner),
            st.builds(lambda field, number: varint(field << 3) + varint(number), FIELD, st.integers(0, 2**64 - 1)),
        ),
        max_size=5,
    ).map(b"".join),
    max_leaves=12,
)
"""Bytes that often are messages: nested fields of any number, and plain noise."""


def survives(read: Callable[[bytes], object], content: bytes) -> None:
    with suppress(DecodeError, FleetError):
        read(content)


@given(MESSAGES)
def test_any_bytes_of_a_satellite_are_an_event_or_our_error(content: bytes) -> None:
    def feed(raw: bytes) -> None:
        event = read_request(state_pb2.StreamStateRequest.FromString(raw))
        if event is not None:
            step(Session(), event)

    survives(feed, content)


@given(MESSAGES)
def test_any_bytes_of_an_operator_are_a_command_or_our_error(content: bytes) -> None:
    def read(raw: bytes) -> None:
        change = fleet_pb2.Change.FromString(raw)
        refuse_unknown(change)
        read_change(change)

    survives(read, content)


@given(MESSAGES)
def test_any_bytes_of_health_are_health_or_our_error(content: bytes) -> None:
    survives(lambda raw: read_health(health_pb2.Health.FromString(raw)), content)
