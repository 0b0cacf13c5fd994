"""The site's clock over the operating system's, with the journal's floor underneath."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import Lock

import structlog

from edge.domain.clock import Floor, Reading, read_clock
from fleet.errors import FleetError

_log = structlog.get_logger(__name__)

_TIMEX_BYTES = 512
"""More than struct timex takes on any Linux."""
_TIME_ERROR = 5
_JOURNAL_STEP = timedelta(minutes=1)
"""A floor that is a minute old is as good as a fresh one, and spares the disk."""


def is_synchronized() -> bool:
    """Ask the kernel whether something keeps its clock (adjtimex(2): any state but TIME_ERROR)."""
    try:
        adjtimex = ctypes.CDLL(None).adjtimex
    except (OSError, AttributeError):
        return False
    return 0 <= int(adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))) < _TIME_ERROR


class SiteClock:
    """Tells the time; any thread may ask."""

    def __init__(self, floor: datetime | None, *, remember: Callable[[datetime], None]) -> None:
        """Start from a journaled floor; `remember` journals a risen one."""
        self._floor = Floor(floor, time.monotonic())
        self._remembered = floor
        self._remember = remember
        self._lock = Lock()

    def read(self) -> Reading:
        """Say what time it is and who vouches for it."""
        return read_clock(datetime.now(UTC), self._floor, monotonic_s=time.monotonic(), is_synced=is_synchronized())

    def now(self) -> datetime:
        """Say what time it is."""
        return self.read().now

    def told(self, server_time: datetime) -> None:
        """Take over a time that an authenticated Ground Control told."""
        with self._lock:
            self._floor = self._floor.told(server_time, monotonic_s=time.monotonic())
            risen = self._floor.time
            if risen is None or (self._remembered and risen < self._remembered + _JOURNAL_STEP):
                return
            before, self._remembered = self._remembered, risen
        try:
            self._remember(risen)
        except FleetError as error:  # a full disk must not end the stream that tells of it
            _log.warning("clock.floor_unwritten", reason=error.reason, detail=error.detail)
            with self._lock:
                self._remembered = before
