"""Workers are replaced while they are used, on either database."""

from __future__ import annotations

import asyncio
import os
import pty
import secrets
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, closing
from pathlib import Path

import psutil
import pytest
import urllib3

from controlplane.satctl.client import FleetClient, connect
from controlplane.satctl.options import Options
from fleet.v1 import fleet_pb2, state_pb2
from fleet.v1.state_pb2_grpc import StateServiceStub
from tests.rig.ground_control import GroundControl
from tests.rig.postgres import running_postgres
from tests.rig.satctl import PATIENCE_S, Satctl
from tests.wire.controlplane.site import SatelliteStream, held_after

CALLERS = 8


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.needs_postgres)])
def gc(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[GroundControl]:
    with ExitStack() as stack:
        options = {"metrics": "127.0.0.1:0"}
        if request.param == "postgres":
            options |= {"database_url": stack.enter_context(running_postgres()).make_database(), "workers": "2"}
        yield stack.enter_context(GroundControl(tmp_path, options))


@asynccontextmanager
async def calling(options: Options) -> AsyncIterator[Counter[str]]:
    """Have many operators read and write without pause: `→ how many calls they made`. None may fail."""
    made, stop = Counter[str](), asyncio.Event()

    async def call(client: FleetClient, number: int) -> None:
        if number % 2:
            await client.call(client.fleet.GetFleetStatus, fleet_pb2.GetFleetStatusRequest())
        else:
            group = fleet_pb2.Group(name=f"g-{number}-{made.total()}")
            await client.call(client.fleet.CreateGroup, fleet_pb2.CreateGroupRequest(group=group))
        made["writes" if number % 2 == 0 else "reads"] += 1

    async def operate(number: int) -> None:
        async with connect(options) as client:
            while not stop.is_set():
                await call(client, number)

    async with asyncio.TaskGroup() as tasks:
        for number in range(CALLERS):
            tasks.create_task(operate(number))
        try:
            yield made
        finally:
            stop.set()


async def test_streams_go_over_and_no_call_fails(gc: GroundControl, tmp_path: Path) -> None:
    admin = await gc.join_operator()
    site = await gc.join_satellite(admin, "kiosk-1")
    operator = Satctl(tmp_path / "operator")
    await asyncio.to_thread(operator.ok, "login", gc.operator_string("casey"))
    before, boot_id = gc.workers(), secrets.token_bytes(16)
    options = Options(operator.home, "default", "", "", "", PATIENCE_S, "")
    async with site.channel() as channel, calling(options) as made:
        stream = SatelliteStream(StateServiceStub(channel))
        await stream.subscribe(boot_id)
        update = await stream.update()
        reloading = asyncio.create_task(asyncio.to_thread(gc.reload))
        goodbye = await stream.goodbye(within_s=60)
        assert goodbye.reason == state_pb2.GOODBYE_REASON_DRAINING
        assert goodbye.HasField("retry_after")
        again = SatelliteStream(StateServiceStub(channel))
        await again.subscribe(boot_id, 2, held=held_after(update), position=update[-1].position)
        assert [message.WhichOneof("body") for message in await again.update()] == ["unchanged"]
        await reloading
    assert made["reads"]
    assert made["writes"]
    assert not set(before.values()) & set(gc.workers().values())
    assert workers_up(gc) == dict.fromkeys(before, "1.0")


def workers_up(gc: GroundControl) -> dict[str, str]:
    told = urllib3.request("GET", f"http://{gc.facts['metrics']}/metrics", timeout=15, retries=False).data.decode()
    lines = [line for line in told.splitlines() if line.startswith("ground_control_worker_up{")]
    return {line.split('"')[1]: line.split()[-1] for line in lines}


def suspend_between_writes(process: psutil.Process, database: Path) -> None:
    """Stop a process where it does not hold the lock of its SQLite database, which would hold up whoever migrates."""
    while True:
        process.suspend()
        try:
            with closing(sqlite3.connect(database, timeout=0.2, isolation_level=None)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                return
        except sqlite3.OperationalError:
            process.resume()
            time.sleep(0.1)


def test_a_worker_that_is_stuck_is_killed_when_its_time_is_over(tmp_path: Path) -> None:
    with GroundControl(tmp_path, {"drain": "0"}) as gc:
        stuck = psutil.Process(gc.workers()["worker-1"])
        suspend_between_writes(stuck, tmp_path / "gc" / "ground-control.db")
        gc.reload()
        assert not stuck.is_running()
        assert gc.workers()["worker-1"] != stuck.pid
        assert '"child.killed"' in gc.log()


@pytest.mark.needs_postgres
def test_where_the_database_is_away_nothing_is_replaced(tmp_path: Path) -> None:
    with running_postgres(durable=True) as postgres:
        options = {"database_url": postgres.make_database(), "workers": "1"}
        with GroundControl(tmp_path, options) as gc:
            before = gc.workers()
            postgres.stop()
            failed = gc.run("reload")
            assert (failed.returncode, "RELOAD_FAILED" in failed.stderr) == (4, True)
            assert gc.workers() == before
            postgres.start()
            gc.reload()
            assert gc.workers() != before


def test_a_reload_where_nothing_runs_says_so(tmp_path: Path) -> None:
    refused = GroundControl(tmp_path).run("reload")
    assert refused.returncode == 4
    assert "NOT_RUNNING" in refused.stderr


def test_a_terminal_that_is_closed_ends_what_was_started_from_it(tmp_path: Path) -> None:
    outside, inside = pty.openpty()
    gc = GroundControl(tmp_path)
    command = [sys.executable, "-m", "controlplane.cli", "serve"]
    process = subprocess.Popen(
        command,
        env=gc.environment,
        stdin=inside,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        os.close(inside)
        while not (gc.data_dir / "ground-control.ready").exists():
            assert process.poll() is None
        gc.reload()
        os.close(outside)
        process.send_signal(signal.SIGHUP)
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()
