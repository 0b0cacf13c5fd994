"""One simulated satellite's connection: its own socket, its own TLS handshake, and calls on it.

The standard library's TLS over memory, because it costs a third of pyOpenSSL's a message. One context serves all
identities: a connection takes over the certificate that its context has when it is made (OpenSSL, `SSL_new`).
"""

from __future__ import annotations

import asyncio
import os
import random
import ssl
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import cast

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from grpc.aio import AioRpcError, Metadata

from controlplane.satctl.simulate.http2 import Blocks, BrokenConnectionError, Ended, Http2, Message, request_headers
from fleet.bridge import split_address
from fleet.errors import FleetError, Kind
from fleet.rpc_errors import STATUS_KEY, from_rpc_error
from fleet.svid import X509Material, read_leaf

CONNECT_S = 20.0
CALL_S = 30.0
_RECORD = 64 * 1024


def _lost(detail: str) -> FleetError:
    return FleetError(Kind.UNAVAILABLE, "LINK_LOST", "the connection to Ground Control was lost", detail=detail)


class Dialer:
    """Makes connections to one Ground Control, whose exact ID each of them verifies, at one of its addresses."""

    def __init__(self, addresses: Sequence[str], *, ground_control: str, roots: Sequence[bytes]) -> None:
        self._addresses = tuple(map(split_address, addresses))
        self.authority = addresses[0]
        self.blocks = Blocks()
        self.received_bytes = 0
        self.sent_bytes = 0
        self._expected = ground_control
        self._judged: dict[bytes, bool] = {}
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname = False  # the one URI name is checked, see `check`
        self._context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._context.set_alpn_protocols(["h2"])
        self._context.load_verify_locations(cadata="".join(map(_pem, roots)))
        self._headers: dict[str, bytes] = {}

    def headers(self, method: str) -> bytes:
        """Write, once, a method's request headers."""
        found = self._headers.get(method)
        if found is None:
            found = self._headers[method] = request_headers(method, self.authority)
        return found

    def tls(self, pem: bytes, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> ssl.SSLObject:
        """Make the client's side of a handshake that presents an identity: chain and key, PEM."""
        # Only files are taken: one in memory that no other process can open by name.
        file = os.memfd_create("svid", os.MFD_CLOEXEC)
        try:
            os.write(file, pem)
            self._context.load_cert_chain(f"/proc/self/fd/{file}")
        finally:
            os.close(file)
        return self._context.wrap_bio(incoming, outgoing)

    def check(self, tls: ssl.SSLObject) -> None:
        """Check that the verified server is the Ground Control that we mean.

        Raises:
            FleetError: UNIDENTIFIED `GC_ID_MISMATCH`; as `read_leaf`.
        """
        leaf = tls.getpeercert(True) or b""
        if leaf not in self._judged:
            self._judged[leaf] = read_leaf(leaf).spiffe_id == self._expected
        if not self._judged[leaf]:
            text = "the server is not the Ground Control that these satellites belong to"
            raise FleetError(Kind.UNIDENTIFIED, "GC_ID_MISMATCH", text)

    async def connect(self, pem: bytes) -> Connection:
        """Open a connection with an identity; TLS is done, HTTP/2's preface is sent.

        Which of several addresses is tried first is by chance; the next one is where nothing answers at it.

        Raises:
            FleetError: UNAVAILABLE `GC_UNREACHABLE`, `CONNECT_LATE`; UNIDENTIFIED `GC_UNTRUSTED`, `GC_ID_MISMATCH`.
        """
        *others, last = random.sample(self._addresses, len(self._addresses))
        for address in others:
            try:
                return await self._connect(address, pem)
            except FleetError as error:
                if error.reason != "GC_UNREACHABLE":
                    raise
        return await self._connect(last, pem)

    async def _connect(self, address: tuple[str, int], pem: bytes) -> Connection:
        try:
            return await self._dial(address, pem)
        except FleetError as error:
            if error.reason != "LINK_LOST":
                raise
        return await self._dial(address, pem)  # once more, as `fleet.bridge` does and for its reason

    async def _dial(self, address: tuple[str, int], pem: bytes) -> Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_S):
                _, connection = await loop.create_connection(lambda: Connection(self, pem), *address)
                try:
                    await connection.ready
                except BaseException:
                    connection.cut()
                    raise
        except TimeoutError as error:
            raise FleetError(Kind.UNAVAILABLE, "CONNECT_LATE", "no connection was made in time") from error
        except OSError as error:
            text = "nothing answers at Ground Control's address"
            raise FleetError(Kind.UNAVAILABLE, "GC_UNREACHABLE", text, detail=str(error)) from error
        return connection


def pem_of(material: X509Material) -> bytes:
    """Write an identity as OpenSSL's files have it: the chain, then the key."""
    key = serialization.load_der_private_key(material.key, None).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return "".join(map(_pem, material.chain)).encode() + key


def _pem(der: bytes) -> str:
    return x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM).decode()


class Call:
    """One call on a connection: told of its messages and of its end."""

    __slots__ = ("ended", "message", "number")

    def __init__(self, message: Callable[[bytes], None], ended: Callable[[FleetError | None], None]) -> None:
        self.message = message
        self.ended = ended
        self.number = 0


