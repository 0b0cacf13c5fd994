"""The verified channel to Ground Control: a private unix socket in front, TLS with an exact SPIFFE ID behind.

grpcio's client cannot check a SPIFFE ID, so gRPC speaks in clear to a socket that only this process may use,
and every connection made there is carried over its own TLS connection. The server's chain, its one URI name and
the time are judged inside the handshake: an impostor gets neither our certificate nor a byte.

    grpc.aio channel ── unix socket, 0600, own process ── Bridge ── TLS, h2, exact ID ── Ground Control
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import struct
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc.aio
import structlog

from fleet.errors import FleetError, Kind, malformed
from fleet.identity import FleetId, parse_id
from fleet.svid import SvidSource
from fleet.tlsclient import TlsClient

_log = structlog.get_logger(__name__)

CHUNK_BYTES = 64 * 1024
"""What one direction of one connection holds at most, next to the kernel's own buffers."""
HANDSHAKE_S = 15.0
EXPIRY_CHECK_S = 5.0
"""How long a step of the clock may go unnoticed by an open connection."""
BACKLOG = 16

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def _utc_now() -> datetime:
    return datetime.now(UTC)


def split_address(remote: str) -> tuple[str, int]:
    """Split `host:port`; an IPv6 address loses its brackets.

    Raises:
        FleetError: MALFORMED `ADDRESS_MALFORMED`.
    """
    host, _, port = remote.rpartition(":")
    if not host or not port.isdecimal():
        raise malformed("ADDRESS_MALFORMED", "an address is host:port", subject=remote[:200])
    return host.strip("[]"), int(port)


def _is_own(connection: socket.socket) -> bool:
    peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return bool(struct.unpack("3i", peer)[0] == os.getpid())


class _LocalEndError(EOFError):
    """gRPC closed its connection."""


