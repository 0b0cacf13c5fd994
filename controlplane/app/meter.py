"""What a process counts of its own work, in plain numbers: cheap to count, written out only when somebody asks.

There is no lock: an event loop counts by itself. Whoever counts from threads holds a lock of its own.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, unique

Labels = tuple[str, ...]
"""Values of a family's labels, in their order."""

PREFIX = "ground_control_"


@unique
class Kind(Enum):
    """What a family's numbers do (Prometheus, "Metric types")."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True, eq=False)  # a family is itself: looked up by identity
class Family:
    """One metric, as its name, its meaning and its labels."""

    name: str
    """With its unit, without `ground_control_` and without `_total`."""
    kind: Kind
    help: str
    labels: Labels = ()
    known: tuple[Labels, ...] = ()
    """Label values that are there from the start, at 0, so that the first event shows as a rise."""
    bounds: tuple[float, ...] = ()
    """A histogram's upper bounds, ascending; one without an end follows."""

    @property
    def exported(self) -> str:
        """The name that is queried; a histogram's has `_bucket`, `_sum` or `_count` behind it."""
        return f"{PREFIX}{self.name}" + ("_total" if self.kind is Kind.COUNTER else "")


class Histogram:
    """How often a value fell between two bounds."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value; a bound belongs to the bucket below it."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.sum += value


@dataclass(frozen=True, slots=True)
class Sample:
    """A family's number under some labels, at one moment.

    Attributes:
        name: the family's.
        labels: their values.
        value: the number; of a histogram, the sum of what was observed.
        buckets: how many values fell into each of a histogram's buckets, not summed up.
    """

    name: str
    labels: Labels
    value: float
    buckets: tuple[int, ...] = ()


class Meter:
    """The numbers of one process."""

    def __init__(self) -> None:
        self._counts: dict[Family, defaultdict[Labels, float]] = {}
        self._histograms: dict[Family, dict[Labels, Histogram]] = {}
        self._gauges: dict[Family, Callable[[], float]] = {}

    def counts(self, family: Family) -> defaultdict[Labels, float]:
        """A counter's numbers by label values, to add to: `meter.counts(F)["a",] += 1`."""
        if family not in self._counts:
            self._counts[family] = defaultdict(
                int, dict.fromkeys(family.known or ([()] if not family.labels else []), 0)
            )
        return self._counts[family]

    def histogram(self, family: Family, *labels: str) -> Histogram:
        """A histogram to observe values with; the same one for the same labels."""
        held = self._histograms.setdefault(family, {})
        if labels not in held:
            held[labels] = Histogram(family.bounds)
        return held[labels]

    def watch(self, family: Family, read: Callable[[], float]) -> None:
        """Read a gauge whenever somebody asks."""
        self._gauges[family] = read

    def samples(self) -> list[Sample]:
        """Everything as it is now."""
        counted = [Sample(f.name, labels, n) for f, counts in self._counts.items() for labels, n in counts.items()]
        observed = [
            Sample(f.name, labels, each.sum, tuple(each.counts))
            for f, held in self._histograms.items()
            for labels, each in held.items()
        ]
        return [*counted, *observed, *(Sample(f.name, (), read()) for f, read in self._gauges.items())]
