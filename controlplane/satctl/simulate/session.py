"""One `satctl simulate`: what is wanted, its course, and its summary."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from controlplane.satctl.client import FleetClient, connect
from controlplane.satctl.options import Options
from controlplane.satctl.profile import ProfileStore
from controlplane.satctl.render import print_json, say
from controlplane.satctl.simulate.identities import SECRET_FILE, load_or_make_secret
from controlplane.satctl.simulate.plan import PREFIX, REGION, Plan, name_of
from controlplane.satctl.simulate.run import Simulation, check_share, processes_for
from controlplane.satctl.simulate.tally import Whole, first_error, percentile
from fleet.bridge import split_address
from fleet.errors import FleetError
from fleet.v1 import fleet_pb2 as pb
from fleet.v1 import state_pb2

__all__ = ["Summary", "Wanted", "clean", "plan", "processes_for", "show", "simulate"]

BATCH = 500
"""Satellites removed by one call."""

Summary = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line asks for."""

    satellites: int
    duration_s: float
    groups: tuple[str, ...]
    addresses: tuple[str, ...]
    plan: Plan
    processes: int
    cut_s: float
    cut_after_s: float


def plan(
    *,
    processes: int,
    failing: float,
    refusing: float,
    waiting: float,
    slow: float,
    disconnects: float,
    heartbeat_s: float | None,
    ramp: float,
) -> Plan:
    """Say what each process does, of what all do together."""
    check_share(failing=failing, refusing=refusing, waiting=waiting, slow=slow)
    return Plan(failing, refusing, waiting, slow, disconnects / processes, heartbeat_s, ramp / processes)


async def simulate(client: FleetClient, options: Options, wanted: Wanted) -> Summary:
    """Run a simulation to its end.

    Raises:
        FleetError: MALFORMED `ADDRESS_MALFORMED`; REFUSED `RPC_REFUSED` where the operator is no admin; what else
            keeps it from beginning.
    """
    for address in wanted.addresses:
        split_address(address)
    store = ProfileStore(options.home, options.profile)
    simulation = Simulation(
        client=client,
        place=store.load(),
        secret=load_or_make_secret(store.directory),
        names=[name_of(number + 1) for number in range(wanted.satellites)],
        plan=wanted.plan,
        region=REGION,
        groups=wanted.groups,
        processes=wanted.processes,
        progress=_Progress(wanted.satellites),
        addresses=wanted.addresses,
    )
    begin = (await client.call(client.fleet.GetFleetStatus, pb.GetFleetStatusRequest())).position
    try:
        async with _stop_signals() as stop, simulation.running():
            await simulation.begin()
            await _course(simulation, wanted, stop)
    except BaseExceptionGroup as group:
        raise first_error(group) from group
    return _summary(simulation, wanted, await _delays_told(options, simulation.whole, begin))


async def _course(simulation: Simulation, wanted: Wanted, stop: asyncio.Event) -> None:
    began = time.monotonic()
    if wanted.cut_s and not await _waited(stop, wanted.cut_after_s):
        await simulation.cut(wanted.cut_s)
    rest_s = began + wanted.duration_s - time.monotonic() if wanted.duration_s else None
    await _waited(stop, rest_s)


async def _waited(stop: asyncio.Event, seconds: float | None) -> bool:
    """Wait, or until we are told to stop: `→ whether we were`."""
    if seconds is not None and seconds <= 0:
        return stop.is_set()
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
    return stop.is_set()


