"""What is measured, as values: medians with their spread, a peer beside them, and what was expected."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Measured:
    """One number out of several runs, and the least and the most of them."""

    value: float
    low: float
    high: float


def median_of(values: Sequence[float]) -> Measured:
    """Take the median."""
    return Measured(statistics.median(values), min(values), max(values))


def p99_of(values: Sequence[float]) -> Measured:
    """Take the 99th percentile by nearest rank: the greatest of fewer than 100 values."""
    rank = math.ceil(0.99 * len(values))
    return Measured(sorted(values)[rank - 1], min(values), max(values))


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table.

    Attributes:
        name: `group/what`, the part before the first slash is what `ONLY` picks.
        unit: of `ours` and of the peer's.
        ours: what we need.
        peer: the program that did the same in the same run, or empty.
        theirs: what the peer needs.
        most: the most that is expected of `ours`, in the unit.
        most_ratio: the most that is expected of `ours` against the peer's.
        in_vain: what became of it, for a peer that did not get there: its number is then what it spent, and no bound.
    """

    name: str
    unit: str
    ours: Measured
    peer: str = ""
    theirs: Measured | None = None
    most: float | None = None
    most_ratio: float | None = None
    in_vain: str = ""

    @property
    def ratio(self) -> float | None:
        """Ours against the peer's; under 1 is less."""
        if not self.theirs or not self.theirs.value or self.in_vain:
            return None
        return self.ours.value / self.theirs.value

    @property
    def expected(self) -> str | None:
        """What is expected, in words; None where nothing is."""
        if self.most is not None:
            return f"≤ {self.most:g} {self.unit}"
        if self.most_ratio is not None:
            return f"≤ {self.most_ratio:g} × {self.peer}"  # noqa: RUF001 the sign for times
        return None

    @property
    def met(self) -> bool | None:
        """Say whether it is as expected; None where nothing is."""
        if self.most is not None:
            return self.ours.value <= self.most
        if self.most_ratio is None or self.ratio is None:
            return True if self.most_ratio is not None and self.in_vain else None
        return self.ratio <= self.most_ratio

    def row(self) -> dict[str, Any]:
        """Write it for `build/bench.json`."""
        return {
            "figure": self.name,
            "unit": self.unit,
            "ours": _rounded(self.ours.value),
            "peer": self.peer or None,
            "peer_value": _rounded(self.theirs.value) if self.theirs else None,
            "peer_in_vain": self.in_vain or None,
            "ratio": _rounded(self.ratio),
            "expected": self.expected,
            "met": self.met,
        }


def _rounded(value: float | None) -> float | None:
    """Keep four significant digits: more would be noise."""
    return None if value is None else float(f"{value:.4g}")
