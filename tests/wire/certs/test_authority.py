from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest

from certs.request import new_key_request
from certs.signing import SigningClient
from fleet.errors import FleetError, Kind
from fleet.svid import X509Material, read_leaf
from fleet.workloadsource import WorkloadSource
from tests.rig.identity import GROUND_CONTROL, SATELLITE, TRUST_DOMAIN, eventually

WITHIN = timedelta(seconds=20)
TTL = timedelta(minutes=5)


async def start(directory: Path, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "certs.authority", "--directory", str(directory), "--trust-domain", TRUST_DOMAIN, *arguments),
        stderr=asyncio.subprocess.PIPE,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
    )


@asynccontextmanager
async def authority(directory: Path, *arguments: str) -> AsyncIterator[SigningClient]:
    process = await start(directory, *arguments)
    try:
        await eventually((directory / "signing.sock").exists)
        yield SigningClient(directory / "signing.sock")
    finally:
        process.send_signal(signal.SIGTERM)
        await process.communicate()
    assert process.returncode == 0


async def refusal(client: SigningClient, spiffe_id: str, ttl: timedelta = TTL) -> FleetError:
    with pytest.raises(FleetError) as refused:
        await client.sign(new_key_request().csr, spiffe_id, ttl)
    return refused.value


def modes(directory: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}


async def test_it_signs_for_workers_and_gives_ground_control_its_identity(tmp_path: Path) -> None:
    directory = tmp_path / "a"
    async with (
        authority(directory, "--dns-name", "localhost") as client,
        WorkloadSource(directory / "workload.sock") as own,
    ):
        issued = await client.sign(new_key_request().csr, SATELLITE, TTL)
        material = await own.ready(within=WITHIN)
        assert read_leaf(issued.chain[0]).spiffe_id == SATELLITE
        assert material.spiffe_id == GROUND_CONTROL
        assert issued.bundle == await client.bundle() == material.bundle
        found = modes(directory)
        assert set(found) == {"lock", "root.pem", "master.key", "signing.sock", "workload.sock"}
        assert set(found.values()) == {0o600}
    assert set(modes(directory)) == {"lock", "root.pem", "master.key"}


async def test_a_restart_keeps_the_root(tmp_path: Path) -> None:
    async with authority(tmp_path / "a") as client:
        before = await client.bundle()
    async with authority(tmp_path / "a") as client:
        assert await client.bundle() == before


async def test_a_second_authority_is_refused_with_a_sentence(tmp_path: Path) -> None:
    async with authority(tmp_path / "a") as client:
        second = await start(tmp_path / "a")
        _, said = await second.communicate()
        assert second.returncode == 1
        assert b"another authority runs in this directory" in said
        assert b"Traceback" not in said
        assert await client.bundle()


async def test_a_killed_one_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    process = await start(tmp_path / "a")
    await eventually((tmp_path / "a" / "signing.sock").exists)
    process.kill()
    await process.communicate()
    process = await start(tmp_path / "a")
    client, bundle = SigningClient(tmp_path / "a" / "signing.sock"), None
    async with asyncio.timeout(60):
        while not bundle:
            with suppress(FleetError):  # the dead one's socket is still there at first
                bundle = await client.bundle()
            await asyncio.sleep(0.05)
    process.terminate()
    await process.communicate()
    assert process.returncode == 0


async def test_it_ends_with_its_supervisor(tmp_path: Path) -> None:
    process = await start(tmp_path / "a", "--end-with-stdin")
    await eventually((tmp_path / "a" / "signing.sock").exists)
    assert process.stdin is not None
    process.stdin.close()  # as the kernel does when the supervisor is killed
    assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_intermediates_and_its_own_svid_rotate_without_a_restart(tmp_path: Path) -> None:
    directory = tmp_path / "a"
    lives = ("--intermediate-life", "2", "--svid-life", "1")
    async with authority(directory, *lives) as client, WorkloadSource(directory / "workload.sock") as own:
        bundle, intermediates, seen = await client.bundle(), set[bytes](), set[X509Material]()
        async with asyncio.timeout(60):
            while len(intermediates) < 3 or len(seen) < 3:
                issued = await client.sign(new_key_request().csr, SATELLITE, timedelta(seconds=1))
                intermediates.add(issued.chain[1])
                seen.add(await own.ready(within=WITHIN))
                assert issued.bundle == bundle
                await asyncio.sleep(0.1)
        assert {material.bundle for material in seen} == {bundle}


async def test_a_herd_of_workers_is_answered_whole(tmp_path: Path) -> None:
    async with authority(tmp_path / "a") as client:
        bundle = await client.bundle()
        workers = [SigningClient(tmp_path / "a" / "signing.sock") for _ in range(20)]
        answers = await asyncio.gather(*(worker.bundle() for worker in workers * 40))
        assert answers == [bundle] * len(answers)


async def test_a_worker_cannot_make_another_ground_control(tmp_path: Path) -> None:
    async with authority(tmp_path / "a") as client:
        error = await refusal(client, f"spiffe://{TRUST_DOMAIN}/gc/other")
        assert (error.kind, error.reason) == (Kind.REFUSED, "SVID_NOT_ISSUED")
        assert (await refusal(client, SATELLITE, timedelta(hours=2))).reason == "SVID_LIFE"
        assert (await refusal(client, "spiffe://other.test/operator/x")).reason == "FOREIGN_TRUST_DOMAIN"


async def test_no_request_however_malformed_ends_it(tmp_path: Path) -> None:
    async with authority(tmp_path / "a") as client:
        bodies = [b"", b"{", b"[]", b'{"do": "sign"}', b'{"do": 1}', b"[" * 60000, os.urandom(200)]
        for raw in [b"\xff" * 4, b"\0", *(len(body).to_bytes(4, "big") + body for body in bodies)]:
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "a" / "signing.sock"))
            writer.write(raw)
            writer.write_eof()
            answer = await reader.read()
            assert not answer or b"SIGNING_REQUEST" in answer
            writer.close()
            await writer.wait_closed()
        assert await client.bundle()


async def test_an_absent_authority_is_named(tmp_path: Path) -> None:
    error = await refusal(SigningClient(tmp_path / "none.sock"), SATELLITE)
    assert (error.kind, error.reason) == (Kind.UNAVAILABLE, "AUTHORITY_UNREACHABLE")
