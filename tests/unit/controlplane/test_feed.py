"""What the feed counts of hints that come, and of those that do not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from controlplane.adapters.feed import PolledFeed
from controlplane.app.catalog import FEED_HINTS, FEED_MISSED, LOG_REVISION
from controlplane.app.meter import Meter, Sample
from fleet.position import Position
from tests.rig.identity import eventually

WAIT = timedelta(seconds=10)


class Log:
    """Grows when it is told to."""

    revision = 5

    async def position(self) -> Position:
        return Position(1, self.revision)


@asynccontextmanager
async def running(feed: PolledFeed) -> AsyncIterator[None]:
    task = asyncio.create_task(feed.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def followed(*, hinted_at: bool, told: bool) -> Meter:
    """Follow a log that grows once, with a hint or without."""
    log, meter = Log(), Meter()
    feed = PolledFeed(log.position, poll=timedelta(milliseconds=1), meter=meter)
    feed.hinted_at = hinted_at
    async with running(feed):
        await feed.wait_beyond(Position(1, 4), WAIT)
        log.revision = 6
        if told:
            feed.hint()
        assert await feed.wait_beyond(Position(1, 5), WAIT) == Position(1, 6)
        assert Sample(LOG_REVISION.name, (), 6) in meter.samples()
    return meter


@pytest.mark.parametrize(
    ("hinted_at", "told", "missed"),
    [(True, True, 0), (True, False, 1), (False, False, 0)],
)
async def test_a_change_that_no_hint_told_of_is_counted_where_hints_are_due(
    hinted_at: bool, told: bool, missed: int
) -> None:
    meter = await followed(hinted_at=hinted_at, told=told)
    assert meter.counts(FEED_MISSED)[()] == missed
    assert meter.counts(FEED_HINTS)[()] == told


@pytest.mark.parametrize("told", ["1.6", "", "1", "1.x", "-1.6", "9" * 7000])
async def test_a_hint_tells_where_the_log_ends_or_has_it_looked_at(told: str) -> None:
    log, looks = Log(), 0

    async def look() -> Position:
        nonlocal looks
        looks += 1
        return await log.position()

    feed = PolledFeed(look, poll=WAIT)
    async with running(feed):
        await feed.wait_beyond(Position(1, 4), WAIT)
        log.revision = 6
        feed.hint(told)
        assert await feed.wait_beyond(Position(1, 5), WAIT) == Position(1, 6)
        assert looks == (1 if told == "1.6" else 2)


async def test_a_hint_of_what_is_not_there_holds_nobody_up() -> None:
    log = Log()
    feed = PolledFeed(log.position, poll=timedelta(milliseconds=1))
    async with running(feed):
        await feed.wait_beyond(Position(1, 4), WAIT)
        feed.hint("9.9")
        await eventually(lambda: feed.ends_at(Position(1, 5), within=WAIT))


async def test_a_database_that_was_restored_from_before_is_followed_as_it_is() -> None:
    log = Log()
    feed = PolledFeed(log.position, poll=timedelta(milliseconds=1))
    async with running(feed):
        await feed.wait_beyond(Position(1, 4), WAIT)
        log.revision = 3
        await eventually(lambda: feed.ends_at(Position(1, 3), within=WAIT))
        log.revision = 4
        assert await feed.wait_beyond(Position(1, 3), WAIT) == Position(1, 4)
