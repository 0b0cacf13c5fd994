"""The client's half of HTTP/2 that gRPC needs, free of sockets: bytes in, events and bytes out.

A satellite holds one connection with one long stream and a unary call now and then. A general library spends more on
each frame than Ground Control does; this is the frames of RFC 9113 and gRPC's five-byte prefix, and nothing else.

Source: RFC 9113 (HTTP/2), sections 3.4, 4.1, 6 and 6.9; RFC 7541 (HPACK), sections 6.1 and 6.2.2; gRPC over HTTP/2.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from urllib.parse import unquote

from hpack import Decoder
from hpack.exceptions import HPACKError

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
WINDOW_BYTES = 1 << 20
"""What a server may send before it hears from us, of a stream and of the connection."""
MAX_MESSAGE_BYTES = 1 << 20
MAX_FRAME_BYTES = 16_384
_FIRST_WINDOW = 65_535
_MAX_BLOCK_BYTES = 64 * 1024

_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE, _CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
_END_STREAM, _ACK, _END_HEADERS, _PADDED, _PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
_TABLE_SIZE, _PUSH, _INITIAL_WINDOW = 1, 2, 4
_CANCEL = 8


class BrokenConnectionError(Exception):
    """What came is not HTTP/2 as a gRPC server speaks it."""


@dataclass(frozen=True, slots=True)
class Message:
    """One whole gRPC message of a call."""

    call: int
    content: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """A call has ended, with gRPC's status; -1 where the server gave none."""

    call: int
    status: int
    text: str
    details: bytes = b""
    """A serialized google.rpc.Status, where there is one."""


Event = Message | Ended


@dataclass(slots=True)
class _Call:
    window: int
    """What we may still send."""
    consumed: int = 0
    received: bytearray = field(default_factory=bytearray)
    waiting: bytearray = field(default_factory=bytearray)
    """What is to be sent once the server's window allows it."""
    half_closed: bool = False


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _setting(name: int, value: int) -> bytes:
    return name.to_bytes(2, "big") + value.to_bytes(4, "big")


def _window_update(stream: int, size: int) -> bytes:
    return _frame(_WINDOW_UPDATE, 0, stream, size.to_bytes(4, "big"))


def _string(text: str) -> bytes:
    raw = text.encode()
    if len(raw) < 0x7F:  # noqa: PLR2004 - RFC 7541, section 5.1: the most that a 7-bit prefix holds
        return bytes((len(raw),)) + raw
    rest, size = len(raw) - 0x7F, bytearray((0x7F,))
    while rest >= 0x80:  # noqa: PLR2004 - as above
        size.append(rest & 0x7F | 0x80)
        rest >>= 7
    size.append(rest)
    return bytes(size) + raw


def request_headers(method: str, authority: str) -> bytes:
    """Write the header block of a call: `/package.Service/Method`, `host:port → HPACK` without any table."""
    return b"".join(
        (
            b"\x83\x87",  # :method POST, :scheme https: indexes 3 and 7 of the static table
            b"\x04" + _string(method),  # :path
            b"\x01" + _string(authority),  # :authority
            b"\x00" + _string("te") + _string("trailers"),
            b"\x0f\x10" + _string("application/grpc"),  # content-type
            b"\x0f\x2b" + _string("satctl-simulate"),  # user-agent
        )
    )


HELLO = b"".join(
    (
        PREFACE,
        # Without a table, header blocks mean the same whichever came before: they can be remembered.
        _frame(
            _SETTINGS, 0, 0, _setting(_TABLE_SIZE, 0) + _setting(_PUSH, 0) + _setting(_INITIAL_WINDOW, WINDOW_BYTES)
        ),
        _window_update(0, WINDOW_BYTES - _FIRST_WINDOW),
    )
)
"""What a client says first."""

_SETTINGS_ACK = _frame(_SETTINGS, _ACK, 0)


