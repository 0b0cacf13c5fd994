"""The few frames of HTTP/2 that simulated satellites speak, as RFC 9113 has them."""

from __future__ import annotations

import pytest
from hpack import Decoder, Encoder

from controlplane.satctl.simulate.http2 import (
    HELLO,
    WINDOW_BYTES,
    Blocks,
    BrokenConnectionError,
    Ended,
    Http2,
    Message,
    request_headers,
)

METHOD = "/fleet.v1.StateService/StreamState"
HEADERS = request_headers(METHOD, "localhost:1")
DATA, HEADER, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 4, 6, 7, 8
END_STREAM, END_HEADERS, PADDED = 0x1, 0x4, 0x8


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def message(content: bytes) -> bytes:
    return b"\0" + len(content).to_bytes(4, "big") + content


def block(*headers: tuple[str, str]) -> bytes:
    return Encoder().encode(headers)


@pytest.fixture
def http() -> Http2:
    made = Http2(Blocks())
    assert made.outgoing() == HELLO
    return made


def sent(http: Http2) -> list[tuple[int, int, int, bytes]]:
    """Read back what is to be sent: kind, flags, stream, payload."""
    data, frames = http.outgoing(), []
    while data:
        size = int.from_bytes(data[:3], "big")
        frames.append((data[3], data[4], int.from_bytes(data[5:9], "big"), data[9 : 9 + size]))
        data = data[9 + size :]
    return frames


def test_a_request_is_what_grpc_wants() -> None:
    headers: dict[object, object] = dict(Decoder().decode(request_headers(METHOD + "x" * 200, "localhost:1")))
    assert headers == {
        ":method": "POST",
        ":scheme": "https",
        ":path": METHOD + "x" * 200,
        ":authority": "localhost:1",
        "te": "trailers",
        "content-type": "application/grpc",
        "user-agent": "satctl-simulate",
    }


def test_calls_take_odd_numbers_and_the_last_message_closes_our_half(http: Http2) -> None:
    first, second = http.open(HEADERS), http.open(HEADERS)
    assert (first, second) == (1, 3)
    http.send(first, b"a")
    http.send(second, b"b", last=True)
    assert sent(http) == [
        (HEADER, END_HEADERS, 1, HEADERS),
        (HEADER, END_HEADERS, 3, HEADERS),
        (DATA, 0, 1, message(b"a")),
        (DATA, END_STREAM, 3, message(b"b")),
    ]


def test_messages_come_whole_however_they_are_cut(http: Http2) -> None:
    call = http.open(HEADERS)
    told = message(b"one") + message(b"") + message(b"three")
    wire = frame(DATA, 0, call, told[:3]) + frame(DATA, PADDED, call, b"\2" + told[3:] + b"\0\0")
    events = [event for byte in wire for event in http.receive(bytes((byte,)))]
    assert events == [Message(call, b"one"), Message(call, b""), Message(call, b"three")]


def test_trailers_end_a_call_with_its_status(http: Http2) -> None:
    call = http.open(HEADERS)
    assert not http.receive(frame(HEADER, END_HEADERS, call, block((":status", "200"))))
    trailers = block(("grpc-status", "7"), ("grpc-message", "not%20yours"), ("grpc-status-details-bin", "CAc"))
    assert http.receive(frame(HEADER, END_HEADERS | END_STREAM, call, trailers)) == [
        Ended(call, 7, "not yours", b"\x08\x07")
    ]


def test_what_is_sent_waits_for_the_servers_window(http: Http2) -> None:
    http.receive(frame(SETTINGS, 0, 0, (4).to_bytes(2, "big") + (10).to_bytes(4, "big")))
    call = http.open(HEADERS)
    http.send(call, b"x" * 20, last=True)
    assert [(kind, flags, len(payload)) for kind, flags, _, payload in sent(http)][-1] == (DATA, 0, 10)
    http.receive(frame(WINDOW_UPDATE, 0, call, (100).to_bytes(4, "big")))
    assert [(kind, flags, len(payload)) for kind, flags, _, payload in sent(http)] == [(DATA, END_STREAM, 15)]


def test_the_server_is_given_room_as_messages_are_read(http: Http2) -> None:
    call = http.open(HEADERS)
    http.outgoing()
    for _ in range(WINDOW_BYTES // 2 // 16_000 + 1):
        http.receive(frame(DATA, 0, call, message(b"x" * 15_995)))
    updates = [
        (stream, int.from_bytes(payload, "big")) for kind, _, stream, payload in sent(http) if kind == WINDOW_UPDATE
    ]
    assert [stream for stream, _ in updates] == [0, call]
    assert all(size >= WINDOW_BYTES // 2 for _, size in updates)


def test_pings_and_settings_are_answered(http: Http2) -> None:
    http.receive(frame(PING, 0, 0, b"12345678") + frame(SETTINGS, 0, 0, b""))
    assert sent(http) == [(PING, 1, 0, b"12345678"), (SETTINGS, 1, 0, b"")]


def test_after_a_goaway_no_call_is_to_be_made(http: Http2) -> None:
    http.receive(frame(GOAWAY, 0, 0, bytes(8)))
    assert http.is_going


@pytest.mark.parametrize(
    "wire",
    [
        frame(DATA, 0, 1, b"\1" + (1).to_bytes(4, "big") + b"x"),  # compressed
        frame(DATA, 0, 1, b"\0" + (1 << 30).to_bytes(4, "big")),
        frame(DATA, PADDED, 1, b"\xffx"),
        frame(HEADER, 0, 1, b"") + frame(PING, 0, 0, bytes(8)),
        frame(HEADER, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff"),
        (1 << 20).to_bytes(3, "big") + bytes(6),
    ],
)
def test_what_no_grpc_server_says_breaks_the_connection(http: Http2, wire: bytes) -> None:
    http.open(HEADERS)
    with pytest.raises(BrokenConnectionError):
        http.receive(wire)
