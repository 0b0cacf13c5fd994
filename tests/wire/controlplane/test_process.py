"""The program itself: started, killed, restarted, stopped."""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from fleet.errors import FleetError
from fleet.policy_wire import write_policy
from fleet.v1 import attestation_pb2, fleet_pb2, state_pb2
from fleet.v1.attestation_pb2_grpc import AttestationServiceStub
from fleet.v1.state_pb2_grpc import StateServiceStub
from tests.contract.store.words import shut
from tests.rig.ground_control import GroundControl, Member, join
from tests.wire.controlplane.site import SatelliteStream, held_after

GC_S = 10.0


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def until(holds: object, within_s: float = GC_S) -> None:
    deadline = time.monotonic() + within_s
    while not holds():  # type: ignore[operator] # any callable
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.05)


def serve(directory: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a `serve` that must fail at start."""
    clean = {name: text for name, text in os.environ.items() if not name.startswith("GROUND_CONTROL_")}
    return subprocess.run(
        [sys.executable, "-m", "controlplane.cli", "serve", "--data-dir", str(directory / "gc"), *arguments],
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GroundControl]:
    """One Ground Control for the tests that leave it running."""
    with GroundControl(tmp_path_factory.mktemp("running")) as gc:
        yield gc


async def test_killed_and_restarted_it_sends_a_satellite_nothing_that_it_holds(tmp_path: Path) -> None:
    boot_id = secrets.token_bytes(16)
    with GroundControl(tmp_path) as gc:
        admin = await gc.join_operator()
        site = await gc.join_satellite(admin, "kiosk-1")
        async with admin.fleet() as fleet:
            policy = fleet_pb2.Policy(name="base", spec=write_policy(shut()))
            await fleet.CreatePolicy(fleet_pb2.CreatePolicyRequest(policy=policy))
        async with site.channel() as channel:
            await AttestationServiceStub(channel).Attest(attestation_pb2.AttestRequest(boot_id=boot_id))
            stream = SatelliteStream(StateServiceStub(channel))
            await stream.subscribe(boot_id)
            update = await stream.update()
        children = dict(gc.facts["processes"])
        gc.kill()
        until(lambda: not any(map(is_alive, children.values())))
        await asyncio.to_thread(gc.start)
        await site.renew()
        async with site.channel() as channel:
            stream = SatelliteStream(StateServiceStub(channel))
            await stream.subscribe(boot_id, 2, held=held_after(update), position=update[-1].position)
            assert [message.WhichOneof("body") for message in await stream.update()] == ["unchanged"]


async def test_a_worker_that_dies_is_started_again_on_the_same_port(tmp_path: Path) -> None:
    with GroundControl(tmp_path) as gc:
        admin = await gc.join_operator()
        worker = int(gc.facts["processes"]["worker-1"])
        os.kill(worker, 9)
        async with asyncio.timeout(90), admin.fleet() as fleet:
            answer = await fleet.GetFleetStatus(fleet_pb2.GetFleetStatusRequest(), wait_for_ready=True)
        assert answer.position.epoch == 1


async def test_an_authority_that_dies_is_started_again_and_issues(tmp_path: Path) -> None:
    with GroundControl(tmp_path) as gc:
        admin = await gc.join_operator()
        os.kill(int(gc.facts["processes"]["authority"]), 9)
        async with asyncio.timeout(30):
            while await renewal_fails(admin):  # noqa: ASYNC110 - what it waits for has no event
                await asyncio.sleep(0.1)


async def renewal_fails(member: Member) -> bool:
    try:
        await member.renew()
    except FleetError as error:
        if error.reason != "AUTHORITY_UNREACHABLE":
            raise
        return True
    return False


async def test_told_to_stop_it_says_goodbye_and_exits_well(tmp_path: Path) -> None:
    with GroundControl(tmp_path) as gc:
        admin = await gc.join_operator()
        site = await gc.join_satellite(admin, "kiosk-1")
        async with site.channel() as channel:
            stream = SatelliteStream(StateServiceStub(channel))
            await stream.subscribe(secrets.token_bytes(16))
            await stream.update()
            stopping = asyncio.create_task(asyncio.to_thread(gc.stop))
            assert (await stream.goodbye()).reason == state_pb2.GOODBYE_REASON_DRAINING
            assert await stopping == 0
        assert not (gc.data_dir / "ground-control.ready").exists()


def test_the_supervisor_never_loads_grpc(running: GroundControl) -> None:
    assert running.process is not None
    assert "cygrpc" not in Path(f"/proc/{running.process.pid}/maps").read_text()
    assert "cygrpc" in Path(f"/proc/{running.facts['processes']['worker-1']}/maps").read_text()


async def test_a_lost_operator_gets_back_in_from_the_host(running: GroundControl, tmp_path: Path) -> None:
    await running.join_operator("casey")
    done = await asyncio.to_thread(running.run, "operator-token", "casey")
    again = await join(done.stdout, tmp_path / "again")
    async with again.fleet() as fleet:
        await fleet.GetFleetStatus(fleet_pb2.GetFleetStatusRequest())
    stranger = await asyncio.to_thread(running.run, "operator-token", "nobody")
    assert stranger.returncode == 1
    assert "OPERATOR_UNKNOWN" in stranger.stderr


async def test_recover_begins_an_epoch(running: GroundControl) -> None:
    admin = await running.join_operator("robin")
    done = await asyncio.to_thread(running.run, "recover", "--json")
    assert '"epoch": 2' in done.stdout
    async with admin.fleet() as fleet:
        status = await fleet.GetFleetStatus(fleet_pb2.GetFleetStatusRequest())
    assert status.position.epoch == 2


def test_two_on_one_directory_or_one_port_are_refused(running: GroundControl, tmp_path: Path) -> None:
    second = serve(running.directory)
    assert (second.returncode, "ALREADY_RUNNING" in second.stderr) == (1, True)
    third = serve(tmp_path, "--listen", running.address, "--bootstrap-listen", "127.0.0.1:0")
    assert (third.returncode, "ADDRESS_IN_USE" in third.stderr) == (1, True)


def test_sqlite_serves_one_worker(tmp_path: Path) -> None:
    refused = serve(tmp_path, "--workers", "2")
    assert refused.returncode == 2
    assert "SQLITE_ONE_WORKER" in refused.stderr


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("GROUND_CONTROL_LISTEN", "nowhere"),
        ("GROUND_CONTROL_SVID_TTL", "2h"),
        ("GROUND_CONTROL_TRUST_DOMAIN", "Not A Domain"),
        ("GROUND_CONTROL_LOG_LEVEL", "loud"),
    ],
)
def test_a_wrong_value_fails_at_start_and_names_its_variable(tmp_path: Path, variable: str, value: str) -> None:
    refused = serve(tmp_path, **{variable: value})
    assert refused.returncode == 2
    assert variable in refused.stderr


def test_workers_have_the_allocator_s_settings_unless_the_environment_has_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MALLOC_MMAP_MAX_", "7")
    monkeypatch.delenv("MALLOC_MMAP_THRESHOLD_", raising=False)
    with GroundControl(tmp_path) as gc:
        (pid,) = gc.workers().values()
        environment = psutil.Process(pid).environ()
        assert (environment["MALLOC_MMAP_THRESHOLD_"], environment["MALLOC_MMAP_MAX_"]) == ("16384", "7")
