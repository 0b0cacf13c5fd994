"""The rows: each does one thing to a running fleet, and says what it took.

CPU is that of Ground Control's workers; what the same time would have cost without it is taken off.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from controlplane.satctl.simulate.plan import name_of
from controlplane.satctl.simulate.run import Simulation
from fleet.v1 import fleet_pb2 as pb
from fleet.v1 import resource_pb2
from tests.bench.figures import Figure, median_of, p99_of
from tests.bench.scale.estate import FEW, GROUP, Estate, artifacts
from tests.bench.scale.served import AT, Cost, Scale, Served, hour, once
from tests.rig.simulation import until

PATIENCE_S = 600.0
CHANGES = 5
KIB = 1024
FEW_MEMBERS = 10
CUT_S = 10.0
IDLE_S = 30.0
SILENT_S = 10.0
SETTLE_S = 3.0
"""After which what a change began is over: reports are spread over half a second, and told each second."""

Push = Callable[[], Awaitable[str]]
"""Makes one change: `→ epoch.revision`."""


async def prepare(estate: Estate) -> None:
    """Make what is changed later: a source, two groups, six artifacts for each."""
    source = pb.Source(name="hub", spec=resource_pb2.SourceSpec(address="127.0.0.1:1"))
    groups = [pb.Change(group=pb.Group(name=name)) for name in (GROUP, FEW)]
    await estate.apply(pb.Change(source=source), *groups, *artifacts(6, 1), *_few_artifact(1))
    assigned = [pb.Assignment(artifact=f"hub/library/app-{number}:1", scope=f"group/{GROUP}") for number in range(6)]
    assigned.append(pb.Assignment(artifact="hub/library/few:1", scope=f"group/{FEW}"))
    await estate.apply(*(pb.Change(assignment=one) for one in assigned))


def _few_artifact(salt: int) -> list[pb.Change]:
    spec = resource_pb2.ArtifactSpec(source="hub", repository="library/few", tag="1", digest=f"sha256:{salt:064x}")
    return [pb.Change(artifact=pb.Artifact(spec=spec))]


async def connecting(served: Served, fleet: Simulation, scale: Scale, before: Cost) -> list[Figure]:
    """Wait until all hold what they should."""
    await until(
        lambda: fleet.whole.sum("gauges")["converged"] == scale.satellites,
        "not all have converged",
        within_s=PATIENCE_S,
    )
    took_s = time.monotonic() - fleet.began
    await asyncio.sleep(SETTLE_S)
    used, count = served.cost().since(before), scale.satellites
    handshakes = [1000 * seconds for seconds in fleet.whole.times["handshake"]]
    return [
        Figure("connect/all-converged", "s", once(took_s)),
        Figure("connect/handshake-p50", "ms", median_of(handshakes)),
        Figure("connect/handshake-p99", "ms", p99_of(handshakes)),
        Figure("connect/worker-cpu-each", "ms", once(1000 * used.workers_s / count)),
        Figure("connect/database-cpu-each", "ms", once(1000 * used.database_s / count)),
        Figure("streams/rss-each", "KiB", once(used.rss_bytes / KIB / count), most=100.0),
    ]


async def idle(served: Served, seconds: float) -> Cost:
    """Do nothing for a while: `→ what that costs`."""
    before = served.cost()
    await asyncio.sleep(seconds)
    return served.cost().since(before)


async def beating(estate: Estate, fleet: Simulation, scale: Scale) -> list[Figure]:
    """Let it be: heartbeats and keepalive are all that happens."""
    before = fleet.whole.sum("counts")
    used, share = await idle(estate, IDLE_S), AT / scale.satellites
    counts = fleet.whole.sum("counts") - before
    each = used.workers_s * scale.heartbeat_s / used.at / scale.satellites
    return [
        Figure("heartbeats/worker-core", "%", once(100 * used.workers_s / used.at)),
        Figure("heartbeats/worker-core-at-10000", "%", once(100 * used.workers_s / used.at * share), most=10.0),
        Figure("heartbeats/worker-cpu-each", "ms", once(1000 * each)),
        Figure("heartbeats/database-core", "%", once(100 * used.database_s / used.at)),
        Figure("heartbeats/database-writes", "/s", once(used.writes / used.at), most=20.0),
        *hour(
            counts["heartbeats"],
            counts["bytes_received"] + counts["bytes_sent"],
            used.workers_s + used.database_s,
            of=scale.satellites,
            measured_s=used.at,
        ),
    ]


async def silent(estate: Estate, fleet: Simulation, scale: Scale) -> Cost:
    """End the heartbeats, whose cost would drown that of a change: `→ what the same time costs without them`."""
    await fleet.pace(0.0)
    await asyncio.sleep(1.1 * scale.heartbeat_s)
    return await idle(estate, SILENT_S)


async def changing(
    served: Served, fleet: Simulation, unchanged: Cost, *, name: str, count: int, pushes: Sequence[Push]
) -> list[Figure]:
    """Make changes that concern `count` satellites, one after the other; `unchanged` is the cost of doing nothing."""
    p50s, p99s, cpus, database, load = [], [], [], [], []
    for push in pushes:
        loaded, before, sent = _used_s(fleet), served.cost(), time.time()
        position = await push()
        await until(partial(_is_received, fleet, position, count), f"{name}: not all have it", within_s=PATIENCE_S)
        await asyncio.sleep(SETTLE_S)
        used = served.cost().since(before)
        delays = sorted(1000 * (moment - sent) for moment in fleet.whole.received[position])
        p50s.append(delays[len(delays) // 2])
        p99s.append(p99_of(delays).value)
        cpus.append(1e6 * (used.workers_s - unchanged.workers_s / unchanged.at * used.at) / count)
        load.append(1e6 * (_used_s(fleet) - loaded) / count)
        database.append(1e6 * (used.database_s - unchanged.database_s / unchanged.at * used.at) / count)
    return [
        Figure(f"{name}/received-p50", "ms", median_of(p50s)),
        Figure(f"{name}/received-p99", "ms", median_of(p99s), most=500.0 if count > FEW_MEMBERS else 10.0),
        Figure(f"{name}/worker-cpu-each", "µs", median_of(cpus), most=45.0 if count > FEW_MEMBERS else None),
        Figure(f"{name}/database-cpu-each", "µs", median_of(database)),
        Figure(f"{name}/simulation-cpu-each", "µs", median_of(load)),
    ]


def _is_received(fleet: Simulation, position: str, count: int) -> bool:
    return len(fleet.whole.received.get(position, ())) >= count


async def to_all(estate: Estate, fleet: Simulation, unchanged: Cost, scale: Scale) -> list[Figure]:
    """Change 1 KiB of what all hold."""
    pushes = [partial(estate.apply, *artifacts(6, salt)) for salt in range(2, 2 + CHANGES)]
    return await changing(estate, fleet, unchanged, name="change-to-all", count=scale.satellites, pushes=pushes)


async def to_few(estate: Estate, fleet: Simulation, unchanged: Cost) -> list[Figure]:
    """Change what ten hold."""
    members = [pb.Membership(satellite=name_of(number + 1), group=FEW) for number in range(FEW_MEMBERS)]
    joined = await estate.apply(*(pb.Change(membership=one) for one in members))
    await until(partial(_is_received, fleet, joined, FEW_MEMBERS), "not all have joined the group")
    pushes = [partial(estate.apply, *_few_artifact(salt)) for salt in range(2, 2 + CHANGES)]
    return await changing(estate, fleet, unchanged, name="change-to-ten", count=FEW_MEMBERS, pushes=pushes)


async def cutting(estate: Estate, fleet: Simulation, scale: Scale) -> list[Figure]:
    """Cut all for ten seconds."""
    loaded, before, counts = _used_s(fleet), estate.cost(), fleet.whole.sum("counts")
    await fleet.cut(CUT_S)
    await until(
        lambda: len(fleet.whole.times.get("back", ())) >= scale.satellites, "not all are back", within_s=PATIENCE_S
    )
    await asyncio.sleep(SETTLE_S)
    used, after = estate.cost().since(before), fleet.whole.sum("counts")
    back = fleet.whole.times["back"]
    return [
        Figure("all-cut/back-p50", "s", median_of(back)),
        Figure("all-cut/back-p99", "s", p99_of(back), most=20.0),
        Figure("all-cut/snapshots-sent", "", once(after["snapshots"] - counts["snapshots"]), most=0.0),
        Figure("all-cut/updates-sent", "", once(after["updates"] - counts["updates"]), most=0.0),
        Figure("all-cut/worker-cpu-each", "ms", once(1000 * used.workers_s / scale.satellites)),
        Figure("all-cut/database-cpu-each", "ms", once(1000 * used.database_s / scale.satellites)),
        Figure("all-cut/simulation-cpu-each", "ms", once(1000 * (_used_s(fleet) - loaded) / scale.satellites)),
    ]


def _used_s(fleet: Simulation) -> float:
    """What the load itself has used so far: it must be less than what it measures."""
    return float(sum(one["cpu_s"] for one in fleet.whole.processes))


def clients(fleet: Simulation, scale: Scale) -> list[Figure]:
    """Say what the load holds."""
    peak = sum(one["peak_rss_bytes"] for one in fleet.whole.processes)
    return [Figure("simulation/peak-rss-each", "KiB", once(peak / KIB / scale.satellites))]
