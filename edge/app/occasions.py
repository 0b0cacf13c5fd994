"""When to report: soon after a change, at a pace of its own while something is under way, at once when that ends.

While bytes come there is something new at every moment. A report of each would cost Ground Control more than the
change itself, so all that happens within a pause is one report. The pause grows with the reconnect window, which
grows with the fleet, and is spread over it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

from fleet.chance import chance

_PAUSE_S = 0.1
"""Changes within this time are one report."""
_SPREAD = 0.05
"""Of the reconnect window: how far reports of one change are spread."""
_MOVING_PAUSE_S = 2.0
"""While something is under way, all within this time is one report."""
_MOVING_SPREAD = 0.4
"""Of the reconnect window: how much longer that may be."""
_MOVING_ROW_S = 0.1
"""For each exception in the report before, some 140 bytes: a modem's link is for images."""


class Occasions:
    """Tells those who report when there may be something new.

    Args:
        window: the reconnect window of the moment.
        is_moving: asked whether an artifact is under way; whoever begins or ends one calls `changed`.
    """

    def __init__(self, *, window: Callable[[], timedelta], is_moving: Callable[[], bool]) -> None:
        self._window = window
        self._is_moving = is_moving
        self._listeners: set[Listener] = set()

    def changed(self) -> None:
        """Say that there may be something new."""
        for listener in self._listeners:
            listener.event.set()

    @contextmanager
    def listener(self) -> Iterator[Listener]:
        """Listen as long as this is open; the first occasion is now."""
        listener = Listener(self)
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)

    @property
    def is_moving(self) -> bool:
        """Say whether an artifact is under way."""
        return self._is_moving()

    def pause_s(self) -> float:
        """Say how long to collect what comes shortly after a change."""
        return self._spread(_PAUSE_S, _SPREAD)

    def moving_pause_s(self, rows: int) -> float:
        """Say how long to collect while something is under way, after a report with so many exceptions."""
        return self._spread(_MOVING_PAUSE_S + rows * _MOVING_ROW_S, _MOVING_SPREAD)

    def _spread(self, least_s: float, part: float) -> float:
        return least_s + self._window().total_seconds() * part * chance()


class Listener:
    """One stream's wait for occasions."""

    def __init__(self, occasions: Occasions) -> None:
        self.event = asyncio.Event()
        self.event.set()
        self._occasions = occasions
        self._last_s = -math.inf

    async def wait(self, rows: int = 0) -> None:
        """Wait for the next occasion; `rows`: how many exceptions were told at the last one."""
        loop, occasions = asyncio.get_running_loop(), self._occasions
        due_s = self._last_s + occasions.moving_pause_s(rows)
        while True:
            await self._until(max(due_s, 0.0) if occasions.is_moving else None)
            await asyncio.sleep(occasions.pause_s())
            self.event.clear()
            if not occasions.is_moving or loop.time() >= due_s:
                break
        self._last_s = loop.time()

    async def _until(self, due_s: float | None) -> None:
        """Wait for a change, or for a time of the loop's clock."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(due_s):
                await self.event.wait()
