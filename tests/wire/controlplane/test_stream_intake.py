"""What satellites say on StreamState, and when they are told to say less."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import grpc

from controlplane.domain.commands import Upsert
from controlplane.domain.entities import Policy
from fleet.errors import FleetError
from fleet.rpc_errors import from_rpc_error
from fleet.v1 import attestation_pb2, fleet_pb2, health_pb2, state_pb2
from fleet.v1.attestation_pb2_grpc import AttestationServiceStub
from fleet.v1.state_pb2_grpc import StateServiceStub
from tests.contract.store.words import shut
from tests.rig.identity import eventually
from tests.wire.controlplane.site import ADMIN, SatelliteStream, Site, opened, refusal, satellite_id


async def test_health_comes_on_the_stream(site: Site, boot_id: bytes) -> None:
    await site.satellite("kiosk-1")
    stream = await opened(site, "kiosk-1", boot_id)
    await stream.update()
    await stream.say(health=health_pb2.Health(artifacts=7, registry_healthy=True))
    status = site.operators()
    async with asyncio.timeout(10):
        while True:
            answer = await status.GetSatelliteStatus(fleet_pb2.GetSatelliteStatusRequest(name="kiosk-1"))
            if answer.status.HasField("health"):
                break
            await asyncio.sleep(0.05)
    assert (answer.status.health.artifacts, answer.status.health.registry_healthy) == (7, True)


async def test_health_that_is_no_number_ends_the_stream_that_tells_it(site: Site, boot_id: bytes) -> None:
    await site.satellite("kiosk-1")
    stream = await opened(site, "kiosk-1", boot_id)
    await stream.update()
    await stream.say(health=health_pb2.Health(cpu_fraction=float("nan")))
    assert (await refusal(stream.call.read())).reason == "HEALTH_MALFORMED"


async def test_a_satellite_that_hammers_is_told_to_wait_and_the_others_are_not(site: Site, boot_id: bytes) -> None:
    await site.satellite("kiosk-1")
    await site.satellite("kiosk-2")
    hammering = AttestationServiceStub(site.channel(satellite_id("kiosk-1")))
    refused = None
    for _ in range(200):
        try:
            await hammering.Attest(attestation_pb2.AttestRequest(boot_id=boot_id))
        except grpc.aio.AioRpcError as error:
            refused = from_rpc_error(error)
            break
    assert refused is not None
    assert refused.reason == "TOO_MANY_CALLS"
    assert refused.retry_after is not None
    assert refused.retry_after > timedelta(seconds=1)
    patient = AttestationServiceStub(site.channel(satellite_id("kiosk-2")))
    assert (await patient.Attest(attestation_pb2.AttestRequest(boot_id=boot_id))).satellite == "kiosk-2"


async def test_what_is_wrong_right_behind_a_subscribe_leaves_nobody_waiting(site: Site, boot_id: bytes) -> None:
    names = ("kiosk-1", "kiosk-2", "kiosk-3")
    for name in names:
        await site.satellite(name)
    for number in range(1, 101):  # it meets the first answer at another moment each time
        stream = await opened(site, names[number % len(names)], boot_id, number)
        await stream.say(report=state_pb2.StateReport(sequence=1, held_digest=bytes(64 * 1024)))
        async with asyncio.timeout(10):
            while (error := await ending(stream)) is None:
                pass
        assert error.reason == "MESSAGE_TOO_LARGE"


async def test_a_satellite_that_reads_nothing_is_cut_where_it_does_not_leave(site: Site, boot_id: bytes) -> None:
    for name in ("kiosk-1", "kiosk-2"):
        await site.satellite(name)
    # More than HTTP/2's first window, which is what gRPC takes of a stream that nobody reads where it does not probe.
    images = [f"hub/{'long/' * 30}image-{number}" for number in range(20)]
    await site.fleet.apply(ADMIN, [Upsert(Policy(f"p-{number}", shut(*images))) for number in range(200)])
    channel = site.channel(satellite_id("kiosk-1"), options=(("grpc.http2.bdp_probe", 0),))
    deaf = SatelliteStream(StateServiceStub(channel))
    await deaf.subscribe(boot_id)
    await (await opened(site, "kiosk-2", boot_id)).update()  # the one does not hold up the other
    board = site.listener.board
    await eventually(lambda: len(board) == 2)
    await board.drain(timedelta(0))
    await eventually(lambda: "kiosk-2" not in board)
    assert "kiosk-1" in board
    await eventually(lambda: "kiosk-1" not in board)
    assert not deaf.received


async def ending(stream: SatelliteStream) -> FleetError | None:
    """Read one message: `→ why there is none, or None`."""
    try:
        await stream.call.read()
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error)
    return None
