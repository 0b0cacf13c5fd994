"""Hollow satellites, an operator who changes what they hold, and the count of what came: each thing once, or not.

async with hollow(admin, sites) as fleet:        # all connected, all converged
    await fleet.change()                         # one more artifact for all of them
    await fleet.settled()                        # everybody has everything

`--log-cli-level=info` shows what was counted.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc.aio

from controlplane.satctl.simulate.plan import Plan
from controlplane.satctl.simulate.run import Simulation
from fleet.errors import Kind
from fleet.rpc_errors import from_rpc_error
from fleet.v1 import fleet_pb2 as pb
from fleet.v1 import resource_pb2
from tests.rig.satctl import Satctl
from tests.rig.simulation import simulation, until

_log = logging.getLogger(__name__)

GROUP = "shops"
SITES = int(os.environ.get("HOLLOW_SITES", "300"))
"""Satellites of a test; the same test is a trial at scale with thousands (`--timeout 1800`)."""
PATIENCE_S = 60.0 + SITES / 25
PACE_S = max(1.0, SITES / 500)
"""Between two changes for all: what a machine can bear that runs satellites beside Ground Control."""
_PAUSE_S = 0.2
_CALL_S = 15.0
_AT_FIRST = 2
"""Resources that each satellite is sent first: a source, and an artifact of it."""


@dataclass
class Hollow:
    """Hollow satellites at work.

    Attributes:
        positions: where in the log each change of ours was written.
    """

    fleet: Simulation
    sites: int
    positions: list[str] = field(default_factory=list)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)

    def counts(self) -> Counter[str]:
        """Say what was counted so far."""
        return self.fleet.whole.sum("counts")

    def goodbyes(self) -> Counter[str]:
        """Count why streams ended and attempts failed; not heartbeats, which a satellite that goes over drops."""
        errors = self.fleet.whole.sum("errors")
        return Counter({reason: count for reason, count in errors.items() if not reason.startswith("HEALTH_")})

    async def change(self) -> None:
        """Give all satellites one more artifact, however long the database or a replica is away."""
        name = f"app-{len(self.positions) + 1}"
        spec = resource_pb2.ArtifactSpec(source="hub", repository=name, tag="1", digest=f"sha256:{1:064x}")
        assignment = pb.Assignment(artifact=f"hub/{name}:1", scope=f"group/{GROUP}")
        changes = [pb.Change(artifact=pb.Artifact(spec=spec)), pb.Change(assignment=assignment)]
        async with asyncio.timeout(PATIENCE_S):
            position = await self._written(pb.ApplyChangesRequest(changes=changes, request_id=name))
        self.positions.append(position)

    async def _written(self, request: pb.ApplyChangesRequest) -> str:
        """Write it, and again under the same request id where the answer was lost: it is done once."""
        client = self.fleet.client
        while True:
            try:
                made = await client.fleet.ApplyChanges(request, timeout=_CALL_S)
            except grpc.aio.AioRpcError as error:
                if from_rpc_error(error).kind is not Kind.UNAVAILABLE:
                    raise
                await asyncio.sleep(_PAUSE_S)
            else:
                return f"{made.position.epoch}.{made.position.revision}"

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[None]:
        """Make changes all the while."""
        async with asyncio.TaskGroup() as tasks:
            self._stopping.clear()
            tasks.create_task(self._keep_changing())
            try:
                yield
            finally:
                self._stopping.set()

    async def _keep_changing(self) -> None:
        while not self._stopping.is_set():
            await self.change()
            await asyncio.sleep(PACE_S)

    async def changes(self, count: int) -> None:
        """Wait for so many more of the changes that `changing` makes."""
        wanted = len(self.positions) + count
        await until(lambda: len(self.positions) >= wanted, f"{wanted} changes, {self}", within_s=PATIENCE_S)

    async def gone_over(self, *, lost: int) -> None:
        """Wait until more than `lost` streams have ended without a goodbye, and every satellite has one."""

        def is_so() -> bool:
            return self.goodbyes()["LINK_LOST"] > lost and self.fleet.whole.sum("gauges")["connected"] == self.sites

        await until(is_so, f"all connected again, {self}", within_s=PATIENCE_S)

    async def settled(self) -> None:
        """Wait until all have everything; what came more than once, or is missing, is never so."""
        wanted = self.sites * (_AT_FIRST + len(self.positions))

        def is_so() -> bool:
            gauges = self.fleet.whole.sum("gauges")
            return self.counts()["resources"] >= wanted and gauges["converged"] == gauges["connected"] == self.sites

        await until(is_so, f"{wanted} resources, {self}", within_s=PATIENCE_S)
        status = await self.fleet.client.call(self.fleet.client.fleet.GetFleetStatus, pb.GetFleetStatusRequest())
        while status.converged != self.sites or status.online != self.sites:
            await asyncio.sleep(_PAUSE_S)
            status = await self.fleet.client.call(self.fleet.client.fleet.GetFleetStatus, pb.GetFleetStatusRequest())

    def each_came_once(self) -> bool:
        """Say whether every satellite was sent every resource once, none again, and none as part of a whole state."""
        counts = self.counts()
        wanted = self.sites * (_AT_FIRST + len(self.positions))
        return (counts["resources"], counts["resources_again"], counts["snapshots"]) == (wanted, 0, self._snapshots)

    async def log_is_whole(self) -> bool:
        """Say whether the log counts 1, 2, 3 and so on, and has each of our changes at a revision of its own."""
        client, request, found = self.fleet.client, pb.ListChangesRequest(page_size=1000), list[str]()
        while True:
            page = await client.call(client.fleet.ListChanges, request)
            found += [f"{one.position.epoch}.{one.position.revision}" for one in page.changes]
            if not page.more:
                break
            request.after.CopyFrom(page.changes[-1].position)
        ours = set(self.positions)
        return found == [f"1.{number}" for number in range(1, len(found) + 1)] and (
            len(ours) == len(self.positions) and ours <= set(found)
        )

    def __str__(self) -> str:
        counts, gauges = self.counts(), self.fleet.whole.sum("gauges")
        return f"{len(self.positions)} changes: {dict(counts)}, {dict(gauges)}, {dict(self.fleet.whole.sum('errors'))}"

    _snapshots: int = 0


@asynccontextmanager
async def hollow(admin: Satctl, sites: int = SITES, *, addresses: tuple[str, ...] = ()) -> AsyncIterator[Hollow]:
    """Connect hollow satellites that hold a source and an artifact, by two processes."""
    await asyncio.to_thread(admin.ok, "group", "create", GROUP)
    await asyncio.to_thread(admin.ok, "source", "create", "hub", "--address", "127.0.0.1:1")
    await asyncio.to_thread(admin.ok, "assign", f"hub/first@sha256:{1:064x}", "--to", f"group/{GROUP}")
    plan = Plan(ramp_per_s=100.0, heartbeat_s=5.0)
    started = simulation(admin, sites, groups=(GROUP,), processes=2, addresses=addresses, plan=plan)
    async with started as fleet, fleet.running():
        running = Hollow(fleet, sites)
        await fleet.begin()
        await running.settled()
        running._snapshots = running.counts()["snapshots"]
        yield running
        _log.info("%s", running)
