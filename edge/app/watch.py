"""The site's time for whoever plans by it, with word of a clock that was set back.

A clock that was ahead by a year, and is set right, would otherwise put off by a year what was to be done in minutes.
How long it is since the clock was last looked at does not show: what is due comes late by that at the most.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class Watch:
    """Tells the time; called from the event loop alone.

    Args:
        now: the site's clock.
        set_back: told by how much it went back, before the time is told.
    """

    def __init__(self, now: Callable[[], datetime], *, set_back: Callable[[timedelta], None]) -> None:
        self._now = now
        self._set_back = set_back
        self._last = datetime.min.replace(tzinfo=UTC)

    def __call__(self) -> datetime:
        """Say what time it is."""
        at = self._now()
        back, self._last = self._last - at, at
        if back > timedelta():
            self._set_back(back)
        return at
