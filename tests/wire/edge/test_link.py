"""The satellite's end of a stream, on a server that ends it while the satellite writes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import grpc
import grpc.aio

from controlplane.rpc.errors import abort
from edge.adapters.ground_control import BridgedGroundControl
from edge.app.ground_control import Hello, Link, Stream
from edge.domain.health import Health, Inventory, Machine
from edge.domain.holding import Resource
from edge.domain.session import GoodbyeTold
from fleet.bridge import Bridge
from fleet.errors import FleetError, Kind
from fleet.v1 import state_pb2 as pb
from tests.rig.identity import GROUND_CONTROL, HeldIdentity, Realm, echo_server, utc_now

ROUNDS = 60
"""grpcio loses the status of about one in six."""


async def leave(
    requests: AsyncIterator[pb.StreamStateRequest],
    context: grpc.aio.ServicerContext[pb.StreamStateRequest, pb.StreamStateResponse],
) -> None:
    await anext(requests)
    goodbye = pb.Goodbye(reason=pb.GOODBYE_REASON_REVOKED, text="out")
    message = pb.StreamStateResponse(sequence=1, goodbye=goodbye)
    message.server_time.FromDatetime(utc_now())
    await context.write(message)
    await abort(context, FleetError(Kind.REFUSED, "REVOKED", "an operator has revoked this satellite"))


async def listen(
    requests: AsyncIterator[pb.StreamStateRequest],
    context: grpc.aio.ServicerContext[pb.StreamStateRequest, pb.StreamStateResponse],
) -> None:
    """Hear a whole inventory and a health report, in any order, and then end the stream well."""
    awaited = {"inventory", "health"}
    async for request in requests:
        if request.WhichOneof("body") != "inventory" or request.inventory.complete:
            awaited.discard(request.WhichOneof("body") or "")
        if not awaited:
            return


def serving(behaviour: Callable[..., Awaitable[None]]) -> grpc.GenericRpcHandler:
    method = grpc.stream_stream_rpc_method_handler(
        behaviour,
        request_deserializer=pb.StreamStateRequest.FromString,
        response_serializer=pb.StreamStateResponse.SerializeToString,
    )
    return grpc.method_handlers_generic_handler("fleet.v1.StateService", {"StreamState": method})


@asynccontextmanager
async def linked(behaviour: Callable[..., Awaitable[None]]) -> AsyncIterator[Link]:
    """Link a satellite to a Ground Control whose streams go so."""
    realm = Realm()
    source = HeldIdentity(realm.material(), realm.bundle)
    hello = Hello(boot_id=bytes(16), agent_version="1")
    async with echo_server(realm.material(GROUND_CONTROL), handlers=(serving(behaviour),)) as server:
        ground_control = BridgedGroundControl(
            lambda: Bridge(server.address, expected=GROUND_CONTROL, source=source), source, hello
        )
        async with ground_control.connect() as link:
            yield link


async def heard(stream: Stream) -> tuple[bool, FleetError | None]:
    """Read to the end: `→ (whether it said goodbye, what the end was)`."""
    parted = False
    try:
        while (received := await stream.receive()) is not None:
            parted = parted or isinstance(received.body, GoodbyeTold)
    except FleetError as error:
        return parted, error
    return parted, None


async def insist(stream: Stream) -> None:
    for _ in range(8):
        await stream.resync("fleet", bytes(32))


async def test_a_goodbye_is_heard_while_the_satellite_writes_and_no_end_is_called_a_defect() -> None:
    ends: list[tuple[bool, FleetError | None]] = []
    async with linked(leave) as link:
        for _ in range(ROUNDS):
            async with link.stream() as stream:
                await stream.resync("fleet", bytes(32))
                reading = asyncio.create_task(heard(stream))
                await insist(stream)
                ends.append(await reading)
    assert all(parted for parted, _ in ends)
    told = {(end.reason, end.kind) if end else None for _, end in ends}
    assert told <= {("REVOKED", Kind.REFUSED), ("CALL_ENDED", Kind.UNAVAILABLE)}


async def test_health_and_an_inventory_that_are_written_at_once_both_arrive() -> None:
    at = utc_now()
    health = Health(
        at, at, Machine(0.5, 1, 2, 1, 1, 2), Inventory(1, 1, 1), 0, registry_healthy=True, svid_expires_at=at
    )
    held = [Resource(1, f"artifact-{number}", b"", bytes(32)) for number in range(5000)]
    async with linked(listen) as link, link.stream() as stream:
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            tasks.create_task(stream.inventory("fleet", held))
            tasks.create_task(stream.health(health))
        assert await heard(stream) == (False, None)
