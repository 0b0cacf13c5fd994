"""What a server sends to simulated satellites, whatever it is: events, or our error."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controlplane.satctl.simulate.http2 import Blocks, BrokenConnectionError, Ended, Http2, Message, request_headers

HEADERS = request_headers("/fleet.v1.StateService/StreamState", "localhost:1")


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


_frames = st.builds(
    frame, st.integers(0, 12), st.integers(0, 255), st.sampled_from((0, 1, 2, 3)), st.binary(max_size=80)
)


@given(st.lists(_frames | st.binary(max_size=40), max_size=12))
def test_any_bytes_are_events_or_our_error(pieces: list[bytes]) -> None:
    http = Http2(Blocks())
    call = http.open(HEADERS)
    http.send(call, b"hello")
    for piece in pieces:
        try:
            events = http.receive(piece)
        except BrokenConnectionError:
            return
        assert all(isinstance(event, Message | Ended) for event in events)
        http.outgoing()
