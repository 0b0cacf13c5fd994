"""What one process of the simulation has seen: counters, and times by which percentiles are made."""

from __future__ import annotations

import os
import resource
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

MAX_TIMES = 200_000
"""Times kept of one kind; past them, percentiles are of the first so many."""


def percentile(times: Sequence[float], share: float) -> float | None:
    """Find the time that `share` of all do not exceed; None where there are none."""
    if not times:
        return None
    ordered = sorted(times)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


@dataclass(slots=True)
class Tally:
    """Counts and times, to be told in pieces and put together again."""

    counts: Counter[str] = field(default_factory=Counter)
    gauges: Counter[str] = field(default_factory=Counter)
    """What is so now: connected, converged."""
    errors: Counter[str] = field(default_factory=Counter)
    """Failures by reason, goodbyes included."""
    times: dict[str, list[float]] = field(default_factory=dict)
    """Seconds by kind: handshake, back."""
    received: dict[str, list[float]] = field(default_factory=dict)
    """When updates were complete, Unix seconds, by `epoch.revision`."""

    def time(self, kind: str, seconds: float) -> None:
        """Keep one time."""
        self.times.setdefault(kind, []).append(seconds)

    def piece(self) -> dict[str, Any]:
        """Tell counts and gauges as they stand, and the times since the last piece."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        piece = {
            "pid": os.getpid(),
            "counts": dict(self.counts),
            "gauges": dict(self.gauges),
            "errors": dict(self.errors),
            "times": self.times,
            "received": self.received,
            "cpu_s": used.ru_utime + used.ru_stime,
            "peak_rss_bytes": used.ru_maxrss * 1024,
        }
        self.times, self.received = {}, {}
        return piece


class Whole:
    """The tallies of all processes, put together from their pieces."""

    def __init__(self) -> None:
        self._newest: dict[int, dict[str, Any]] = {}
        self.times: dict[str, list[float]] = {}
        self.received: dict[str, list[float]] = {}

    def add(self, piece: dict[str, Any]) -> None:
        """Take a process's newest piece."""
        self._newest[piece["pid"]] = piece
        _extend(self.times, piece["times"].items())
        _extend(self.received, piece["received"].items())

    def sum(self, part: str) -> Counter[str]:
        """Add up `counts`, `gauges` or `errors`."""
        total: Counter[str] = Counter()
        for piece in self._newest.values():
            total.update(piece[part])
        return total

    @property
    def processes(self) -> list[dict[str, Any]]:
        """What each process costs."""
        pieces = sorted(self._newest.values(), key=lambda piece: piece["pid"])
        return [{key: piece[key] for key in ("pid", "cpu_s", "peak_rss_bytes")} for piece in pieces]


def _extend(all_times: dict[str, list[float]], more: Iterable[tuple[str, list[float]]]) -> None:
    for kind, times in more:
        kept = all_times.setdefault(kind, [])
        kept.extend(times[: MAX_TIMES - len(kept)])


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Find what went wrong first, where several things at once did."""
    found: BaseException = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
