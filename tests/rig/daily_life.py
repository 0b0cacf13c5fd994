"""What happens to a fleet in a day, without end: for a Ground Control whose tables and processes are watched."""

from __future__ import annotations

import asyncio
import math
import random
from dataclasses import dataclass, field
from datetime import timedelta

import psutil
import psycopg
from sqlalchemy import func
from sqlmodel import Session, select

from controlplane.adapters.sql.engine import database_url, make_engine
from controlplane.adapters.sql.tables import LogHead
from controlplane.satctl.client import FleetClient, connect
from controlplane.satctl.options import Options
from controlplane.satctl.simulate.plan import name_of
from fleet.v1 import fleet_pb2 as pb
from fleet.v1 import resource_pb2
from tests.rig.ground_control import GroundControl
from tests.rig.satctl import Satctl

GROUP, OTHERS = "all", ("few", "more")
ARTIFACTS = 6
OWNERS = 4
"""Satellites that get something of their own: so few that what is wanted is soon as much as it will ever be."""
GUESTS = 10


@dataclass(frozen=True, slots=True)
class Sample:
    """Ground Control at a moment, by process and by table."""

    rss_bytes: dict[str, int]
    files: dict[str, int]
    rows: dict[str, int]
    database_bytes: int


def sample(control: GroundControl) -> Sample:
    """Look at each process, and at each table."""
    pids = control.facts["processes"] | {"supervisor": control.process.pid if control.process else 0}
    found = {name: psutil.Process(pid) for name, pid in sorted(pids.items())}
    rows, size = _tables(control)
    return Sample(
        {name: process.memory_info().rss for name, process in found.items()},
        {name: process.num_fds() for name, process in found.items()},
        rows,
        size,
    )


def _tables(control: GroundControl) -> tuple[dict[str, int], int]:
    url = control.options.get("database_url", "")
    path = control.data_dir / "ground-control.db"
    engine = make_engine(database_url(url or f"sqlite:///{path}"))
    try:
        with Session(engine) as session:
            every = LogHead.metadata.tables.items()
            rows = {name: session.exec(select(func.count()).select_from(table)).one() for name, table in every}
    finally:
        engine.dispose()
    return rows, _size(url) if url else path.stat().st_size


def _size(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT pg_database_size(current_database())").fetchone()
        return int(row[0]) if row else 0


def prepared(control: GroundControl) -> Options:
    """Log an admin in: `→ how to connect as it`."""
    home = control.directory / "admin"
    Satctl(home).ok("login", control.operator_string("admin"))
    return Options(home, "default", "", "", "", 30.0, "")


def _artifact(number: int, salt: int) -> pb.Change:
    spec = resource_pb2.ArtifactSpec(
        source="hub", repository=f"library/app-{number}", tag="1", digest=f"sha256:{salt:064x}"
    )
    return pb.Change(artifact=pb.Artifact(spec=spec))


def _name(number: int) -> str:
    return f"hub/library/app-{number}:1"


@dataclass
class DailyLife:
    """Changes, one after the other, each by a client that connects for it.

    Attributes:
        changes: how many have been made.
    """

    options: Options
    satellites: int
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    changes: int = 0

    async def begin(self) -> None:
        """Make what is changed later."""
        source = pb.Source(name="hub", spec=resource_pb2.SourceSpec(address="127.0.0.1:1"))
        groups = [pb.Change(group=pb.Group(name=name)) for name in (GROUP, *OTHERS)]
        artifacts = [_artifact(number, 1) for number in range(ARTIFACTS)]
        assigned = [_assigned(number, f"group/{GROUP}") for number in range(ARTIFACTS)]
        async with connect(self.options) as client:
            await self._apply(client, pb.Change(source=source), *groups, *artifacts, *assigned)

    async def go_on(self, pause_s: float, *, most: float = math.inf) -> None:
        """Change something, again and again, until so much has been changed."""
        while self.changes < most:
            async with connect(self.options) as client:
                await self.change(client)
            await asyncio.sleep(pause_s)

    async def change(self, client: FleetClient) -> None:
        """Change one thing or another."""
        chance = self.chance
        satellite = name_of(chance.randrange(self.satellites) + 1)
        own = f"satellite/{name_of(chance.randrange(min(self.satellites, OWNERS)) + 1)}"
        scope = chance.choice([own, *(f"group/{name}" for name in OTHERS), "fleet"])
        artifact = chance.randrange(ARTIFACTS)
        match chance.randrange(8):
            case 0 | 1 | 2:
                await self._apply(client, _artifact(artifact, chance.getrandbits(64)))
            case 3:
                await self._apply(client, _assigned(artifact, scope))
            case 4:
                pair = pb.Assignment(artifact=_name(artifact), scope=scope)
                await self._apply(client, pb.Change(delete=pb.Deletion(assignment=pair)))
            case 5:
                one = pb.Membership(satellite=satellite, group=chance.choice(OTHERS))
                await self._apply(client, pb.Change(membership=one))
            case 6:
                one = pb.Membership(satellite=satellite, group=chance.choice(OTHERS))
                await self._apply(client, pb.Change(delete=pb.Deletion(membership=one)))
            case _:
                await self._guest(client, f"guest-{chance.randrange(GUESTS)}")

    async def _guest(self, client: FleetClient, name: str) -> None:
        """Invite a satellite that never comes, and give it up."""
        request = pb.CreateJoinTokenRequest(satellite=name)
        request.ttl.FromTimedelta(timedelta(minutes=1))
        await client.call(client.fleet.CreateJoinToken, request)
        await self._apply(client, _assigned(0, f"satellite/{name}"))
        await self._apply(client, pb.Change(delete=pb.Deletion(satellite=name)))
        self.changes += 1

    async def _apply(self, client: FleetClient, *changes: pb.Change) -> None:
        await client.call(client.fleet.ApplyChanges, pb.ApplyChangesRequest(changes=changes))
        self.changes += 1


def _assigned(number: int, scope: str) -> pb.Change:
    return pb.Change(assignment=pb.Assignment(artifact=_name(number), scope=scope))
