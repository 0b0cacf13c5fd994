"""Change feeds: what wakes waiting streams. A wake-up is a hint and a poll backs it; the truth is the log."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Awaitable, Callable
from datetime import timedelta

import psycopg
import structlog

from controlplane.adapters.sql.log import CHANNEL
from controlplane.app.catalog import FEED_HINTS, FEED_LOST, FEED_MISSED, FEED_POLLS, LOG_EPOCH, LOG_REVISION
from controlplane.app.defects import presentable
from controlplane.app.meter import Meter
from fleet.position import Position

POLL = timedelta(seconds=2)
"""How late a change is seen at most whose hint was lost."""
_RECONNECT = timedelta(seconds=1)
_TOLD = re.compile(r"([0-9]{1,19})\.([0-9]{1,19})")

_log = structlog.get_logger()


class PolledFeed:
    """Follows the log of one database: by publications in this process, by hints of others, and by polling."""

    hinted_at = False
    """Whether other processes' changes come with a hint: without one, a poll that finds them is nothing unusual."""

    def __init__(
        self, read_position: Callable[[], Awaitable[Position]], *, poll: timedelta = POLL, meter: Meter | None = None
    ) -> None:
        self._read_position = read_position
        self._poll = poll
        meter = meter or Meter()
        self._polls, self._hints, self._missed = map(meter.counts, (FEED_POLLS, FEED_HINTS, FEED_MISSED))
        meter.watch(LOG_REVISION, lambda: self._end.revision)
        meter.watch(LOG_EPOCH, lambda: self._end.epoch)
        self._end = Position(0, 0)
        self._rewinds = 0
        """How often an older database was restored under us."""
        self._looked_at = -math.inf
        self._grew_at = -math.inf
        self._grown = asyncio.Event()
        self._hinted = asyncio.Event()

    def publish(self, position: Position) -> None:
        """Say, in the event loop, that the log has grown up to here."""
        if position > self._end:
            self._grew_at = asyncio.get_running_loop().time()
            self._grow(position)

    def _grow(self, end: Position) -> None:
        self._end = end
        self._grown.set()
        self._grown = asyncio.Event()

    def hint(self, told: str = "") -> None:
        """Say that the log may have grown, or that it has, to the position that is `told`: nobody need look then."""
        self._hints[()] += 1
        position = _position(told)
        if position is None:
            self._hinted.set()
        else:
            self.publish(position)

    async def wait_beyond(self, position: Position, timeout: timedelta) -> Position:  # noqa: ASYNC109 part of the port
        """Return the log's end as soon as it lies beyond `position`, or after `timeout` as it is then."""
        rewinds = self._rewinds
        if self._end <= position:
            try:
                async with asyncio.timeout(timeout.total_seconds()):
                    while self._end <= position and self._rewinds == rewinds:
                        await self._grown.wait()
            except TimeoutError:
                pass
        return max(self._end, position)

    def ends_at(self, position: Position, *, within: timedelta) -> bool:
        """Say that no later position is known of, and that this was looked at no longer ago than `within`.

        Once an older database was restored, what is beyond its end may be of the log that is gone.
        """
        if self._rewinds and position > self._end:
            return False
        return position >= self._end and asyncio.get_running_loop().time() - self._looked_at <= within.total_seconds()

    async def run(self) -> None:
        """Poll until cancelled, at once where there is a hint."""
        while True:
            hinted = self._hinted.is_set() or not self._end.revision
            self._hinted.clear()
            try:
                await self._look(hinted=hinted)
            except Exception as caught:  # noqa: BLE001 - a defect ends no process
                _log.warning("feed.poll_failed", reason=presentable(caught, "feed.failed").reason)
            try:
                async with asyncio.timeout(self._poll.total_seconds()):
                    await self._hinted.wait()
            except TimeoutError:
                continue

    async def _look(self, *, hinted: bool) -> None:
        asked_at = asyncio.get_running_loop().time()
        position = await self._read_position()
        self._looked_at = asked_at
        self._polls[()] += 1
        if self.hinted_at and not hinted and position > self._end:
            self._missed[()] += 1
        if position < self._end and asked_at > self._grew_at:
            # An older database was restored under us: whoever waits for its past waits in vain.
            self._rewinds += 1
            self._grow(position)
        self.publish(position)


class ListeningFeed(PolledFeed):
    """Follows PostgreSQL's log: LISTEN for hints, beside the poll."""

    hinted_at = True

    def __init__(
        self,
        read_position: Callable[[], Awaitable[Position]],
        conninfo: str,
        *,
        poll: timedelta = POLL,
        meter: Meter | None = None,
    ) -> None:
        meter = meter or Meter()
        super().__init__(read_position, poll=poll, meter=meter)
        self._lost = meter.counts(FEED_LOST)
        self._conninfo = conninfo

    async def run(self) -> None:
        """Listen and poll until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(super().run())
            group.create_task(self._listen())

    async def _listen(self) -> None:
        while True:
            try:
                await self._follow()
            except psycopg.Error as error:
                self._lost[()] += 1
                _log.warning("feed.listening_lost", detail=str(error)[:200])
            await asyncio.sleep(_RECONNECT.total_seconds())

    async def _follow(self) -> None:
        connection = await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)
        async with connection:
            await connection.execute(f"LISTEN {CHANNEL}")
            self.hint()  # what happened before we listened
            async for notification in connection.notifies():
                self.hint(notification.payload)


def _position(told: str) -> Position | None:
    read = _TOLD.fullmatch(told)  # a release before this one told nothing
    return Position(int(read[1]), int(read[2])) if read else None
