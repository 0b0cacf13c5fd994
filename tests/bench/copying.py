"""Copies from a source to a site's registry, ours beside each peer's.

The source is one Distribution. Every run has a site's registry of its own, empty, run and locked as a satellite runs
it. The contenders take turns, and who begins changes from round to round, so that what else the machine does hits
all of them alike.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track

from tests.bench.cases import CASES, Case
from tests.bench.costs import Cost, FailedError
from tests.bench.ends import Name, Site, Source, absent, empty_site, kinds, running_source
from tests.bench.figures import Figure, median_of
from tests.bench.ours import running_copier
from tests.bench.peers import Peer, at_hand
from tests.bench.zot_sync import ask_for, following_zot

OURS = "ours"
_QUICK_ROUNDS = 3
EXPECTED_RATIO: Mapping[tuple[str, str], float] = {
    ("wall", "crane copy"): 1.0,
    ("cpu", "crane copy"): 1.0,
    ("cpu", "skopeo copy"): 0.6,
    ("cpu", "skopeo sync"): 0.6,
    ("wall", "skopeo sync"): 0.6,
}
"""The most that is expected of ours, by what and beside whom."""
EXPECTED_OVER_IDLE_MB = 25.0


@dataclass(frozen=True, slots=True)
class Run:
    """What one contender needed once."""

    cost: Cost
    moved_bytes: int
    requests: int


Contender = Callable[[Source, Case, str], Run]
"""Does a case once, on a fresh registry of a kind."""


def counted(source: Source, site: Site, names: Sequence[Name], work: Callable[[], Cost]) -> Run:
    """Do the work and count what it asks of the source.

    Raises:
        FailedError: the images are not there afterwards.
    """
    sent, requests = source.sent_bytes(), source.requests()
    cost = work()
    run = Run(cost, source.sent_bytes() - sent, source.requests() - requests)
    if missing := absent(source, site, names):
        raise FailedError(f"not there as they are at the source: {', '.join(map(str, missing))}")
    return run


def _we(source: Source, case: Case, kind: str) -> Run:
    with empty_site(kind) as site, running_copier(source, site) as copier:
        copier.bring(case.before)
        return counted(source, site, case.names, lambda: copier.bring(case.names))


def _they(peer: Peer) -> Contender:
    def copy(source: Source, case: Case, kind: str) -> Run:
        with empty_site(kind) as site:
            peer(source, site, case.before)
            return counted(source, site, case.names, lambda: peer(source, site, case.names))

    return copy


def _zot(source: Source, case: Case, _kind: str) -> Run:
    with following_zot(source) as site:
        ask_for(source, site, case.before)
        return counted(source, site, case.names, lambda: ask_for(source, site, case.names))


def contenders(case: Case, kind: str) -> dict[str, Contender]:
    """List who copies: we, and each peer that is at hand."""
    theirs = {name: _they(peer) for name, peer in at_hand(case.peers).items()}
    return {OURS: _we} | theirs | ({"zot sync": _zot} if kind == "zot" else {})


def measure(name: str, quick: bool, console: Console) -> list[Figure]:
    """Measure one case on every kind of registry at hand."""
    case, found = CASES[name], list[Figure]()
    rounds = _QUICK_ROUNDS if quick else case.rounds
    with tempfile.TemporaryDirectory(prefix="bench-source-") as scratch:
        console.print(f"{name}: preparing")
        with running_source(Path(scratch), case.images(), tls=case.tls) as source:
            for kind in kinds():
                turns = track(range(rounds), f"{name} on {kind}", console=console)
                found += figures(f"{name}/{kind}", _rounds(source, case, kind, turns))
    return found


def _rounds(source: Source, case: Case, kind: str, turns: Iterable[int]) -> dict[str, list[Run]]:
    """Let everybody copy as often; one run of ours before the first makes Python compile its modules."""
    who = contenders(case, kind)
    runs: dict[str, list[Run]] = {one: [] for one in who}
    order = list(who)
    _we(source, case, kind)
    for _ in turns:
        for one in order:
            runs[one].append(who[one](source, case, kind))
        order = [*order[1:], order[0]]
    return runs


_PARTS: tuple[tuple[str, str, Callable[[Run], float | None]], ...] = (
    ("wall", "s", lambda run: run.cost.wall_s),
    ("cpu", "s", lambda run: run.cost.cpu_s),
    ("moved", "MB", lambda run: run.moved_bytes / 1e6),
    ("requests", "", lambda run: run.requests),
    ("peak-memory", "MB", lambda run: run.cost.peak_mb),
    ("memory-over-idle", "MB", lambda run: run.cost.over_idle_mb),
)


def figures(prefix: str, runs: Mapping[str, Sequence[Run]]) -> list[Figure]:
    """Set ours beside each peer's; alone where there is none."""
    found = []
    for what, unit, part in _PARTS:
        known = {who: [value for run in several if (value := part(run)) is not None] for who, several in runs.items()}
        medians = {who: median_of(values) for who, values in known.items() if values}
        mine = medians.pop(OURS)
        if not medians:
            most = EXPECTED_OVER_IDLE_MB if what == "memory-over-idle" else None
            found.append(Figure(f"{prefix}/{what}", unit, mine, most=most))
        for peer, theirs in medians.items():
            most_ratio = EXPECTED_RATIO.get((what, peer))
            found.append(Figure(f"{prefix}/{what}", unit, mine, peer, theirs, most_ratio=most_ratio))
    return found
