"""Keeps to what the link allows: a rate over all transfers, sync windows, budgets. Blocking: for threads.

The kernel takes in megabytes ahead of what is read, so what limits a link must limit what is asked for. While anything
is limited, blobs are fetched in ranges, each as long as what one may take now.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from edge.app.meter import COARSE_BYTES, FINE_BYTES, Meter
from edge.domain.link import Budget, LinkStanding, Opening, bounds, budgets_of, opening, refusal
from edge.domain.pace import Bucket
from fleet.errors import FleetError, Kind
from fleet.link import Link

HEADER_BYTES = 500
"""What an answer's headers take: Distribution's 480 (measured)."""
LEAST_RANGE_BYTES, MOST_RANGE_BYTES = 16 << 10, 16 << 20
_LEAST_LEFT_BYTES = 4096
"""Less of a budget is not worth a request."""
_FIRST_SPEED = 256 << 10
_SHORTEST_S, _LONGEST_S = 0.1, 1.0
"""A range is what comes in so long: short enough to be even, long enough to outlast the way to the source."""
_ROUND_TRIPS = 4
_BUDGET_SHARE = 500
"""Of a budget, what may come before it is journaled: a kill loses no more."""
_LOOK_AGAIN = timedelta(hours=1)


Priority = Callable[[], int]
"""Of the artifact on whose behalf something is fetched, as it is now; asked only where it matters."""


class Grant:
    """Leave for one request; its user counts what comes, and settles in the end.

    What is granted is paid for before it is asked for: what the kernel holds when we are killed has crossed the link.

    Attributes:
        size_bytes: how many bytes it may bring; 0 for any number.
        came_bytes: how many it has brought.
    """

    def __init__(self, governor: Governor, size_bytes: int) -> None:
        self._governor = governor
        self.size_bytes = size_bytes
        self.came_bytes = 0
        self._is_settled = False

    def count(self, size_bytes: int) -> int:
        """Count bytes of the answer's body: `→ how many of them are more than was granted`, and are not paid for."""
        if not self.size_bytes:
            self.came_bytes += size_bytes
            self._governor.came(size_bytes)
            return 0
        within = 0 if self._is_settled else min(size_bytes, self.size_bytes - self.came_bytes)
        self.came_bytes += within
        return size_bytes - within

    def settle(self) -> None:
        """Take back what the request did not bring; once, whoever calls first."""
        if self.size_bytes and not self._is_settled:
            self._is_settled = True
            self._governor.settle(self.size_bytes, self.came_bytes)


