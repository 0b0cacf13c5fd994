"""The site's clock where its floor cannot be journaled."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from edge.adapters.clock import SiteClock
from fleet.errors import FleetError, Kind

LATER = datetime.now(UTC) + timedelta(days=400)


class Disk:
    """Remembers floors while it has room."""

    def __init__(self) -> None:
        self.is_full = True
        self.floors: list[datetime] = []

    def remember(self, floor: datetime) -> None:
        if self.is_full:
            raise FleetError(Kind.UNAVAILABLE, "JOURNAL_FULL", "the journal cannot be written")
        self.floors.append(floor)


def test_a_floor_that_a_full_disk_refuses_counts_all_the_same_and_is_written_later() -> None:
    disk = Disk()
    clock = SiteClock(None, remember=disk.remember)
    clock.told(LATER)
    assert clock.now() >= LATER
    assert not disk.floors
    disk.is_full = False
    clock.told(LATER + timedelta(seconds=1))
    assert len(disk.floors) == 1
