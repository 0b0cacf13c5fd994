"""What the wire tests of Ground Control share: running listeners, channels with any identity, a satellite's stream."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import grpc
import grpc.aio

from certs.registrar import Registrar
from certs.signing import IssuedSvid
from controlplane.adapters.opening import Opened
from controlplane.app.fleet import Fleet
from controlplane.domain.commands import EntityKind, Upsert
from controlplane.domain.compaction import Dropped
from controlplane.domain.entities import Operator, Role
from controlplane.ports import Reserved, reserve
from controlplane.rpc.credentials import ServerIdentity
from controlplane.rpc.fleet_service import Invitation
from controlplane.rpc.server import BootstrapListener, FleetListener, Pace
from fleet.errors import FleetError
from fleet.rpc_errors import from_rpc_error
from fleet.svid import X509Material
from fleet.v1 import state_pb2
from fleet.v1.fleet_pb2_grpc import FleetServiceStub
from fleet.v1.state_pb2_grpc import StateServiceStub
from tests.rig.identity import GROUND_CONTROL, TRUST_DOMAIN, HeldIdentity, Realm, key_pem, pem, utc_now

CALL_S = 10.0
ADMIN = f"spiffe://{TRUST_DOMAIN}/operator/admin"
CHALLENGE_SECRET = secrets.token_bytes(32)


def satellite_id(name: str, region: str = "north") -> str:
    return f"spiffe://{TRUST_DOMAIN}/satellite/region/{region}/{name}"


@dataclass
class RealmSigner:
    """The authority's signing API, answered by the test's own realm."""

    realm: Realm

    async def sign(self, csr: bytes, spiffe_id: str, ttl: timedelta, *, dns_names: tuple[str, ...] = ()) -> IssuedSvid:
        chain = self.realm.authority.issue(csr, spiffe_id, ttl, at=utc_now(), dns_names=dns_names)
        return IssuedSvid(chain, self.realm.bundle)


@dataclass
class Site:
    """A running Ground Control and the realm that its callers come from."""

    realm: Realm
    source: HeldIdentity
    fleet: Fleet
    listener: FleetListener
    url: str
    private: Path
    port: int = 0
    bootstrap_port: int = 0
    channels: list[grpc.aio.Channel] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"localhost:{self.port}"

    def channel(
        self,
        caller: X509Material | str | None,
        *,
        roots: tuple[bytes, ...] = (),
        port: int = 0,
        options: tuple[tuple[str, int], ...] = (),
    ) -> grpc.aio.Channel:
        """Open a channel as somebody: an ID of the realm, any identity, or nobody."""
        material = self.realm.material(caller) if isinstance(caller, str) else caller
        credentials = grpc.ssl_channel_credentials(
            root_certificates=pem(roots or self.realm.bundle),
            private_key=key_pem(material.key) if material else None,
            certificate_chain=pem(material.chain) if material else None,
        )
        ours = (
            ("grpc.ssl_target_name_override", "localhost"),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.max_receive_message_length", -1),
        )
        opened = grpc.aio.secure_channel(f"127.0.0.1:{port or self.port}", credentials, options=(*ours, *options))
        self.channels.append(opened)
        return opened

    def operators(self, caller: X509Material | str = ADMIN) -> FleetServiceStub:
        """The operators' API, as one of them."""
        return FleetServiceStub(self.channel(caller))

    def states(self, caller: X509Material | str) -> StateServiceStub:
        """StateService, as somebody."""
        return StateServiceStub(self.channel(caller))

    async def operator(self, name: str, role: Role) -> str:
        """Give an operator a role: its SPIFFE ID."""
        await self.fleet.apply(ADMIN, [Upsert(Operator(name, role))])
        return f"spiffe://{TRUST_DOMAIN}/operator/{name}"

    async def satellite(self, name: str) -> str:
        """Make an approved satellite: its SPIFFE ID."""
        await self.fleet.mint_token(ADMIN, EntityKind.SATELLITE, name, region="north")
        return satellite_id(name)


@asynccontextmanager
async def serving(realm: Realm, opened: Opened, *, url: str, private: Path) -> AsyncIterator[Site]:
    """Run both listeners on free ports."""
    with ExitStack() as stack:
        ports = stack.enter_context(reserve("127.0.0.1:0")), stack.enter_context(reserve("127.0.0.1:0"))
        async with _serving(realm, opened, ports, url=url, private=private) as site:
            yield site