class Governor:
    """What the link allows, shared by all threads that fetch. `obey` may be called at any time.

    Args:
        meter: counts what came.
        now: the site's clock, for windows and periods.
    """

    def __init__(self, meter: Meter, *, now: Callable[[], datetime]) -> None:
        self._meter = meter
        self._now = now
        self._changed = threading.Condition()
        self._link = Link()
        self._opening: tuple[Opening, datetime, datetime] | None = None
        self._bucket = Bucket(at_s=time.monotonic())
        self._pace_s = _SHORTEST_S
        self._speed = float(_FIRST_SPEED)
        self._reserved = 0
        self._is_stopped = False

    def obey(self, link: Link) -> bool:
        """Keep to these settings from now on, in transfers under way too: `→ whether they are others`."""
        with self._changed:
            if link == self._link:
                return False
            if link.rate_bytes_per_second != self._link.rate_bytes_per_second:
                self._bucket = Bucket(at_s=time.monotonic())  # what came at another rate is neither credit nor debt
            self._link, self._opening = link, None
            least = min(budgets_of(link).values(), default=0)
            self._meter.step_bytes = min(FINE_BYTES, least // _BUDGET_SHARE) if least else COARSE_BYTES
            self._changed.notify_all()
            return True

    def stop(self) -> None:
        """Let nobody wait any longer, and journal what was counted."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
        self._meter.flush()

    def standing(self) -> LinkStanding:
        """Say what the link allows now."""
        with self._changed:
            at = self._now()
            return LinkStanding(self._link, self._opening_at(at), self._budgets(at))

    def limits(self, priority: Priority) -> bool:
        """Say whether anything limits what is fetched on behalf of an artifact of this priority."""
        link = self._link
        has_times = bool(link.windows or budgets_of(link))
        return bool(link.rate_bytes_per_second) or (has_times and not self._exempts(priority))

    def _exempts(self, priority: Priority) -> bool:
        least = self._link.exempt_priority
        return least is not None and priority() >= least

    def grant(self, priority: Priority, size_bytes: int = 0) -> Grant:
        """Wait until a request may be sent.

        Args:
            priority: of the artifact on whose behalf.
            size_bytes: what it will bring, where that is known; else it is granted as much as is right.

        Raises:
            FleetError: EXHAUSTED `LINK_WINDOW_CLOSED`, `LINK_BUDGET_SPENT`, with `retry_after`; UNAVAILABLE
                `TRANSFER_STOPPED`.
        """
        with self._changed:
            left = self._await_turn(priority)
            size = 0 if not self.limits(priority) else size_bytes or self._range(left)
            self._pay(size + HEADER_BYTES)
            self._reserved += size
            return Grant(self, size)

    def pay(self, priority: Priority, size_bytes: int) -> None:
        """Pay for what came without leave, and wait as if it had been asked for.

        Raises:
            FleetError: as `grant`.
        """
        with self._changed:
            self._pay(size_bytes)
            self._await_turn(priority)

    def came(self, size_bytes: int) -> None:
        """Count bytes that nobody had to grant."""
        self._meter.count(size_bytes)

    def settle(self, granted: int, came: int) -> None:
        """Put right what was granted by what came."""
        with self._changed:
            self._pay(came - granted)
            self._reserved -= granted
            self._changed.notify_all()

    def observe(self, *, answered_s: float, size_bytes: int, took_s: float) -> None:
        """Learn from a range how far away the source is, and how much of it comes in a second."""
        pace_s = min(max(_ROUND_TRIPS * answered_s, _SHORTEST_S), _LONGEST_S)
        with self._changed:
            self._pace_s = (self._pace_s + pace_s) / 2
            self._speed = size_bytes / max(took_s, 1e-6)

    # With the lock held -----------------------------------------------------------------------------------

    def _pay(self, size_bytes: int) -> None:
        self._meter.count(size_bytes)
        self._bucket = self._bucket.taken(size_bytes)

    def _await_turn(self, priority: Priority) -> int | None:
        """Wait until a request may be sent: `→ what budgets leave for it`, None for any number of bytes."""
        while self.limits(priority):
            if self._is_stopped:
                raise FleetError(Kind.UNAVAILABLE, "TRANSFER_STOPPED", "the satellite is stopping")
            left = None if self._exempts(priority) else self._left()
            wait_s = self._wait_s()
            if left is not None and left < HEADER_BYTES + _LEAST_LEFT_BYTES:
                wait_s = _LONGEST_S  # others may yet give back some of what they were granted
            if not wait_s:
                return left
            self._changed.wait(wait_s)
        return None

    def _left(self) -> int | None:
        """Say what budgets leave beside what is granted, None where there are none; raise where nothing may come."""
        at = self._now()
        budgets = self._budgets(at)
        found = refusal(self._opening_at(at), budgets, at=at, least_bytes=HEADER_BYTES + _LEAST_LEFT_BYTES)
        if found is not None:
            raise FleetError(Kind.EXHAUSTED, found.reason, found.text, retry_after=found.until - at)
        return min((budget.left_bytes - self._reserved for budget in budgets), default=None)

    def _wait_s(self) -> float:
        rate = self._link.rate_bytes_per_second
        if not rate:
            return 0.0
        self._bucket = self._bucket.filled(rate, time.monotonic(), most=rate * self._pace_s)
        return self._bucket.wait_s(rate)

    def _range(self, left: int | None) -> int:
        rate = self._link.rate_bytes_per_second
        size = min(self._speed * _LONGEST_S, MOST_RANGE_BYTES)
        if rate:
            size = min(size, rate * self._pace_s)
        most = max(int(size), LEAST_RANGE_BYTES)
        return most if left is None else min(most, left - HEADER_BYTES)

    def _opening_at(self, at: datetime) -> Opening:
        known = self._opening
        if known is None or not known[1] <= at < known[2]:
            found = opening(self._link, at)
            known = self._opening = (found, at, min(found.until or at + _LOOK_AGAIN, at + _LOOK_AGAIN))
        return known[0]

    def _budgets(self, at: datetime) -> tuple[Budget, ...]:
        link, found = self._link, []
        for period, limit in budgets_of(link).items():
            begin, end = bounds(period, at, link.zone)
            found.append(Budget(period, limit, self._meter.spent(begin) - self._reserved, end))
        return tuple(found)
