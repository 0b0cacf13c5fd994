"""`python -m tests.bench.scale`: what one Ground Control carries, over PostgreSQL; written to build/bench-scale.json.

`SATELLITES=N` (2,000), `WORKERS=N` (2), `REGISTERED=N` (100,000), `RAMP=N` connections a second (200), and
`ONLY=fleet` or `ONLY=registered`. Ground Control, database and load share the machine: on two cores times are those
of a machine that does three machines' work, and CPU per message is the figure that counts.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from controlplane.satctl.simulate.run import Simulation
from tests.bench import machine, report
from tests.bench.figures import Figure
from tests.bench.scale import polling, registered, rows, transport
from tests.bench.scale.estate import Estate, running_estate
from tests.bench.scale.served import Scale, beside

JSON_FILE = report.ROOT / "build" / "bench-scale.json"


async def fleet(scale: Scale, talk: Console) -> list[Figure]:
    """Measure a connected fleet."""
    with tempfile.TemporaryDirectory(prefix="scale-") as directory:
        async with running_estate(Path(directory), "postgres", scale.workers, talk) as estate:
            await rows.prepare(estate)
            simulated = estate.simulation(scale)
            async with simulated.running():
                ours = await _rows(estate, simulated, scale)
            talk.print(transport.PEER)
            theirs = _told(estate, await transport.measure(estate, Path(directory), scale))
        talk.print(polling.PEER)
        polled = _told(estate, await polling.measure(Path(directory), talk))
        return beside(beside(ours, theirs, transport.PEER), polled, polling.PEER)


async def _rows(estate: Estate, simulated: Simulation, scale: Scale) -> list[Figure]:
    before = estate.cost()
    await simulated.begin()
    figures = _told(estate, await rows.connecting(estate, simulated, scale, before))
    figures += _told(estate, await rows.beating(estate, simulated, scale))
    idle = await rows.silent(estate, simulated, scale)
    figures += _told(estate, await rows.to_all(estate, simulated, idle, scale))
    figures += _told(estate, await rows.to_few(estate, simulated, idle))
    figures += _told(estate, await rows.cutting(estate, simulated, scale))
    return figures + _told(estate, rows.clients(simulated, scale))


def _told(estate: Estate, figures: list[Figure]) -> list[Figure]:
    """Say each as it is known: a run takes minutes, and may end early."""
    for figure in figures:
        estate.talk.print(f"  {figure.name}: {figure.ours.value:.4g} {figure.unit}")
    return figures


async def registry(talk: Console) -> list[Figure]:
    """Measure a fleet that is registered and away."""
    count, found = _number("REGISTERED", 100_000), list[Figure]()
    for kind in ("postgres", "sqlite"):
        with tempfile.TemporaryDirectory(prefix="scale-") as directory:
            found += await registered.measure(Path(directory), kind, count, talk)
    return found


def _number(name: str, otherwise: int) -> int:
    return int(os.environ.get(name) or otherwise)


def main() -> int:
    """Measure what is asked for; return the exit code."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    talk, only = Console(stderr=True, highlight=False), os.environ.get("ONLY", "")
    scale = Scale(_number("SATELLITES", 2_000), _number("WORKERS", 2), float(_number("RAMP", 200)))
    figures: list[Figure] = []
    if only in ("", "fleet"):
        figures += asyncio.run(fleet(scale, talk))
    if only in ("", "registered"):
        figures += asyncio.run(registry(talk))
    report.write_json(figures, JSON_FILE)
    out = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    out.print(report.table(figures))
    out.print(f"{scale.satellites} satellites, {scale.workers} workers; load average {machine.load():.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
