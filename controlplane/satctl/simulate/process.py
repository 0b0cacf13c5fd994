"""One process of a simulation: python -m controlplane.satctl.simulate.process, spoken to by lines of JSON.

stdin    {"begin": {...}}  {"tokens": {name: [id, secret]}}  {"go": true}  {"cut_s": 10}
             {"heartbeat_s": 0}  {"stop": true}; its end stops
stdout   {"unknown": [name, ...]}  {"ready": n}  {"piece": {...}} each second  {"failed": [reason, text]}
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import uvloop

from controlplane.satctl.simulate.connection import Dialer
from controlplane.satctl.simulate.identities import Identities, enrolling
from controlplane.satctl.simulate.plan import Plan
from controlplane.satctl.simulate.satellite import Satellite
from controlplane.satctl.simulate.site import World
from controlplane.satctl.simulate.tally import first_error
from fleet.errors import FleetError, Kind
from fleet.joinstring import JoinString, parse_join_string
from fleet.log import configure_logging

PIECE_S = 1.0
_LINE = 1 << 26


@dataclass(frozen=True, slots=True)
class Begin:
    """What a process is told first."""

    place: str
    """A join string without a token: where Ground Control is."""
    secret: str
    """What device keys come from, hexadecimal."""
    names: list[str]
    plan: Plan
    addresses: list[str]
    """Where its fleet's listeners are."""

    def as_line(self) -> dict[str, Any]:
        """Write it."""
        return {"begin": asdict(self)}


def read_begin(line: dict[str, Any]) -> Begin:
    """Read it."""
    told = line["begin"]
    return Begin(told["place"], told["secret"], told["names"], Plan(**told["plan"]), told["addresses"])


def _say(**line: Any) -> None:  # noqa: ANN401 - JSON
    sys.stdout.write(json.dumps(line, separators=(",", ":")) + "\n")
    sys.stdout.flush()


async def _lines() -> AsyncIterator[dict[str, Any]]:
    reader = asyncio.StreamReader(limit=_LINE)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield json.loads(line)


async def _work() -> None:
    lines = _lines()
    begin = read_begin(await anext(lines))
    place = parse_join_string(begin.place)
    async with enrolling(place, bytes.fromhex(begin.secret)) as enroller:
        identities = Identities(enroller)
        _say(unknown=await identities.find(begin.names))
        await identities.join((await anext(lines))["tokens"])
        _say(ready=len(begin.names))
        await _live(begin, place, identities, lines)


async def _live(begin: Begin, place: JoinString, identities: Identities, lines: AsyncIterator[dict[str, Any]]) -> None:
    world = World(
        Dialer(begin.addresses, ground_control=place.ground_control, roots=place.roots),
        begin.plan,
        lambda name: identities.current(name, time.time()),
    )
    world.link.set()
    satellites = _make(begin, world)
    async with asyncio.TaskGroup() as tasks:
        async for line in lines:
            if "go" in line:
                for at, satellite in enumerate(satellites):
                    tasks.create_task(satellite.run(at / begin.plan.ramp_per_s))
                tasks.create_task(_tell(world))
                tasks.create_task(_disturb(world, satellites))
            elif "cut_s" in line:
                tasks.create_task(_cut(world, satellites, line["cut_s"]))
            elif "heartbeat_s" in line:
                world.plan = replace(world.plan, heartbeat_s=line["heartbeat_s"])
            elif "stop" in line:
                break
        _say(piece=_piece(world))
        os._exit(0)  # ten thousand connections need not be ended one by one: their end is what a stop is


def _make(begin: Begin, world: World) -> list[Satellite]:
    """Make the satellites; which have a fault is by their place, so that a run can be repeated."""
    plan, made = begin.plan, []
    draw = random.Random(begin.names[0] if begin.names else "")  # noqa: S311 - not a secret
    for name in begin.names:
        place, trouble = draw.random(), ""
        for word, share in (("failing", plan.failing), ("refusing", plan.refusing), ("waiting", plan.waiting)):
            if 0 <= place < share:
                trouble = word
            place -= share
        made.append(Satellite(name, world, trouble=trouble, is_slow=0 <= place < plan.slow))
    return made


async def _tell(world: World) -> None:
    while True:
        await asyncio.sleep(PIECE_S)
        _say(piece=_piece(world))


def _piece(world: World) -> dict[str, Any]:
    counts, dialer = world.tally.counts, world.dialer
    counts["bytes_received"], counts["bytes_sent"] = dialer.received_bytes, dialer.sent_bytes
    counts["resources"], counts["resources_again"] = world.library.resources, world.library.again
    return world.tally.piece()


async def _disturb(world: World, satellites: list[Satellite]) -> None:
    """Cut connections here and there."""
    rate = world.plan.disconnects_per_minute
    while rate > 0:
        await asyncio.sleep(60.0 / rate)
        random.choice(satellites).cut()  # noqa: S311 - not a secret


async def _cut(world: World, satellites: list[Satellite], seconds: float) -> None:
    """Cut all connections at once, and let none be made for a while."""
    world.link.clear()
    for satellite in satellites:
        satellite.cut()
    await asyncio.sleep(seconds)
    world.linked_at = asyncio.get_running_loop().time()
    world.link.set()


def main() -> int:
    """Run one process: the answer is the exit code."""
    configure_logging(program="satctl", level="error")  # standard output is what the parent reads
    gc.set_threshold(100_000, 50, 1_000)  # as the server's: ten thousand satellites are a large heap
    try:
        uvloop.run(_work())
    except FleetError as error:
        _say(failed=[error.kind.value, error.reason, error.public])
        return 1
    except BaseExceptionGroup as group:
        _say(failed=[Kind.INTERNAL.value, "INTERNAL", repr(first_error(group))])
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main())
