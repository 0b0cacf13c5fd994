"""Several workers on one port and one PostgreSQL: what one learns, all obey."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.policy_wire import write_policy
from fleet.v1 import fleet_pb2, state_pb2
from fleet.v1.state_pb2_grpc import StateServiceStub
from tests.contract.store.words import shut
from tests.rig.ground_control import GroundControl, Member
from tests.rig.postgres import running_postgres
from tests.wire.controlplane.site import SatelliteStream

pytestmark = pytest.mark.needs_postgres

SITES = 6


@pytest.fixture
def gc(tmp_path: Path) -> Iterator[GroundControl]:
    with running_postgres() as postgres:
        options = {"database_url": postgres.make_database(), "workers": "2"}
        with GroundControl(tmp_path, options) as running:
            yield running


async def test_changes_and_revocations_reach_the_streams_of_every_worker(gc: GroundControl) -> None:
    assert {"worker-1", "worker-2"} <= set(gc.facts["processes"])
    admin = await gc.join_operator()
    sites = [await gc.join_satellite(admin, f"kiosk-{number}") for number in range(SITES)]
    served = asyncio.Barrier(SITES + 1)
    async with asyncio.TaskGroup() as tasks:
        waiting = [tasks.create_task(until_revoked(site, served)) for site in sites]
        async with admin.fleet() as fleet:
            await served.wait()
            policy = fleet_pb2.Policy(name="base", spec=write_policy(shut()))
            await fleet.CreatePolicy(fleet_pb2.CreatePolicyRequest(policy=policy))
            for number in range(SITES):
                await fleet.RevokeSatellite(fleet_pb2.RevokeSatelliteRequest(name=f"kiosk-{number}"))
    assert all(task.result() == state_pb2.GOODBYE_REASON_REVOKED for task in waiting)


async def until_revoked(site: Member, served: asyncio.Barrier) -> int:
    """Hold a stream open, once all have their first answer, until a change and then a revocation have come."""
    async with site.channel() as channel:
        stream = SatelliteStream(StateServiceStub(channel))
        await stream.subscribe(secrets.token_bytes(16))
        await stream.update()
        await served.wait()
        await stream.update(within_s=20)
        return int((await stream.goodbye(within_s=20)).reason)