@asynccontextmanager
async def _stop_signals() -> AsyncIterator[asyncio.Event]:
    """Stop in order on Ctrl-C: the summary is what the run was for."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


class _Progress:
    """One line on standard error, rewritten where that is a terminal, and else told now and then."""

    QUIET_S = 10.0

    def __init__(self, satellites: int) -> None:
        self._satellites = satellites
        self._told = 0.0

    def __call__(self, what: str, whole: Whole) -> None:
        """Say how it goes."""
        is_terminal, moment = sys.stderr.isatty(), time.monotonic()
        if moment - self._told < (0.2 if is_terminal else self.QUIET_S):
            return
        self._told = moment
        gauges, counts = whole.sum("gauges"), whole.sum("counts")
        line = (
            f"{what}: {gauges['connected']} of {self._satellites} connected, {gauges['converged']} converged, "
            f"{counts['deltas'] + counts['snapshots']} deltas, {counts['heartbeats']} heartbeats, "
            f"{sum(whole.sum('errors').values())} failures"
        )
        if is_terminal:
            sys.stderr.write(f"\r\x1b[K{line}")
            sys.stderr.flush()
        else:
            say(line)


def _summary(simulation: Simulation, wanted: Wanted, received: list[float]) -> Summary:
    whole, counts = simulation.whole, simulation.whole.sum("counts")
    gauges = whole.sum("gauges")
    elapsed_s = time.monotonic() - simulation.began
    return {
        "satellites": wanted.satellites,
        "elapsed_s": round(elapsed_s, 1),
        "connected": gauges["connected"],
        "converged": gauges["converged"],
        "handshakes": counts["handshakes"],
        "connects_per_s": round(counts["handshakes"] / elapsed_s, 1),
        "handshake_ms": _spread(whole.times.get("handshake", ())),
        "updates": counts["updates"],
        "deltas": counts["deltas"],
        "snapshots": counts["snapshots"],
        "inventories": counts["inventories"],
        "resources": counts["resources"],
        "resources_again": counts["resources_again"],
        "received_ms": _spread(received),
        "back_ms": _spread(whole.times.get("back", ())),
        "reports": counts["reports"],
        "heartbeats": counts["heartbeats"],
        "bytes_received": counts["bytes_received"],
        "bytes_sent": counts["bytes_sent"],
        "failures": dict(whole.sum("errors")),
        "processes": whole.processes,
    }


def _spread(times: Any) -> dict[str, float | int]:  # noqa: ANN401 - any sequence of seconds
    if not times:
        return {"count": 0}
    found = {"p50": percentile(times, 0.5), "p99": percentile(times, 0.99), "max": max(times)}
    return {"count": len(times), **{name: round((value or 0.0) * 1000, 1) for name, value in found.items()}}


async def _delays_told(options: Options, whole: Whole, begin: state_pb2.Position) -> list[float]:
    """Read them by an identity of now: the one of the beginning may have expired. The summary has the rest anyhow."""
    try:
        async with connect(options) as client:
            return await delays(client, whole, begin)
    except FleetError as error:
        say(f"received_ms is not known, because the log cannot be read: {error.public}")
        return []


async def delays(client: FleetClient, whole: Whole, begin: state_pb2.Position) -> list[float]:
    """Find how long after each change it was received: by the times of the log, where the clocks agree.

    Of a change that the log no longer has nothing is known.
    """
    at: dict[str, float] = {}
    request = pb.ListChangesRequest(after=begin, page_size=1000)
    while whole.received:
        try:
            page = await client.call(client.fleet.ListChanges, request)
        except FleetError as error:
            if error.reason != "POSITION_COMPACTED":
                raise
            request.ClearField("after")  # from the oldest that is kept
            continue
        for change in page.changes:
            position = change.position
            at[f"{position.epoch}.{position.revision}"] = change.at.ToMicroseconds() / 1e6
            request.after.CopyFrom(position)
        if not page.more:
            break
    return [
        moment - at[position] for position, moments in whole.received.items() if position in at for moment in moments
    ]


async def clean(client: FleetClient, options: Options) -> int:
    """Remove every simulated satellite, and the secret that their device keys come from: `→ how many`."""
    every = await client.pages(client.fleet.ListSatellites, pb.ListSatellitesRequest(), lambda page: page.satellites)
    names = [one.name for one in every if one.name.startswith(PREFIX) and one.region == REGION]
    for at in range(0, len(names), BATCH):
        changes = [pb.Change(delete=pb.Deletion(satellite=name)) for name in names[at : at + BATCH]]
        await client.call(
            client.fleet.ApplyChanges, pb.ApplyChangesRequest(changes=changes, reason="simulation removed")
        )
    (ProfileStore(options.home, options.profile).directory / SECRET_FILE).unlink(missing_ok=True)
    return len(names)


def show(summary: Summary, *, as_json: bool) -> None:
    """Print a summary."""
    if as_json:
        print_json(summary)
        return
    if sys.stderr.isatty():
        sys.stderr.write("\n")
    for name, value in summary.items():
        if name != "processes":
            print(f"{name:16} {_words(value)}")  # noqa: T201 - the command's data


def _words(value: Any) -> str:  # noqa: ANN401 - of a summary
    return ", ".join(f"{key} {part}" for key, part in value.items()) if isinstance(value, dict) else str(value)
