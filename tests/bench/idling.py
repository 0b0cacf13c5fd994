"""What a satellite costs that has nothing to do: memory and CPU of its own process, its registry's apart.

It is connected, holds one image that it replicated, and its stream is open.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

import psutil
from rich.console import Console

from tests.bench import assignment
from tests.bench.figures import Figure, median_of
from tests.bench.fleet import running_fleet
from tests.rig.programs import find

NAME = "idle-satellite"
EXPECTED_MB = 70.0
_SAMPLES = 10
_SETTLE_S = 3.0


def measure(seconds: float, console: Console) -> list[Figure]:
    """Measure on every kind of registry at hand."""
    kinds = [kind for kind, program in (("distribution", "registry"), ("zot", "zot")) if find(program)]
    return [figure for kind in kinds for figure in asyncio.run(_figures(kind, seconds, console))]


async def _figures(kind: str, seconds: float, console: Console) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="bench-idle-") as scratch:
        async with running_fleet(Path(scratch), kind) as fleet:
            await assignment.replicate_one(fleet)
            assert fleet.site.process
            process = psutil.Process(fleet.site.process.pid)
            console.print(f"{NAME}: {seconds:g} s on {kind}")
            await asyncio.sleep(_SETTLE_S)
            return await _watch(process, f"{NAME}/{kind}", seconds)


async def _watch(process: psutil.Process, prefix: str, seconds: float) -> list[Figure]:
    resident, cpu, begun = [], _cpu_s(process), time.monotonic()
    for _ in range(_SAMPLES):
        await asyncio.sleep(seconds / _SAMPLES)
        resident.append(process.memory_info().rss / 1e6)
    busy = (_cpu_s(process) - cpu) / (time.monotonic() - begun)
    return [
        Figure(f"{prefix}/rss", "MB", median_of(resident), most=EXPECTED_MB),
        Figure(f"{prefix}/cpu", "% of a core", median_of([100 * busy])),
    ]


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system
