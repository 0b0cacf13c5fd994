"""`python -m tests.bench.scale.soak`: a day of a fleet in minutes; written to build/soak.json, fails on what grows.

`SATELLITES=N` (300), `MINUTES=N` (16), `WORKERS=N` (2). 300 satellites that say so each second for 16 minutes send the
heartbeats of 100 in 24 hours. Certificates live for a minute, and a minute of the past is kept.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from controlplane.satctl.client import connect
from controlplane.satctl.simulate.plan import Plan
from tests.bench import report
from tests.rig.daily_life import GROUP, DailyLife, Sample, prepared, sample
from tests.rig.ground_control import GroundControl
from tests.rig.postgres import running_postgres
from tests.rig.simulation import simulated, until

JSON_FILE = report.ROOT / "build" / "soak.json"
EVERY_S, PAUSE_S = 10.0, 0.3
HISTORY_S = 60
WARM = 1 / 3
"""Of a run, in which caches fill, and what lives for good is allocated."""
DAY_HEARTBEATS = 24 * 120
KEPT_A_DAY = {"request"}
"""Tables whose rows are kept for a day of the clock, whatever the pace: an answer for each request of a day."""
RATIO, FILES, ROWS = 1.15, 16, 60
"""How much more of something the last third may have than the second: bytes, files, rows."""
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Grown:
    """Something that is looked at: its median in the second and in the last third of a run, and what it may be."""

    name: str
    middle: float
    late: float
    most: float

    @property
    def bounded(self) -> bool:
        """It has not grown further."""
        return self.late <= self.most


def judge(samples: Sequence[Sample]) -> list[Grown]:
    """Compare the two thirds after the warm-up."""
    warm = round(len(samples) * WARM)
    middle, late = samples[warm : 2 * warm], samples[2 * warm :]
    return [*_judged(middle, late)]


def _judged(middle: Sequence[Sample], late: Sequence[Sample]) -> Iterator[Grown]:
    def grown(name: str, before: Sequence[int], after: Sequence[int], *, more: int, ratio: float = RATIO) -> Grown:
        held = median(before)
        return Grown(name, held, median(after), held * ratio + more)

    for name in late[-1].rss_bytes:
        yield grown(
            f"rss/{name}", [one.rss_bytes[name] for one in middle], [one.rss_bytes[name] for one in late], more=4 * MIB
        )
        yield grown(
            f"files/{name}", [one.files[name] for one in middle], [one.files[name] for one in late], more=FILES, ratio=1
        )
    for name in late[-1].rows.keys() - KEPT_A_DAY:
        yield grown(f"rows/{name}", [one.rows[name] for one in middle], [one.rows[name] for one in late], more=ROWS)


async def soak(satellites: int, minutes: float, workers: int, talk: Console) -> tuple[list[Sample], dict[str, int]]:
    """Let a fleet live at the pace of minutes."""
    with tempfile.TemporaryDirectory(prefix="soak-") as directory, running_postgres(durable=True) as server:
        options = {"database_url": server.make_database(), "workers": str(workers), "log_level": "warning"}
        options |= {"history": str(HISTORY_S), "svid_ttl": "60s", "health_interval": "1s"}
        with GroundControl(Path(directory), options) as control:
            return await _live(control, satellites, minutes, talk)


async def _live(
    control: GroundControl, satellites: int, minutes: float, talk: Console
) -> tuple[list[Sample], dict[str, int]]:
    operator = await asyncio.to_thread(prepared, control)
    life, samples = DailyLife(operator, satellites, random.Random(int(time.time()))), list[Sample]()
    await life.begin()
    async with connect(operator) as client:
        plan = Plan(disconnects_per_minute=satellites, ramp_per_s=50.0)
        fleet = simulated(client, operator, satellites, groups=(GROUP,), plan=plan)
        async with fleet.running(), asyncio.TaskGroup() as tasks:
            await fleet.begin()
            await until(
                lambda: fleet.whole.sum("gauges")["converged"] == satellites, "not all have converged", within_s=600.0
            )
            changing = tasks.create_task(life.go_on(PAUSE_S))
            ends = time.monotonic() + minutes * 60
            while time.monotonic() < ends:
                await asyncio.sleep(EVERY_S)
                samples.append(await asyncio.to_thread(sample, control))
                rss = sum(samples[-1].rss_bytes.values()) / MIB
                talk.print(f"  {rss:.0f} MiB, {samples[-1].rows['change']} changes kept of {life.changes}")
            changing.cancel()
            counts = dict(fleet.whole.sum("counts")) | {"changes": life.changes}
            return samples, counts | {f"failed {name}": count for name, count in fleet.whole.sum("errors").items()}


def _number(name: str, otherwise: float) -> float:
    return float(os.environ.get(name) or otherwise)


def main() -> int:
    """Live through a day; 1 where something has grown."""
    talk = Console(stderr=True, highlight=False)
    satellites = int(_number("SATELLITES", 300))
    samples, counts = asyncio.run(soak(satellites, _number("MINUTES", 16), int(_number("WORKERS", 2)), talk))
    found = judge(samples)
    JSON_FILE.parent.mkdir(exist_ok=True)
    told = {"counts": counts, "grown": [asdict(one) for one in found], "samples": [asdict(one) for one in samples]}
    JSON_FILE.write_text(json.dumps(told, indent=1) + "\n")
    _show(found, counts, samples)
    return 0 if all(one.bounded for one in found) else 1


def _show(found: Sequence[Grown], counts: dict[str, int], samples: Sequence[Sample]) -> None:
    out = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    table = Table("", "second third", "last third", "at most", "")
    for one in sorted(found, key=lambda one: (one.bounded, one.name)):
        unit = MIB if one.name.startswith("rss") else 1
        numbers = (f"{number / unit:.5g}" for number in (one.middle, one.late, one.most))
        table.add_row(one.name, *numbers, "" if one.bounded else "grows")
    out.print(table)
    out.print(", ".join(f"{count} {name}" for name, count in sorted(counts.items())))
    days = counts.get("heartbeats", 0) / DAY_HEARTBEATS
    size = [one.database_bytes / MIB for one in samples]
    out.print(f"heartbeats of {days:.0f} satellites in 24 h; database {size[0]:.1f} to {size[-1]:.1f} MiB")


if __name__ == "__main__":
    sys.exit(main())