@asynccontextmanager
async def _serving(
    realm: Realm, opened: Opened, ports: tuple[Reserved, Reserved], *, url: str, private: Path
) -> AsyncIterator[Site]:
    fleet_port, bootstrap_port = ports
    source = HeldIdentity(realm.material(GROUND_CONTROL, dns_names=("localhost",)), realm.bundle)
    identity = ServerIdentity(source, expected=GROUND_CONTROL, trust_domain=TRUST_DOMAIN)
    invitation = Invitation(bootstrap_port.address, fleet_port.address, GROUND_CONTROL, lambda: identity.roots)
    listener = FleetListener(
        opened.fleet,
        identity,
        deployment="main",
        pace=Pace(timedelta(seconds=30), timedelta(seconds=5)),
        invitation=invitation,
        now=utc_now,
    )
    source.subscribe(listener.board.check_anchors)
    registrar = Registrar(
        tokens=opened.enrollment,
        devices=opened.enrollment,
        signer=RealmSigner(realm),
        challenge_secret=CHALLENGE_SECRET,
    )
    bootstrap = BootstrapListener(
        registrar, identity, challenge_secret=CHALLENGE_SECRET, now=utc_now, meter=opened.fleet.meter
    )
    site = Site(realm, source, opened.fleet, listener, url, private)
    async with asyncio.TaskGroup() as tasks:
        background = [tasks.create_task(opened.fleet.run()), tasks.create_task(listener.run())]
        site.port = await listener.start(fleet_port.address)
        site.bootstrap_port = await bootstrap.start(bootstrap_port.address)
        try:
            yield site
        finally:
            for channel in site.channels:
                await channel.close()
            await listener.stop(timedelta(seconds=1))
            await bootstrap.stop(timedelta(0))
            for task in background:
                task.cancel()


async def compacted(site: Site) -> Dropped:
    """Let go of all that is past."""
    return await site.fleet._store.compact(utc_now() + timedelta(seconds=1), timedelta(0))


async def refusal(call: Awaitable[object]) -> FleetError:
    """Await a call that must fail, and read what it said."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error)
    raise AssertionError(f"not refused: {answer}")


class SatelliteStream:
    """A satellite's end of StreamState, for tests: what it was sent, and what it says."""

    def __init__(self, stub: StateServiceStub) -> None:
        self.call = stub.StreamState()
        self.received: list[state_pb2.StreamStateResponse] = []

    async def subscribe(self, boot_id: bytes, number: int = 1, **fields: object) -> None:
        """Open the session."""
        subscribe = state_pb2.Subscribe(protocol_version=1, boot_id=boot_id, session_number=number)
        subscribe.MergeFrom(state_pb2.Subscribe(**fields))  # type: ignore[arg-type] # a test's own fields
        await self.say(subscribe=subscribe)

    async def say(self, **body: object) -> None:
        """Send one message."""
        await self.call.write(state_pb2.StreamStateRequest(**body))  # type: ignore[arg-type] # as above

    async def next(self, *, within_s: float = CALL_S) -> state_pb2.StreamStateResponse:
        """Read the next message.

        Raises:
            AssertionError: where the stream has ended.
        """
        async with asyncio.timeout(within_s):
            message = await self.call.read()
        assert isinstance(message, state_pb2.StreamStateResponse), f"the stream ended: {await self.call.code()}"
        self.received.append(message)
        return message

    async def update(self, *, within_s: float = CALL_S) -> list[state_pb2.StreamStateResponse]:
        """Read messages up to the one that completes an update."""
        messages = [await self.next(within_s=within_s)]
        while not messages[-1].update_complete:
            messages.append(await self.next(within_s=within_s))
        return messages

    async def goodbye(self, *, within_s: float = CALL_S) -> state_pb2.Goodbye:
        """Read up to the Goodbye, after which the stream ends well."""
        while True:
            message = await self.next(within_s=within_s)
            if message.HasField("goodbye"):
                async with asyncio.timeout(within_s):
                    assert await self.call.read() is grpc.aio.EOF
                return message.goodbye


def held_after(update: list[state_pb2.StreamStateResponse]) -> list[state_pb2.HeldScope]:
    """What a satellite holds that has applied an update with bindings."""
    bindings = next(message.bindings for message in update if message.HasField("bindings"))
    return [
        state_pb2.HeldScope(scope=scope.scope, digest=scope.digest, precedence=scope.precedence)
        for scope in bindings.scopes
    ]


async def opened(site: Site, name: str, boot_id: bytes, number: int = 1, **fields: object) -> SatelliteStream:
    """Open a satellite's stream."""
    stream = SatelliteStream(site.states(satellite_id(name)))
    await stream.subscribe(boot_id, number, **fields)
    return stream