class Bridge:
    """Carries this process's gRPC connections to one remote whose SPIFFE ID is verified.

    Each new connection uses the identity and the roots that `source` has at that moment. An open one is cut
    when the server's certificate expires by `now`, or its root leaves the bundle.

    Raises:
        FleetError: MALFORMED `ADDRESS_MALFORMED`, `SPIFFE_ID_MALFORMED` when it is made.

    Attributes:
        last_error: why the newest connection failed, or None once the server has answered on one.
            UNIDENTIFIED: `GC_ID_MISMATCH`, `GC_UNTRUSTED`, `GC_EXPIRED`, `SVID_URI_SAN`, `SVID_USAGE` (the
            server's faults), `SVID_REFUSED` (ours); UNAVAILABLE: `GC_UNREACHABLE`, `TLS_FAILED`.
        peer_not_after: when the newest connection will be cut because the server's certificate ends; a client that
            connects anew before that has no gap. None before the first connection.
    """

    def __init__(
        self,
        remote: str,
        *,
        expected: FleetId | str,
        source: SvidSource,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._remote = remote
        self._host, self._port = split_address(remote)
        self._expected = str(expected)
        self._trust_domain = parse_id(self._expected).trust_domain
        self._source = source
        self._now = now
        self._directory: Path | None = None
        self._listener: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None
        self._open: dict[asyncio.Task[None], TlsClient | None] = {}
        self.last_error: FleetError | None = None
        self.peer_not_after: datetime | None = None

    @property
    def target(self) -> str:
        """The gRPC target of the private socket; there while the bridge is entered."""
        if self._directory is None:
            raise FleetError(Kind.INTERNAL, "BRIDGE_CLOSED", "the bridge is not open")
        return f"unix:{self._directory / 'grpc'}"

    def channel(self, *options: tuple[str, str | int]) -> grpc.aio.Channel:
        """Open a channel with a connection of its own: a later one presents the SVID of its own time.

        Without a private pool, gRPC would hand the old connection, and so the old identity, to a new channel.
        """
        own = (("grpc.use_local_subchannel_pool", 1), ("grpc.default_authority", self._remote))
        return grpc.aio.insecure_channel(self.target, options=[*own, *options])

    async def __aenter__(self) -> Self:
        """Open the private socket.

        Raises:
            FleetError: UNAVAILABLE `BRIDGE_UNAVAILABLE` where the machine has no room or no descriptor for it.
        """
        try:
            listener = self._listen()
        except OSError as error:
            self._close()
            raise FleetError(
                Kind.UNAVAILABLE,
                "BRIDGE_UNAVAILABLE",
                "no private socket can be opened: the temporary directory is full, or too many files are open",
                detail=repr(error),
            ) from error
        self._task = asyncio.create_task(self._serve(listener), name="bridge")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))  # unlike awaiting it, this does not swallow a cancellation of ours
        self._close()

    def _listen(self) -> socket.socket:
        # The socket first: without descriptors nothing is made, for removing a directory takes one.
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._directory = Path(tempfile.mkdtemp(prefix="satellite-bridge-"))
        path = self._directory / "grpc"
        self._listener.bind(str(path))
        path.chmod(0o600)
        self._listener.listen(BACKLOG)
        self._listener.setblocking(False)
        return self._listener

    def _close(self) -> None:
        if self._listener is not None:
            self._listener.close()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    async def _serve(self, listener: socket.socket) -> None:
        unsubscribe = self._source.subscribe(self._drop_untrusted)
        try:
            async with asyncio.TaskGroup() as connections:
                while True:
                    local, _ = await asyncio.get_running_loop().sock_accept(listener)
                    if not _is_own(local):
                        local.close()
                        _log.warning("bridge.stranger_refused")
                        continue
                    task = connections.create_task(self._carry(local))
                    self._open[task] = None
                    task.add_done_callback(lambda done: self._open.pop(done, None))
        finally:
            unsubscribe()

    def _drop_untrusted(self) -> None:
        roots = frozenset(self._source.roots(self._trust_domain))
        for task, tls in self._open.items():
            if tls is not None and not tls.is_anchored_in(roots):
                _log.warning("bridge.connection_cut", reason="GC_UNTRUSTED", remote=self._remote)
                task.cancel()

    async def _carry(self, local: socket.socket) -> None:
        near = await asyncio.open_unix_connection(sock=local, limit=CHUNK_BYTES)
        far: Ends | None = None
        try:
            tls, far = await self._connect()
            task = asyncio.current_task()
            if task is not None:
                self._open[task] = tls
            self._drop_untrusted()
            await self._pump(tls, near, far)
        except FleetError as error:
            self.last_error = error
            _log.warning("bridge.connection_failed", reason=error.reason, detail=error.detail, remote=self._remote)
        except (OSError, EOFError):
            pass  # one side is gone: gRPC sees its connection end and opens another
        except Exception:  # noqa: BLE001 - one connection's defect must not end the others
            _log.exception("bridge.connection_crashed", remote=self._remote)
        finally:
            for _, writer in (near, far) if far else (near,):
                writer.transport.abort()

    async def _connect(self) -> tuple[TlsClient, Ends]:
        try:
            async with asyncio.timeout(HANDSHAKE_S):
                try:
                    tls, far = await self._dial()
                except ConnectionResetError:
                    # A listener that closes resets who waits in its queue; another may listen at the same port.
                    tls, far = await self._dial()
        except (OSError, EOFError) as error:  # TimeoutError is an OSError
            raise FleetError(
                Kind.UNAVAILABLE,
                "GC_UNREACHABLE",
                "Ground Control cannot be reached: check the address, the network and the firewall",
                subject=self._remote,
                detail=repr(error),
            ) from error
        self.peer_not_after = tls.not_after
        return tls, far

    async def _dial(self) -> tuple[TlsClient, Ends]:
        tls = TlsClient(
            self._host,
            expected=self._expected,
            roots=self._source.roots(self._trust_domain),
            identity=self._source.svid(),
            at=self._now(),
        )
        far = await asyncio.open_connection(self._host, self._port, limit=CHUNK_BYTES)
        try:
            await _handshake(tls, far)
        except BaseException:
            far[1].transport.abort()
            raise
        return tls, far

    async def _pump(self, tls: TlsClient, near: Ends, far: Ends) -> None:
        """Carry both ways until one side ends or the server's certificate does: each end is an exception."""
        ways = (
            asyncio.create_task(_outward(tls, near[0], far[1]), name="bridge outward"),
            asyncio.create_task(self._inward(tls, far, near[1]), name="bridge inward"),
            asyncio.create_task(self._await_expiry(tls.not_after), name="bridge expiry"),
        )
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        causes = [cause for way in done if (cause := way.exception())]
        cause = next((cause for cause in causes if isinstance(cause, FleetError)), causes[0])
        if isinstance(cause, (OSError, EOFError)) and not isinstance(cause, _LocalEndError):
            tls.check_answered()
        raise cause

    async def _inward(self, tls: TlsClient, far: Ends, near: asyncio.StreamWriter) -> None:
        reader, answers = far
        while True:
            for plain in tls.receive():
                self.last_error = None  # only now: a server judges our certificate after our handshake is done
                near.write(plain)
            if answer := tls.outgoing():  # key updates and alerts
                answers.write(answer)
            await near.drain()
            tls.feed(await _some(reader))

    async def _await_expiry(self, not_after: datetime) -> None:
        # In small steps, because the clock that counts may be set while we wait.
        while (remaining := (not_after - self._now()).total_seconds()) > 0:  # noqa: ASYNC110 - time has no event
            await asyncio.sleep(min(remaining, EXPIRY_CHECK_S))
        raise FleetError(Kind.UNIDENTIFIED, "GC_EXPIRED", "Ground Control's certificate has expired")


async def _handshake(tls: TlsClient, far: Ends) -> None:
    reader, writer = far
    done = False
    while not done:
        done = tls.step()
        writer.write(tls.outgoing())
        await writer.drain()
        if not done:
            tls.feed(await _some(reader))
    tls.check_protocol()


async def _some(reader: asyncio.StreamReader) -> bytes:
    received = await reader.read(CHUNK_BYTES)
    if not received:
        raise EOFError("the peer closed the connection")
    return received


async def _outward(tls: TlsClient, near: asyncio.StreamReader, far: asyncio.StreamWriter) -> None:
    while True:
        try:
            plain = await _some(near)
        except (OSError, EOFError) as error:
            raise _LocalEndError from error
        tls.send(plain)
        far.write(tls.outgoing())
        await far.drain()  # a slow server holds up our reading, and so gRPC's writing
