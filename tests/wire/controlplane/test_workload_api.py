"""Ground Control whose identity comes from a Workload API that it does not run, as with SPIRE."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from certs.workload import WorkloadServer
from fleet.errors import Kind
from fleet.v1 import fleet_pb2
from fleet.v1.fleet_pb2_grpc import FleetServiceStub
from tests.rig.ground_control import GroundControl, TrustedIdentity, spoken_to
from tests.rig.identity import GROUND_CONTROL, TRUST_DOMAIN, Realm
from tests.wire.controlplane.site import ADMIN, refusal

ASK = fleet_pb2.GetFleetStatusRequest()


@asynccontextmanager
async def workload_api(directory: Path, realm: Realm, spiffe_id: str) -> AsyncIterator[WorkloadServer]:
    server = WorkloadServer()
    await server.publish(realm.material(spiffe_id, dns_names=("localhost",)))
    await server.start(directory / "api" / "workload.sock")
    try:
        yield server
    finally:
        await server.stop()


def outside(directory: Path) -> GroundControl:
    """A Ground Control on the Workload API in `directory`."""
    socket = f"unix://{directory / 'api' / 'workload.sock'}"
    return GroundControl(directory, {"spiffe_endpoint_socket": socket, "trust_domain": TRUST_DOMAIN})


@asynccontextmanager
async def running(gc: GroundControl) -> AsyncIterator[GroundControl]:
    await asyncio.to_thread(gc.start)
    try:
        yield gc
    finally:
        assert await asyncio.to_thread(gc.stop) == 0


async def test_it_starts_no_authority_and_nobody_joins_by_token(tmp_path: Path, realm: Realm) -> None:
    async with workload_api(tmp_path, realm, GROUND_CONTROL), running(outside(tmp_path)) as gc:
        assert set(gc.facts["processes"]) == {"worker-1"}
        assert gc.bootstrap_address == ""
        made = await asyncio.to_thread(gc.run, "init", "admin")
        assert ADMIN in made.stdout
        identity = TrustedIdentity(realm.material(ADMIN), TRUST_DOMAIN)
        async with spoken_to(gc.address, GROUND_CONTROL, identity) as channel:
            fleet = FleetServiceStub(channel)
            assert (await fleet.GetFleetStatus(ASK)).satellites == 0
            error = await refusal(fleet.CreateJoinToken(fleet_pb2.CreateJoinTokenRequest(satellite="kiosk-1")))
            assert (error.kind, error.reason) == (Kind.PRECONDITION, "JOINING_BY_SPIRE")


async def test_a_new_identity_and_root_are_served_without_a_restart(tmp_path: Path, realm: Realm) -> None:
    async with workload_api(tmp_path, realm, GROUND_CONTROL) as api, running(outside(tmp_path)) as gc:
        await asyncio.to_thread(gc.run, "init", "admin")
        other = Realm()
        await api.publish(other.material(GROUND_CONTROL, dns_names=("localhost",)))
        identity = TrustedIdentity(other.material(ADMIN), TRUST_DOMAIN)
        async with asyncio.timeout(20), spoken_to(gc.address, GROUND_CONTROL, identity) as channel:
            await FleetServiceStub(channel).GetFleetStatus(ASK, wait_for_ready=True)


async def test_another_identity_than_the_settings_name_is_refused_at_start(tmp_path: Path, realm: Realm) -> None:
    async with workload_api(tmp_path, realm, "spiffe://fleet.test/gc/other"):
        gc = outside(tmp_path)
        with pytest.raises(AssertionError, match="IDENTITY_DIFFERS"):
            await asyncio.to_thread(gc.start)
