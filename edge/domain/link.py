"""What a link allows at a moment: when a sync window is open, and what is left of each budget.

Windows begin by cron's rules, in the site's time zone, and stay open for elapsed time. Budgets count from the hour, the
day or the month of the site's calendar.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import Enum, unique
from typing import TYPE_CHECKING

from fleet.link import Link, Window

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

HORIZON = timedelta(days=1)
"""Nobody looks further ahead for the end of windows that follow on one another."""
WINDOW_CLOSED = "LINK_WINDOW_CLOSED"
BUDGET_SPENT = "LINK_BUDGET_SPENT"
WAITS = frozenset({WINDOW_CLOSED, BUDGET_SPENT})
"""Reasons that are no failures: they end by themselves, at a known time."""


@dataclass(frozen=True, slots=True)
class Opening:
    """Whether anything may be fetched, as far as windows go, and when that changes.

    `until` is None where it never does, or not within a day.
    """

    is_open: bool
    until: datetime | None = None


@unique
class Period(Enum):
    """What a budget is for: one of the site's calendar."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class Budget:
    """How one budget stands."""

    period: Period
    limit_bytes: int
    spent_bytes: int
    renews_at: datetime

    @property
    def left_bytes(self) -> int:
        """What may still be fetched in this period."""
        return max(0, self.limit_bytes - self.spent_bytes)


@dataclass(frozen=True, slots=True)
class LinkStanding:
    """What the link allows at a moment."""

    link: Link
    opening: Opening
    budgets: tuple[Budget, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing may be fetched now, and when to try again."""

    reason: str
    text: str
    until: datetime


def opening(link: Link, at: datetime) -> Opening:
    """Say whether a window is open at a moment, and until when it stays so."""
    if not link.windows:
        return Opening(is_open=True)
    end: datetime | None = None
    for begin, stop in heapq.merge(*(_spans(window, link.zone, at) for window in link.windows)):
        if end is None and begin > at:
            return Opening(is_open=False, until=begin)
        if end is not None and begin > end:
            break
        end = stop if end is None else max(end, stop)
        if end > at + HORIZON:
            return Opening(is_open=True)
    return Opening(is_open=end is not None, until=end)


def _spans(window: Window, zone: ZoneInfo, at: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Walk the window's times, in UTC, from the first that has not ended at a moment."""
    from cronsim import CronSim  # noqa: PLC0415 - most satellites have no windows, and do without its memory

    since = at.astimezone(UTC) - window.duration
    for begin in CronSim(window.cron, since.astimezone(zone)):
        moment = begin.astimezone(UTC)
        if moment > since:  # in an hour that comes twice cronsim begins with the first of the two
            yield moment, moment + window.duration


def budgets_of(link: Link) -> dict[Period, int]:
    """List the budgets that are set: `link → {period: bytes}`."""
    said = {
        Period.HOUR: link.hour_budget_bytes,
        Period.DAY: link.day_budget_bytes,
        Period.MONTH: link.month_budget_bytes,
    }
    return {period: size for period, size in said.items() if size}


def bounds(period: Period, at: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Say when the period around a moment begins and ends, in UTC."""
    local = at.astimezone(zone)
    if period is Period.HOUR:
        offset = local.utcoffset() or timedelta()
        past = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
        begin = local.replace(tzinfo=UTC) - offset - past
        return begin, begin + timedelta(hours=1)
    first = local.date() if period is Period.DAY else local.date().replace(day=1)
    days = 1 if period is Period.DAY else 32
    after = first + timedelta(days=days)
    return _midnight(first, zone), _midnight(after if period is Period.DAY else after.replace(day=1), zone)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), tzinfo=zone).astimezone(UTC)


def refusal(now: Opening, budgets: tuple[Budget, ...], *, at: datetime, least_bytes: int = 1) -> Refusal | None:
    """Say why nothing may be fetched; None where something may.

    Args:
        now: whether a window is open.
        budgets: how they stand.
        at: the time now.
        least_bytes: what has to be left of each for it to be worth a request.
    """
    if not now.is_open:
        until = now.until or at + HORIZON
        return Refusal(WINDOW_CLOSED, f"outside of the sync windows until {_shown(until)}", until)
    spent = [budget for budget in budgets if budget.left_bytes < least_bytes]
    if spent:
        last = max(spent, key=lambda budget: budget.renews_at)
        text = f"the {last.period.value}'s budget of bytes is spent until {_shown(last.renews_at)}"
        return Refusal(BUDGET_SPENT, text, last.renews_at)
    return None


def _shown(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")