class Connection(asyncio.Protocol):
    """The pump between socket, TLS and HTTP/2."""

    def __init__(self, dialer: Dialer, pem: bytes) -> None:
        self._dialer = dialer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = dialer.tls(pem, self._incoming, self._outgoing)
        self._http = Http2(dialer.blocks)
        self._calls: dict[int, Call] = {}
        self._transport: asyncio.Transport | None = None
        self._shaken = False
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def is_open(self) -> bool:
        """Calls can be made on it."""
        return self._tls is not None and self._shaken and not self._http.is_going

    # Calls ------------------------------------------------------------------------------------------------

    def open(self, method: str, call: Call) -> None:
        """Begin a call; the server hears of it with the first message."""
        if not self.is_open:
            raise _lost("closed")
        call.number = self._http.open(self._dialer.headers(method))
        self._calls[call.number] = call

    def send(self, call: Call, content: bytes, *, last: bool = False) -> None:
        """Send one message of a call; nothing where the connection is gone."""
        if self._tls is not None:
            self._http.send(call.number, content, last=last)
            self._flush()

    async def unary(self, method: str, content: bytes) -> bytes:
        """Make a call with one answer.

        Raises:
            FleetError: what Ground Control said, or that the connection was lost.
        """
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def message(content: bytes) -> None:
            if not answer.done():
                answer.set_result(content)

        def ended(error: FleetError | None) -> None:
            if not answer.done():
                answer.set_exception(error or _lost("no answer"))

        call = Call(message, ended)
        self.open(method, call)
        self.send(call, content, last=True)
        try:
            async with asyncio.timeout(CALL_S):
                return await answer
        except TimeoutError as error:
            self._http.cancel(call.number)
            raise FleetError(Kind.UNAVAILABLE, "CALL_LATE", "no answer came in time") from error
        finally:
            answer.cancel()

    def stop_reading(self) -> None:
        """Read no more: what comes stays in the kernel until that is full, too."""
        if self._transport is not None:
            self._transport.pause_reading()

    def cut(self) -> None:
        """End it at once, without a word: as a link that breaks does."""
        if self._transport is not None:
            self._transport.abort()
        self.connection_lost(None)

    # asyncio.Protocol -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one, and does not derive from it
        self._shake()

    def data_received(self, data: bytes) -> None:
        """Take what came, to the end of the last whole message."""
        if self._tls is None:
            return
        self._dialer.received_bytes += len(data)
        self._incoming.write(data)
        if not self._shaken:
            self._shake()
        if self._shaken:
            self._read()

    def connection_lost(self, exc: Exception | None) -> None:
        """End all calls."""
        if self._tls is None:
            return
        self._tls = None
        error = _lost(str(exc or "closed"))
        if not self.ready.done():
            text = "Ground Control closed the connection before it answered"
            self.ready.set_exception(FleetError(Kind.UNAVAILABLE, "GC_UNREACHABLE", text))
            self.ready.exception()  # seen, even where nobody waits any more
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.ended(error)

    # Inside -----------------------------------------------------------------------------------------------

    def _shake(self) -> None:
        if self._tls is None:
            return
        try:
            self._tls.do_handshake()
            self._dialer.check(self._tls)
        except ssl.SSLWantReadError:
            self._drain()
            return
        except (ssl.SSLError, FleetError) as error:
            self._fail(error)
            return
        self._shaken = True
        self._flush()
        if not self.ready.done():
            self.ready.set_result(None)

    def _fail(self, error: ssl.SSLError | FleetError) -> None:
        self._drain()
        if isinstance(error, ssl.SSLError):
            text = "the secure connection to Ground Control failed"
            error = FleetError(Kind.UNIDENTIFIED, "GC_UNTRUSTED", text, detail=repr(error))
        if not self.ready.done():
            self.ready.set_exception(error)
            self.ready.exception()  # as above
        self.cut()

    def _read(self) -> None:
        try:
            while self._tls is not None and (plain := self._tls.read(_RECORD)):
                for event in self._http.receive(plain):
                    self._tell(event)
        except ssl.SSLWantReadError:
            self._flush()
        except (ssl.SSLError, BrokenConnectionError) as error:
            self.connection_lost(error)
            self.cut()

    def _tell(self, event: Message | Ended) -> None:
        call = self._calls.get(event.call)
        if call is None:
            return
        if isinstance(event, Message):
            call.message(event.content)
        else:
            del self._calls[event.call]
            call.ended(_refusal(event) if event.status else None)

    def _flush(self) -> None:
        if self._tls is not None and self._shaken and (plain := self._http.outgoing()):
            self._tls.write(plain)
        self._drain()

    def _drain(self) -> None:
        if self._outgoing.pending and self._transport is not None:
            sealed = self._outgoing.read()
            self._dialer.sent_bytes += len(sealed)
            self._transport.write(sealed)


_CODES = {code.value[0]: code for code in grpc.StatusCode}


def _refusal(ended: Ended) -> FleetError:
    if ended.status not in _CODES:
        return _lost(ended.text)
    details = Metadata((STATUS_KEY, ended.details)) if ended.details else Metadata()
    return from_rpc_error(AioRpcError(_CODES[ended.status], Metadata(), details, details=ended.text))


def expires_at(material: X509Material) -> datetime:
    """Say when an identity ends."""
    return read_leaf(material.chain[0]).not_after