class Blocks:
    """Header blocks as they were read, shared by all connections: they are always the same few."""

    def __init__(self) -> None:
        self._read: dict[bytes, dict[str, str]] = {}

    def read(self, block: bytes) -> dict[str, str]:
        """Read a block: `HPACK → header: value`.

        Raises:
            BrokenConnectionError: it is none.
        """
        found = self._read.get(block)
        if found is None:
            decoder = Decoder(max_header_list_size=_MAX_BLOCK_BYTES)
            decoder.header_table_size = 0
            try:
                found = {_text(name): _text(value) for name, value in decoder.decode(block, raw=True)}
            except HPACKError as error:
                raise BrokenConnectionError("a header block cannot be read") from error
            if len(self._read) < 1000:  # noqa: PLR2004 - more are not worth remembering
                self._read[block] = found
        return found


def _text(raw: bytes | str) -> str:
    return raw if isinstance(raw, str) else raw.decode("utf-8", "replace")


class Http2:
    """One connection. `outgoing` has what is to be sent; `receive` answers what happened."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._received = bytearray()
        self._out: list[bytes] = [HELLO]
        self._calls: dict[int, _Call] = {}
        self._next = 1
        self._window = _FIRST_WINDOW
        self._call_window = _FIRST_WINDOW
        self._consumed = 0
        self._block: tuple[int, int, bytearray] | None = None
        self.is_going = False
        """The server takes no new calls on this connection."""

    def outgoing(self) -> bytes:
        """Hand over what is to be sent."""
        sent = b"".join(self._out)
        self._out.clear()
        return sent

    def open(self, headers: bytes) -> int:
        """Begin a call."""
        call, self._next = self._next, self._next + 2
        self._calls[call] = _Call(self._call_window)
        self._out.append(_frame(_HEADERS, _END_HEADERS, call, headers))
        return call

    def send(self, call: int, content: bytes, *, last: bool = False) -> None:
        """Send one message; `last` says that no other follows."""
        state = self._calls.get(call)
        if state is None:
            return
        state.waiting += b"\0" + len(content).to_bytes(4, "big") + content
        state.half_closed = last
        self._flush(call, state)

    def cancel(self, call: int) -> None:
        """Give a call up."""
        if self._calls.pop(call, None) is not None:
            self._out.append(_frame(_RST_STREAM, 0, call, _CANCEL.to_bytes(4, "big")))

    def receive(self, received: bytes) -> list[Event]:
        """Take what came.

        Raises:
            BrokenConnectionError: it is not what a gRPC server says.
        """
        self._received += received
        data, events, at = self._received, [], 0
        while len(data) - at >= 9:  # noqa: PLR2004 - a frame's head
            size = int.from_bytes(data[at : at + 3], "big")
            if size > MAX_FRAME_BYTES:
                raise BrokenConnectionError("a frame is larger than we allow")
            end = at + 9 + size
            if len(data) < end:
                break
            stream = int.from_bytes(data[at + 5 : at + 9], "big") & 0x7FFF_FFFF
            events += self._frame(data[at + 3], data[at + 4], stream, bytes(data[at + 9 : end]))
            at = end
        del data[:at]
        return events

    # Frames -----------------------------------------------------------------------------------------------

    def _frame(self, kind: int, flags: int, stream: int, payload: bytes) -> list[Event]:
        if self._block is not None and kind != _CONTINUATION:
            raise BrokenConnectionError("a header block was interrupted")
        if kind == _DATA:
            return self._data(flags, stream, payload)
        if kind == _HEADERS:
            self._block = (stream, flags, bytearray(_unpadded(flags, payload)))
            return self._headers(flags)
        if kind == _CONTINUATION:
            return self._continued(flags, stream, payload)
        self._control(kind, flags, stream, payload)
        if kind == _RST_STREAM and self._calls.pop(stream, None) is not None:
            return [Ended(stream, -1, f"reset with HTTP/2 error {int.from_bytes(payload, 'big')}")]
        return []

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == _SETTINGS and not flags & _ACK:
            self._settings(payload)
            self._out.append(_SETTINGS_ACK)
        elif kind == _PING and not flags & _ACK:
            self._out.append(_frame(_PING, _ACK, 0, payload))
        elif kind == _WINDOW_UPDATE:
            self._allow(stream, int.from_bytes(payload, "big"))
        elif kind == _GOAWAY:
            self.is_going = True

    def _data(self, flags: int, stream: int, payload: bytes) -> list[Event]:
        self._consumed += len(payload)
        if self._consumed >= WINDOW_BYTES // 2:
            self._out.append(_window_update(0, self._consumed))
            self._consumed = 0
        call = self._calls.get(stream)
        if call is None:
            return []
        call.consumed += len(payload)
        if call.consumed >= WINDOW_BYTES // 2 and not flags & _END_STREAM:
            self._out.append(_window_update(stream, call.consumed))
            call.consumed = 0
        events: list[Event] = []
        call.received += _unpadded(flags, payload)
        while (content := _take_message(call.received)) is not None:
            events.append(Message(stream, content))
        if flags & _END_STREAM:
            del self._calls[stream]
            events.append(Ended(stream, -1, "ended without a status"))
        return events

    def _continued(self, flags: int, stream: int, payload: bytes) -> list[Event]:
        if self._block is None or self._block[0] != stream or len(self._block[2]) > _MAX_BLOCK_BYTES:
            raise BrokenConnectionError("a header block goes on that never began, or never ends")
        self._block[2].extend(payload)
        return self._headers(flags)

    def _headers(self, flags: int) -> list[Event]:
        if self._block is None or not flags & _END_HEADERS:
            return []
        stream, first_flags, block = self._block
        self._block = None
        headers = self._blocks.read(bytes(block))
        if not first_flags & _END_STREAM or self._calls.pop(stream, None) is None:
            return []
        return [_read_end(stream, headers)]

    # Flow control -----------------------------------------------------------------------------------------

    def _settings(self, payload: bytes) -> None:
        for at in range(0, len(payload) - 5, 6):
            name, value = int.from_bytes(payload[at : at + 2], "big"), int.from_bytes(payload[at + 2 : at + 6], "big")
            if name == _INITIAL_WINDOW:
                grown, self._call_window = value - self._call_window, value
                for number, call in tuple(self._calls.items()):
                    call.window += grown
                    self._flush(number, call)

    def _allow(self, stream: int, size: int) -> None:
        if stream == 0:
            self._window += size
            for number, call in tuple(self._calls.items()):
                self._flush(number, call)
        elif (one := self._calls.get(stream)) is not None:
            one.window += size
            self._flush(stream, one)

    def _flush(self, number: int, call: _Call) -> None:
        while call.waiting:
            size = min(len(call.waiting), call.window, self._window, MAX_FRAME_BYTES)
            if size <= 0:
                return
            chunk = bytes(call.waiting[:size])
            del call.waiting[:size]
            call.window -= size
            self._window -= size
            ends = call.half_closed and not call.waiting
            self._out.append(_frame(_DATA, _END_STREAM if ends else 0, number, chunk))


def _read_end(call: int, headers: dict[str, str]) -> Ended:
    status = headers.get("grpc-status", "")
    encoded = headers.get("grpc-status-details-bin", "")
    try:
        details = base64.b64decode(encoded + "=" * (-len(encoded) % 4))
    except ValueError:
        details = b""
    code = int(status) if status.isdecimal() and len(status) < 3 else -1  # noqa: PLR2004 - codes are 0 to 16
    return Ended(call, code, unquote(headers.get("grpc-message", "")), details)


def _unpadded(flags: int, payload: bytes) -> bytes:
    if not flags & (_PADDED | _PRIORITY):
        return payload
    padding = payload[0] if flags & _PADDED and payload else 0
    begin = (1 if flags & _PADDED else 0) + (5 if flags & _PRIORITY else 0)
    if begin + padding > len(payload):
        raise BrokenConnectionError("a frame has more padding than content")
    return payload[begin : len(payload) - padding]


def _take_message(received: bytearray) -> bytes | None:
    """Take one whole message off the front: a byte that says whether it is compressed, four of size, content."""
    if len(received) < 5:  # noqa: PLR2004 - gRPC's prefix
        return None
    size = int.from_bytes(received[1:5], "big")
    if received[0] or size > MAX_MESSAGE_BYTES:
        raise BrokenConnectionError("a message is compressed, or larger than the contract allows")
    if len(received) < 5 + size:
        return None
    content = bytes(received[5 : 5 + size])
    del received[: 5 + size]
    return content
