"""What a measurement at scale works with: PostgreSQL, a Ground Control of several workers, and a simulated fleet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
from rich.console import Console

from controlplane.satctl.client import FleetClient, connect
from controlplane.satctl.options import Options
from controlplane.satctl.simulate.plan import Plan
from controlplane.satctl.simulate.run import Simulation, processes_for
from fleet.v1 import fleet_pb2 as pb
from fleet.v1 import resource_pb2
from tests.bench.scale.served import Cost, Scale, cost_of, used_s
from tests.rig.ground_control import GroundControl
from tests.rig.postgres import running_postgres
from tests.rig.satctl import Satctl
from tests.rig.simulation import simulated

GROUP, FEW = "all", "few"


@dataclass
class Estate:
    """All of it, running."""

    control: GroundControl
    database: str
    """URL; empty: SQLite."""
    client: FleetClient
    options: Options
    talk: Console

    def cost(self) -> Cost:
        """Read the meters."""
        workers = [
            psutil.Process(pid) for name, pid in self.control.facts["processes"].items() if name.startswith("worker")
        ]
        database_s = sum(map(used_s, _servers(self.database)))
        return cost_of(workers, database_s=database_s, writes=_writes(self.database))

    async def apply(self, *changes: pb.Change) -> str:
        """Make changes in one revision: `→ epoch.revision`."""
        made = await self.client.call(self.client.fleet.ApplyChanges, pb.ApplyChangesRequest(changes=changes))
        return f"{made.position.epoch}.{made.position.revision}"

    def simulation(self, scale: Scale) -> Simulation:
        """Prepare a simulated fleet, whose members are in the group `all`."""
        count = processes_for(scale.satellites, 0)
        plan = Plan(heartbeat_s=scale.heartbeat_s, ramp_per_s=scale.ramp_per_s / count)
        return simulated(self.client, self.options, scale.satellites, groups=(GROUP,), plan=plan)


def _servers(database: str) -> list[psutil.Process]:
    """Find the database's processes."""
    if not database:
        return []
    with psycopg.connect(database, autocommit=True) as connection:
        row = connection.execute("SELECT pg_backend_pid()").fetchone()
        postmaster = psutil.Process(row[0] if row else 0).parent()
        return [postmaster, *postmaster.children()] if postmaster else []


def _writes(database: str) -> int:
    """Read how many transactions have written: each of them took an id, and nothing else does."""
    if not database:
        return 0
    with psycopg.connect(database, autocommit=True) as connection:
        row = connection.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint").fetchone()
        return int(row[0]) if row else 0


def artifacts(count: int, salt: int) -> list[pb.Change]:
    """Change some artifacts: each is about 170 bytes of a delta, so six of them are 1 KiB."""
    return [
        pb.Change(
            artifact=pb.Artifact(
                spec=resource_pb2.ArtifactSpec(
                    source="hub", repository=f"library/app-{number}", tag="1", digest=f"sha256:{salt:064x}"
                )
            )
        )
        for number in range(count)
    ]


@contextmanager
def _database(kind: str) -> Iterator[str]:
    if kind == "sqlite":
        yield ""
        return
    with running_postgres(durable=True) as server:
        yield server.make_database()


@asynccontextmanager
async def running_estate(directory: Path, kind: str, workers: int, talk: Console) -> AsyncIterator[Estate]:
    """Run a Ground Control on `postgres` or `sqlite`, and log an admin in."""
    with _database(kind) as database:
        options = {"log_level": "warning"}
        if database:
            options |= {"database_url": database, "workers": str(workers)}
        with GroundControl(directory, options) as control:
            home = directory / "admin"
            await asyncio.to_thread(Satctl(home).ok, "login", control.operator_string("admin"))
            operator = Options(home, "default", "", "", "", 120.0, "")
            async with connect(operator) as client:
                yield Estate(control, database, client, operator, talk)
