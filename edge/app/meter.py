"""Counts what came over the link, over restarts too: budgets are spent by what crossed the wire."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from edge.app.ports import TrafficLog
from fleet.errors import FleetError

_log = structlog.get_logger(__name__)

COARSE_BYTES, FINE_BYTES = 64 << 20, 256 << 10
"""Journaled at the latest after so many bytes: without a budget, and with one."""
_JOURNAL_EVERY_S = 1.0
_REMEMBERED = 8
QUARTER = timedelta(minutes=15)
"""Every time zone's hours begin on one of UTC: what is counted by quarters can be added up in any of them."""


class Meter:
    """Bytes by the quarter of an hour; usable from many threads.

    Args:
        log: the journal.
        now: the site's clock.
    """

    def __init__(self, log: TrafficLog, *, now: Callable[[], datetime]) -> None:
        self._log = log
        self._now = now
        self._lock = threading.Lock()
        self._pending = 0
        self._written_s = time.monotonic()
        self._sums: dict[datetime, int] = {}
        self.step_bytes = COARSE_BYTES

    def count(self, size_bytes: int) -> None:
        """Count bytes, a negative number of them to take some back; journaled each second, and each `step_bytes`."""
        with self._lock:
            self._pending += size_bytes
            for since in self._sums:
                self._sums[since] += size_bytes
            if self._pending >= self.step_bytes or time.monotonic() - self._written_s >= _JOURNAL_EVERY_S:
                self._write()

    def flush(self) -> None:
        """Journal what was counted."""
        with self._lock:
            self._write()

    def spent(self, since: datetime) -> int:
        """Say how many bytes came since the beginning of a period that has not ended."""
        with self._lock:
            if since not in self._sums:
                self._write()
                while len(self._sums) >= _REMEMBERED:
                    self._sums.pop(next(iter(self._sums)))
                self._sums[since] = self._log.traffic(_quarter(since), _quarter(self._now())) + self._pending
            return self._sums[since]

    def _write(self) -> None:
        """Hand over what is pending; what the journal does not take, it gets the next time."""
        pending, self._written_s = self._pending, time.monotonic()
        if not pending:
            return
        try:
            self._log.count(_quarter(self._now()), pending)
        except FleetError as error:
            _log.warning("traffic.unwritten", reason=error.reason, detail=error.detail)
        else:
            self._pending = 0


def _quarter(moment: datetime) -> int:
    return int(moment.timestamp() // QUARTER.total_seconds())
