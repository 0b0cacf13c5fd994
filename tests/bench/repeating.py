"""A thousand images that are there already: what it costs to find that nothing is to be done.

The satellite's data plane brings a thousand small signed images, is told the same desired state again, then another
policy each time, and is started anew over the same journal. The source counts what it is asked.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from rich.console import Console

from edge.adapters.journal.journal import Journal
from edge.domain.desired import enforce
from edge.domain.plan import Keep, plan
from tests.bench.copying import Run, counted
from tests.bench.costs import FailedError
from tests.bench.ends import Name, Site, Source, empty_site, kinds, running_source
from tests.bench.figures import Figure, Measured, median_of
from tests.bench.ours import running_copier
from tests.rig.images import AMD64, make_image
from tests.rig.signer import Signer

NAME = "1000-images-again"
EXPECTED_CPU_S = 0.1
EXPECTED_JUDGED_S = 3.0
_IMAGES = 1000
_QUICK_IMAGES = 200
_TIMES = 7


def measure(quick: bool, console: Console) -> list[Figure]:
    """Measure on every kind of registry at hand."""
    names = [Name(f"app-{number:04}") for number in range(_QUICK_IMAGES if quick else _IMAGES)]
    images = {name: make_image(str(name), platforms=(AMD64,), layer_sizes=()) for name in names}
    found: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="bench-source-") as scratch:
        console.print(f"{NAME}: pushing {len(names)} images")
        with running_source(Path(scratch), images) as source:
            for kind in kinds():
                console.print(f"{NAME}: bringing them to {kind}")
                with empty_site(kind) as site:
                    found += _figures(f"{NAME}/{kind}", source, site, names)
    return found


def _figures(prefix: str, source: Source, site: Site, names: list[Name]) -> list[Figure]:
    with running_copier(source, site) as copier:
        first = counted(source, site, names[:1], lambda: copier.bring(names))
        again = [counted(source, site, (), lambda: copier.bring(names)) for _ in range(_TIMES)]
        other = [counted(source, site, (), partial(copier.bring, names, also=_another())) for _ in range(_TIMES)]
    asked = source.requests()
    with running_copier(source, site) as copier:
        anew = copier.started
        asked_anew = source.requests() - asked
    return [
        Figure(f"{prefix}/first-time/wall", "s", median_of([first.cost.wall_s])),
        Figure(f"{prefix}/first-time/cpu", "s", _cpu([first])),
        Figure(f"{prefix}/first-time/memory-over-idle", "MB", median_of([first.cost.over_idle_mb or 0])),
        Figure(f"{prefix}/told-again/cpu", "s", _cpu(again)),
        Figure(f"{prefix}/told-again/requests", "", median_of([run.requests for run in again]), most=0),
        Figure(f"{prefix}/judged-again/wall", "s", _wall(other), most=EXPECTED_JUDGED_S),
        Figure(f"{prefix}/judged-again/cpu", "s", _cpu(other)),
        Figure(f"{prefix}/judged-again/requests", "", median_of([run.requests for run in other]), most=0),
        Figure(f"{prefix}/started-anew/cpu", "s", median_of([anew.cpu_s or 0])),
        Figure(f"{prefix}/started-anew/requests", "", median_of([asked_anew]), most=0),
        Figure(f"{prefix}/planning/cpu", "s", _planning(site), most=EXPECTED_CPU_S),
    ]


def _another() -> list[str]:
    """Name another key that may sign: the policy changes, and no verdict does."""
    return [Signer().pem.decode()]


def _wall(runs: list[Run]) -> Measured:
    return median_of([run.cost.wall_s for run in runs])


def _cpu(runs: list[Run]) -> Measured:
    return median_of([run.cost.cpu_s or 0 for run in runs])


def _planning(site: Site) -> Measured:
    """Measure what the loop does each time it wakes: read the journal's word on the site, and plan."""
    journal = Journal.open(site.directory / "journal.db")
    try:
        enforced, _ = enforce(journal.state.holding(), journal.state.good())

        def once() -> None:
            actions = plan(
                enforced.wanted,
                journal.editions.site(),
                enforced.versions,
                are_held=enforced.are_held,
                at=datetime.now(UTC),
            )
            if not all(isinstance(action, Keep) for action in actions):
                raise FailedError("there is something to be done")

        return median_of([_cpu_of(once) for _ in range(_TIMES)])
    finally:
        journal.close()


def _cpu_of(work: Callable[[], None]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun
