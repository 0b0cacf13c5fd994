"""Two Ground Controls on one database, killed in turn while changes are made: satellites go over and miss nothing.

HOLLOW_SITES=5000 pytest tests/system/replicas/test_killed.py --timeout 1800 --log-cli-level=info    the same at scale
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import psutil
import pytest

from tests.rig.ground_control import GroundControl
from tests.rig.hollow import Hollow, hollow
from tests.rig.postgres import Postgres
from tests.rig.replicas import replicas
from tests.rig.satctl import Satctl
from tests.rig.simulation import until

pytestmark = pytest.mark.needs_postgres


async def kill_under_changes(fleet: Hollow, gone: GroundControl) -> None:
    """Kill a replica with all its processes while changes are made, and start it when all went to the other one."""
    workers, lost = gone.workers().values(), fleet.goodbyes()["LINK_LOST"]
    async with fleet.changing():
        await fleet.changes(2)
        gone.kill()
        await until(lambda: not any(map(psutil.pid_exists, workers)), "its workers died with it")
        await fleet.gone_over(lost=lost)
        await asyncio.to_thread(gone.start)
        await fleet.changes(2)


async def test_each_of_two_replicas_is_killed_under_changes_and_every_change_comes_once(
    tmp_path: Path, postgres: Postgres
) -> None:
    with replicas(tmp_path, postgres) as (one, other):
        admin = Satctl(tmp_path / "admin")
        await asyncio.to_thread(admin.ok, "login", one.operator_string("admin"))
        async with hollow(admin, addresses=(one.address, other.address)) as fleet:
            for gone in (other, one):  # the second is the one that changes are told to
                await kill_under_changes(fleet, gone)
                await fleet.settled()
                assert fleet.each_came_once(), fleet
            assert await fleet.log_is_whole()
            assert set(fleet.goodbyes()) <= {"LINK_LOST", "GC_UNREACHABLE"}
