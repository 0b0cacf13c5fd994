from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from certs.workload import WorkloadServer
from tests.rig.identity import GROUND_CONTROL, SATELLITE, Realm, echo_server
from tests.rig.programs import require

SOURCE = Path(__file__).parent / "go_spiffe"


@pytest.fixture(scope="module")
def foreign_client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("go") / "go_spiffe"
    subprocess.run([require("go"), "build", "-o", program, "."], cwd=SOURCE, check=True)
    return program


@pytest.mark.needs_go
async def test_go_spiffe_reads_the_socket_and_meets_ground_control(foreign_client: Path, tmp_path: Path) -> None:
    realm, server = Realm(), WorkloadServer()
    await server.start(tmp_path / "w" / "s")
    await server.publish(realm.material(SATELLITE))
    async with echo_server(realm.material(GROUND_CONTROL)) as echo:
        process = await asyncio.create_subprocess_exec(
            foreign_client, tmp_path / "w" / "s", echo.address, GROUND_CONTROL, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        said = [(await process.stdout.readline()).decode().strip() for _ in range(3)]
        assert said == [f"identity {SATELLITE}", "bundles 1", f"connected {GROUND_CONTROL}"]
        await server.publish(realm.material(SATELLITE))
        rest, _ = await process.communicate()
        assert rest.decode().strip() == f"rotated {SATELLITE}"
        assert process.returncode == 0
    await server.stop()
