"""What time it is at a site whose clock may be wrong: `max(system, floor, build time)`, and how far to trust it.

The floor is the latest time that an authenticated Ground Control has told. It only rises, survives restarts, and
goes on by the monotonic clock within one process.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum, unique

BUILT_AT = datetime(2026, 1, 1, tzinfo=UTC)
"""No satellite of this version runs before this moment, whatever its clock says."""


@unique
class ClockState(Enum):
    """Who vouches for the time."""

    SYNCED = "synced"
    """The operating system says that it is synchronized, and the floor does not contradict it."""
    FLOOR = "floor"
    """Only the floor: it is at least this late."""
    UNKNOWN = "unknown"
    """Nothing."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The time as the site knows it."""

    now: datetime
    state: ClockState
    is_told: bool = False
    """An authenticated Ground Control told the time since this process started."""

    @property
    def is_known(self) -> bool:
        """Say whether it can be relied on as the present time, and not only as a time that has passed."""
        return self.is_told or self.state is ClockState.SYNCED


@dataclass(frozen=True, slots=True)
class Floor:
    """The latest authenticated time, and the monotonic second at which it was told (None: in an earlier process)."""

    time: datetime | None = None
    told_at_s: float | None = None

    def at(self, monotonic_s: float) -> datetime | None:
        """Say how late it is at least."""
        if self.time is None or self.told_at_s is None:
            return self.time
        return self.time + timedelta(seconds=max(0.0, monotonic_s - self.told_at_s))

    def told(self, server_time: datetime, *, monotonic_s: float) -> Floor:
        """Take over an authenticated time where it is later than what is known."""
        known = self.at(monotonic_s)
        if known is not None and server_time <= known:
            return self
        return replace(self, time=server_time, told_at_s=monotonic_s)


def read_clock(system: datetime, floor: Floor, *, monotonic_s: float, is_synced: bool) -> Reading:
    """Combine what there is into one time that never goes below what is certain."""
    least = floor.at(monotonic_s)
    now = max(time for time in (system, least, BUILT_AT) if time is not None)
    is_told = floor.told_at_s is not None
    if now == system and is_synced:
        return Reading(now, ClockState.SYNCED, is_told)
    return Reading(now, ClockState.UNKNOWN if least is None else ClockState.FLOOR, is_told)
