"""What a satellite may fetch over the link to its sources, as operators say it; both programs read it by this."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from fleet.errors import FleetError, malformed

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

# Time zones and cron take 1 MB of memory, which a satellite without windows and budgets does without.

LEAST_RATE = 1000
LEAST_BUDGET = 10_000
MAX_WINDOWS = 32
MAX_PRIORITY = 100
SHORTEST_WINDOW_S, LONGEST_WINDOW_S = 60, 31 * 24 * 3600
_FIELDS = 5
_MAX_CRON = 256
_ZONE = re.compile(r"[A-Za-z0-9_+-]{1,32}(?:/[A-Za-z0-9_+-]{1,32}){0,3}")


@dataclass(frozen=True, slots=True)
class Window:
    """A time that begins again and again, by five cron fields, and is open for so long each time."""

    cron: str
    duration_s: int

    @property
    def duration(self) -> timedelta:
        """How long it stays open: elapsed time, whatever clocks do."""
        return timedelta(seconds=self.duration_s)


@dataclass(frozen=True, slots=True)
class Link:
    """What may be fetched; each field as its namesake of fleet.v1.LinkSpec. The default is everything, always."""

    rate_bytes_per_second: int = 0
    windows: tuple[Window, ...] = ()
    time_zone: str = ""
    hour_budget_bytes: int = 0
    day_budget_bytes: int = 0
    month_budget_bytes: int = 0
    exempt_priority: int | None = None

    @property
    def zone(self) -> ZoneInfo:
        """The site's time zone; UTC where none is named."""
        from zoneinfo import ZoneInfo  # noqa: PLC0415 - see above

        return ZoneInfo(self.time_zone or "UTC")


def check_link(link: Link) -> Link:
    """Return what operators say of a link if it can be obeyed.

    Raises:
        FleetError: MALFORMED `LINK_MALFORMED`, the subject naming what is wrong.
    """
    _check_zone(link.time_zone)
    if len(link.windows) > MAX_WINDOWS:
        raise _malformed("a link has at most 32 windows", "windows")
    for window in link.windows:
        _check_window(window)
    if link.rate_bytes_per_second and link.rate_bytes_per_second < LEAST_RATE:
        raise _malformed("a rate is at least 1,000 bytes a second, or zero for none", "rate")
    for budget in (link.hour_budget_bytes, link.day_budget_bytes, link.month_budget_bytes):
        if budget and budget < LEAST_BUDGET:
            raise _malformed("a budget is at least 10,000 bytes, or zero for none", "budget")
    if link.exempt_priority is not None and not 0 <= link.exempt_priority <= MAX_PRIORITY:
        raise _malformed("an exempt priority is 0 to 100", "exempt_priority")
    return link


def _check_zone(name: str) -> None:
    if not name:
        return
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - see above

    try:
        ZoneInfo(_ZONE.fullmatch(name)[0])  # type: ignore[index] # None is no zone either
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _malformed("a time zone is named as IANA does, like Europe/Berlin", name) from error


def _check_window(window: Window) -> None:
    if not SHORTEST_WINDOW_S <= window.duration_s <= LONGEST_WINDOW_S:
        raise _malformed("a window is open for 1 minute to 31 days", window.cron)
    if len(window.cron) > _MAX_CRON or len(window.cron.split()) != _FIELDS:
        text = "a window begins by five cron fields: minute, hour, day of month, month, day of week"
        raise _malformed(text, window.cron)
    from cronsim import CronSim, CronSimError  # noqa: PLC0415 - see above

    try:
        next(CronSim(window.cron, datetime(2000, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        raise _malformed(f"a window's cron fields are not all right: {error}", window.cron) from error
    except StopIteration as error:
        raise _malformed("a window's cron fields never come true", window.cron) from error


def _malformed(text: str, subject: str) -> FleetError:
    return malformed("LINK_MALFORMED", text, subject=subject[:80])
