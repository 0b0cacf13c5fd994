"""What time it is at a site whose clock may be wrong: `max(system, floor, build time)`, and how far to trust it.

The floor is the latest time that an authenticated Ground Control has told. It only rises, survives restarts, and goes
on by the monotonic clock: from when it was told, or else from when the process started.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum, unique

BUILT_AT = datetime(2026, 1, 1, tzinfo=UTC)
"""No satellite of this version runs before this moment, whatever its clock says."""
_SKEW = timedelta(minutes=5)
"""By how much the clocks of Ground Control's machines may differ."""


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
    """The latest authenticated time, and the monotonic second from which it goes on."""

    time: datetime | None = None
    since_s: float = 0.0
    is_told: bool = False
    """It was told to this process, and not to an earlier one."""

    def at(self, monotonic_s: float) -> datetime:
        """Say how late it is at least."""
        return max(self.time or BUILT_AT, BUILT_AT) + timedelta(seconds=max(0.0, monotonic_s - self.since_s))

    def told(self, server_time: datetime, *, monotonic_s: float) -> Floor:
        """Take over an authenticated time where it is later than what is known; one far behind vouches for nothing."""
        least = self.at(monotonic_s)
        if server_time > least:
            return Floor(server_time, monotonic_s, is_told=True)
        return replace(self, is_told=self.is_told or least - server_time < _SKEW)


def read_clock(system: datetime, floor: Floor, *, monotonic_s: float, is_synced: bool) -> Reading:
    """Combine what there is into one time that never goes below what is certain, and never stands still."""
    now = max(system, floor.at(monotonic_s))
    if now == system and is_synced:
        return Reading(now, ClockState.SYNCED, floor.is_told)
    return Reading(now, ClockState.UNKNOWN if floor.time is None else ClockState.FLOOR, floor.is_told)
