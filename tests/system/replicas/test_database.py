"""The database goes, stands still, or no longer says what is new: streams stay, changes wait, and come once.

HOLLOW_SITES=5000 pytest tests/system/replicas/test_database.py --timeout 1800 --log-cli-level=info    the same at scale
"""

from __future__ import annotations

import asyncio

import psutil
import psycopg
import pytest
import urllib3

from controlplane.adapters.sql.log import CHANNEL
from tests.rig.ground_control import GroundControl
from tests.rig.hollow import Hollow, hollow
from tests.rig.postgres import Postgres, suspended
from tests.rig.satctl import Satctl
from tests.rig.simulation import until

pytestmark = pytest.mark.needs_postgres

STANDSTILL_S = 10.0


async def nothing_happened_to(fleet: Hollow, streams: int) -> None:
    """See that every change came once, over the streams that were there before."""
    await fleet.settled()
    assert fleet.each_came_once(), fleet
    assert (fleet.counts()["streams"], dict(fleet.goodbyes())) == (streams, {})
    assert await fleet.log_is_whole()


async def test_a_database_that_crashes_and_comes_back_ends_no_stream(
    ground_control: GroundControl, admin: Satctl, postgres: Postgres
) -> None:
    async with hollow(admin) as fleet:
        streams = fleet.counts()["streams"]
        async with fleet.changing():
            await fleet.changes(2)
            await asyncio.to_thread(postgres.stop)
            await until(lambda: "STORE_UNAVAILABLE" in ground_control.log(), "workers noticed")
            await asyncio.to_thread(postgres.start)
            await fleet.changes(2)
        await nothing_happened_to(fleet, streams)


@pytest.mark.usefixtures("ground_control")
async def test_a_database_that_stands_still_for_a_while_ends_no_stream(admin: Satctl, postgres: Postgres) -> None:
    async with hollow(admin) as fleet:
        streams = fleet.counts()["streams"]
        async with fleet.changing():
            await fleet.changes(2)
            with suspended(postgres.processes()):
                made = len(fleet.positions)
                await asyncio.sleep(STANDSTILL_S)  # what is tried is an outage of this length
                assert len(fleet.positions) <= made + 1, "one may have been committed and not yet counted"
            await fleet.changes(2)
        await nothing_happened_to(fleet, streams)


def listeners(postgres: Postgres) -> list[int]:
    """Say which of PostgreSQL's processes tell workers that there is something new."""
    found = "SELECT pid FROM pg_stat_activity WHERE query = %s"
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        return [pid for (pid,) in connection.execute(found, [f"LISTEN {CHANNEL}"])]


def missed_hints(gc: GroundControl) -> dict[str, float]:
    """Say how many changes each worker found that no notification had told."""
    told = urllib3.request("GET", f"http://{gc.facts['metrics']}/metrics", timeout=15, retries=False).data.decode()
    lines = [line for line in told.splitlines() if line.startswith("ground_control_feed_missed_hints_total{")]
    return {line.split('"')[1]: float(line.split()[-1]) for line in lines}


async def test_what_no_notification_tells_is_found_by_looking(
    ground_control: GroundControl, admin: Satctl, postgres: Postgres
) -> None:
    async with hollow(admin) as fleet:
        streams = fleet.counts()["streams"]
        with suspended(map(psutil.Process, listeners(postgres))):  # connected, and silent
            for _ in range(3):
                await fleet.change()
                await fleet.settled()
        missed = await asyncio.to_thread(missed_hints, ground_control)
        assert len(missed) == 2
        assert max(missed.values()) > 0, "a worker has found out by itself what another one wrote"
        await nothing_happened_to(fleet, streams)


def terminate(postgres: Postgres, pids: list[int]) -> None:
    """End connections, as an administrator or a proxy does."""
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as connection:
        for pid in pids:
            connection.execute("SELECT pg_terminate_backend(%s)", [pid])


async def test_connections_for_notifications_that_are_ended_are_opened_again(
    ground_control: GroundControl, admin: Satctl, postgres: Postgres
) -> None:
    async with hollow(admin) as fleet:
        streams = fleet.counts()["streams"]
        ended = listeners(postgres)
        assert len(ended) == 2, "one of each worker"
        terminate(postgres, ended)
        await fleet.change()
        await fleet.settled()
        await until(lambda: len(set(listeners(postgres)) - set(ended)) == 2, "both listen again")
        assert ground_control.log().count('"feed.listening_lost"') == 2
        await nothing_happened_to(fleet, streams)
