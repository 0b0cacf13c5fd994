"""Two workers on PostgreSQL: a revocation that one of them takes in ends the streams of the other."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from fleet.v1 import fleet_pb2, state_pb2
from fleet.v1.state_pb2_grpc import StateServiceStub
from tests.rig.ground_control import GroundControl, Member
from tests.rig.postgres import running_postgres
from tests.wire.controlplane.site import SatelliteStream

pytestmark = pytest.mark.needs_postgres

SITES = 16
"""The kernel spreads connections by chance: with as many, both workers have some."""
OUT_S = 5.0


@pytest.fixture
def gc(tmp_path: Path) -> Iterator[GroundControl]:
    with running_postgres() as postgres:
        options = {"database_url": postgres.make_database(), "workers": "2"}
        with GroundControl(tmp_path, options) as running:
            yield running


async def test_a_revocation_on_one_worker_ends_the_streams_of_the_other_in_time(gc: GroundControl) -> None:
    admin = await gc.join_operator()
    sites = [await gc.join_satellite(admin, f"kiosk-{number}") for number in range(SITES)]
    async with admin.fleet() as fleet, asyncio.TaskGroup() as tasks:  # one connection: one worker hears it all
        online = [asyncio.Event() for _ in sites]
        waiting = [tasks.create_task(until_out(site, event)) for site, event in zip(sites, online, strict=True)]
        for event in online:
            await event.wait()
        assert min(connections(gc)) >= 2, "each worker has streams, whichever hears the admin"
        began = time.monotonic()
        for number in range(SITES):
            await fleet.RevokeSatellite(fleet_pb2.RevokeSatelliteRequest(name=f"kiosk-{number}"))
    assert max(task.result() for task in waiting) - began < OUT_S


async def until_out(site: Member, online: asyncio.Event) -> float:
    """Hold a stream open until it is ended for a revocation: `→ when`."""
    async with site.channel() as channel:
        stream = SatelliteStream(StateServiceStub(channel))
        await stream.subscribe(secrets.token_bytes(16))
        await stream.update()
        online.set()
        goodbye = await stream.goodbye(within_s=30)
        assert goodbye.reason == state_pb2.GOODBYE_REASON_REVOKED
        return time.monotonic()


def connections(gc: GroundControl) -> list[int]:
    """How many connections each worker has on the fleet's port."""
    port = int(gc.address.rpartition(":")[2])
    pids = [pid for name, pid in gc.facts["processes"].items() if name.startswith("worker-")]
    found = [psutil.Process(pid).net_connections("tcp") for pid in pids]
    return [sum(one.status == psutil.CONN_ESTABLISHED and one.laddr.port == port for one in each) for each in found]
