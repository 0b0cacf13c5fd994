"""The fleet as numbers: who is connected, who has what it should have, and for how long others have not.

The database says how things stand; since when a satellite is behind is seen by looking again and again.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from controlplane.app.catalog import (
    FLEET_ARTIFACTS,
    FLEET_BEHIND,
    FLEET_BEHIND_OLDEST,
    FLEET_BEHIND_WORST,
    FLEET_EPOCH,
    FLEET_EXCEPTIONS,
    FLEET_REVISION,
    FLEET_SATELLITES,
)
from controlplane.app.meter import Sample
from controlplane.domain.entities import Lifecycle
from fleet.position import Position

WORST = 10
"""Satellites that are told by name: those that have been behind for longest."""
_APPROVED = (Lifecycle.ONLINE, Lifecycle.STALE)

Mark = tuple[Lifecycle, bytes]


@dataclass(frozen=True, slots=True)
class Stand:
    """How one satellite stands.

    Attributes:
        desired: digest of what it should hold.
        enforced: digest of what it says that it serves by; empty before its first report.
        moved_at: when what it should hold, its session or its report changed last.
    """

    satellite: str
    lifecycle: Lifecycle
    desired: bytes
    enforced: bytes
    moved_at: datetime
    published: int = 0
    waiting: int = 0
    refused: int = 0
    failed: int = 0

    @property
    def is_behind(self) -> bool:
        """Say whether it should have something else than it has."""
        return self.lifecycle in _APPROVED and self.enforced != self.desired


@dataclass(frozen=True, slots=True)
class Census:
    """All satellites in one snapshot."""

    at: datetime
    position: Position
    stands: tuple[Stand, ...]


class Observer:
    """Watches the fleet from one census to the next."""

    def __init__(self) -> None:
        self._behind: dict[str, tuple[Mark, datetime]] = {}

    def observe(self, census: Census) -> list[Sample]:
        """Take in a census: `→ the fleet's numbers`."""
        since = {stand.satellite: self._since(stand, census.at) for stand in census.stands if stand.is_behind}
        self._behind = {stand.satellite: (_mark(stand), since[stand.satellite]) for stand in _behind(census)}
        return [
            *_counted(census),
            *_oldest(census, since),
            Sample(FLEET_REVISION.name, (), census.position.revision),
            Sample(FLEET_EPOCH.name, (), census.position.epoch),
        ]

    def _since(self, stand: Stand, at: datetime) -> datetime:
        """Say since when a satellite has not moved although it is behind, as far as that was seen."""
        mark, since = self._behind.get(stand.satellite, (None, at))
        return since if mark == _mark(stand) else min(stand.moved_at, at)


def _mark(stand: Stand) -> Mark:
    """What stays while a satellite does not move: one that has come back, or gone a step, begins anew."""
    return stand.lifecycle, stand.enforced


def _behind(census: Census) -> Iterator[Stand]:
    return (stand for stand in census.stands if stand.is_behind)


def _counted(census: Census) -> Iterator[Sample]:
    lifecycles = Counter(stand.lifecycle for stand in census.stands)
    behind = Counter(stand.lifecycle for stand in _behind(census))
    yield from (Sample(FLEET_SATELLITES.name, (each.value,), lifecycles[each]) for each in Lifecycle)
    yield from (Sample(FLEET_BEHIND.name, (each.value,), behind[each]) for each in _APPROVED)
    approved = [stand for stand in census.stands if stand.lifecycle in _APPROVED]
    yield Sample(FLEET_EXCEPTIONS.name, (), sum(bool(stand.refused + stand.failed) for stand in approved))
    for state in ("published", "waiting", "refused", "failed"):
        yield Sample(FLEET_ARTIFACTS.name, (state,), sum(getattr(stand, state) for stand in approved))


def _oldest(census: Census, since: dict[str, datetime]) -> Iterator[Sample]:
    for lifecycle in _APPROVED:
        ages = _ages(census, since, lifecycle)
        yield Sample(FLEET_BEHIND_OLDEST.name, (lifecycle.value,), max((age for age, _ in ages), default=0.0))
    worst = heapq.nlargest(WORST, _ages(census, since, Lifecycle.ONLINE))
    yield from (Sample(FLEET_BEHIND_WORST.name, (name,), age) for age, name in worst)


def _ages(census: Census, since: dict[str, datetime], lifecycle: Lifecycle) -> list[tuple[float, str]]:
    return [
        ((census.at - since[stand.satellite]).total_seconds(), stand.satellite)
        for stand in _behind(census)
        if stand.lifecycle is lifecycle
    ]
