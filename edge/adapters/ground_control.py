"""Ground Control over gRPC through the verified bridge: implements `edge.app.ground_control`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime

import grpc.aio

from edge.adapters import wire
from edge.app.ground_control import Attested, Hello, Link, Opening, SourceCredential, Stream
from edge.app.ports import Credential
from edge.domain.clock import Reading
from edge.domain.health import Health
from edge.domain.holding import Resource, ScopeDelta
from edge.domain.report import Report
from edge.domain.session import Received, Staged
from fleet.bridge import Bridge
from fleet.errors import FleetError, Kind
from fleet.rpc_errors import from_rpc_error
from fleet.svid import SvidSource, read_leaf
from fleet.v1 import attestation_pb2, state_pb2
from fleet.v1.attestation_pb2_grpc import AttestationServiceStub
from fleet.v1.state_pb2_grpc import StateServiceStub

CALL_S = 20.0
_KEEPALIVE = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 15_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.enable_retries", 0),
)
"""A dead link is found within 45 s; the server allows pings every 20 s."""

Call = grpc.aio.StreamStreamCall[state_pb2.StreamStateRequest, state_pb2.StreamStateResponse]


class BridgedGroundControl:
    """Links to one Ground Control, whose SPIFFE ID the bridge verifies.

    Each link has a bridge of its own, and ends with it: gRPC keeps a closed channel's connection for as long as
    anything (a traceback, say) refers to the channel, and connections would pile up until their certificates end.
    """

    def __init__(self, bridge: Callable[[], Bridge], source: SvidSource, hello: Hello) -> None:
        self._make_bridge = bridge
        self._newest: Bridge | None = None
        self._source = source
        self._hello = hello

    @property
    def svid_not_after(self) -> datetime | None:
        """When the SVID ends that a connection opened now would present."""
        material = self._source.svid()
        return read_leaf(material.chain[0]).not_after if material else None

    @property
    def peer_not_after(self) -> datetime | None:
        """When the newest connection is cut because Ground Control's certificate ends."""
        return self._newest.peer_not_after if self._newest else None

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Link]:
        """Open a connection of its own."""
        bridge = self._newest = self._make_bridge()
        async with bridge, bridge.channel(*_KEEPALIVE) as channel:
            yield _BridgedLink(channel, bridge, self._hello)


class _BridgedLink:
    def __init__(self, channel: grpc.aio.Channel, bridge: Bridge, hello: Hello) -> None:
        self._channel = channel
        self._bridge = bridge
        self._hello = hello

    async def attest(self, clock: Reading) -> Attested:
        stub = AttestationServiceStub(self._channel)
        request = attestation_pb2.AttestRequest(
            boot_id=self._hello.boot_id,
            agent_version=self._hello.agent_version,
            capabilities=[state_pb2.CAPABILITY_RESUME_DELTA],
            clock=wire.write_clock(clock),
        )
        with self.translating():
            return wire.read_attested(await stub.Attest(request, timeout=CALL_S))

    @asynccontextmanager
    async def stream(self) -> AsyncIterator[Stream]:
        stub = StateServiceStub(self._channel)
        call = stub.StreamState()
        try:
            yield _BridgedStream(call, self)
        finally:
            call.cancel()

    async def source_credential(self, source: str) -> SourceCredential:
        stub = StateServiceStub(self._channel)
        request = state_pb2.IssueSourceCredentialRequest(source=source)
        with self.translating():
            answer = await stub.IssueSourceCredential(request, timeout=CALL_S)
        expires_at = answer.expires_at.ToDatetime(tzinfo=UTC) if answer.HasField("expires_at") else None
        return SourceCredential(Credential(username=answer.username, password=answer.password), expires_at)

    @contextmanager
    def translating(self) -> Iterator[None]:
        """Turn gRPC's errors into ours; a link that is dropped for the next one is none of the caller's cancelling."""
        try:
            yield
        except grpc.aio.AioRpcError as error:
            raise self.translated(error) from error
        except grpc.aio.UsageError as error:
            raise _dropped() from error
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise _dropped() from error

    def translated(self, error: grpc.aio.AioRpcError) -> FleetError:
        """Prefer the bridge's word on a connection that never came to be: gRPC knows only that it did not."""
        if error.code() is grpc.StatusCode.UNAVAILABLE and self._bridge.last_error is not None:
            return self._bridge.last_error
        return from_rpc_error(error)


def _dropped() -> FleetError:
    return FleetError(Kind.UNAVAILABLE, "LINK_DROPPED", "the connection was closed for a newer one")


class _BridgedStream:
    def __init__(self, call: Call, link: _BridgedLink) -> None:
        self._call = call
        self._link = link
        self._writing = asyncio.Lock()
        """gRPC ends a call whose writer comes before the one ahead is through, and health has a task of its own."""

    async def subscribe(self, opening: Opening) -> None:
        hello = self._link._hello  # noqa: SLF001 - one adapter in two classes
        await self._write(wire.write_subscribe(opening, hello.boot_id, hello.agent_version))

    async def inventory(self, scope: str, resources: Iterable[Resource]) -> None:
        for message in wire.write_inventory(scope, resources):
            await self._write(message)

    async def resync(self, scope: str, digest: bytes) -> None:
        await self._write(wire.write_resync(scope, digest))

    async def report(self, sequence: int, report: Report) -> None:
        await self._write(wire.write_report(sequence, report))

    async def health(self, health: Health) -> None:
        with self._link.translating():
            await self._write(wire.write_health(health))

    async def receive(self) -> Received | None:
        try:
            message = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise self._link.translated(error) from error
        if not isinstance(message, state_pb2.StreamStateResponse):
            return None
        return wire.read_response(message)

    def read_delta(self, staged: Staged, content: bytes) -> ScopeDelta:
        return wire.read_delta(staged, content)

    async def _write(self, message: state_pb2.StreamStateRequest) -> None:
        # Where the call has ended, reading says why, after all that came before.
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            async with self._writing:
                await self._call.write(message)
