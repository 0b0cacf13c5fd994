"""When a satellite reports: soon, not too often while something is under way, and at once when that ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from itertools import pairwise

import pytest

from edge.app.occasions import Listener, Occasions
from tests.rig.virtual_time import VirtualLoop

WINDOW = timedelta(seconds=5)
SOON_S = 0.1 + 0.25
"""The pause and its spread over this window."""
PACE_S = 2.0
LONGEST_S = PACE_S + 0.1 + 2.0 + SOON_S


class World:
    """A listener, whether something is under way, and the time of each occasion."""

    def __init__(self, window: timedelta = WINDOW) -> None:
        self.is_moving = False
        self.rows = 1
        self.occasions = Occasions(window=lambda: window, is_moving=lambda: self.is_moving)
        self.seen: list[float] = []

    async def listen(self, listener: Listener) -> None:
        while True:
            await listener.wait(self.rows)
            self.seen.append(asyncio.get_running_loop().time())

    def run(self, story: Callable[[], Awaitable[None]]) -> list[float]:
        async def told() -> None:
            with self.occasions.listener() as listener:
                listening = asyncio.ensure_future(self.listen(listener))
                await story()
                listening.cancel()

        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(told())
        return self.seen


@pytest.fixture
def world() -> World:
    return World()


def test_nothing_new_is_no_occasion_after_the_first(world: World) -> None:
    async def story() -> None:
        await asyncio.sleep(3600)

    (first,) = world.run(story)
    assert first <= SOON_S


def test_changes_close_together_are_one_occasion(world: World) -> None:
    async def story() -> None:
        await asyncio.sleep(10)
        for _ in range(20):
            world.occasions.changed()
            await asyncio.sleep(0.004)
        await asyncio.sleep(10)

    _, second = world.run(story)
    assert 10.1 <= second <= 10 + SOON_S


def test_what_is_under_way_is_told_at_a_pace_however_often_something_changes(world: World) -> None:
    async def story() -> None:
        world.is_moving = True
        for _ in range(600):
            world.occasions.changed()
            await asyncio.sleep(0.1)

    seen = world.run(story)
    gaps = [after - before for before, after in pairwise(seen)]
    assert min(gaps) >= PACE_S
    assert max(gaps) <= LONGEST_S


def test_bytes_that_come_without_any_change_are_told_too(world: World) -> None:
    async def story() -> None:
        world.is_moving = True
        world.occasions.changed()
        await asyncio.sleep(60)

    assert len(world.run(story)) >= 60 / LONGEST_S


def test_the_end_is_told_at_once(world: World) -> None:
    async def story() -> None:
        world.is_moving = True
        world.occasions.changed()
        await asyncio.sleep(1)
        world.is_moving = False
        world.occasions.changed()
        await asyncio.sleep(60)

    _, second = world.run(story)
    assert 1.1 <= second <= 1 + SOON_S


def test_a_long_report_is_sent_less_often(world: World) -> None:
    world.rows = 100

    async def story() -> None:
        world.is_moving = True
        world.occasions.changed()
        await asyncio.sleep(120)

    seen = world.run(story)
    assert min(after - before for before, after in pairwise(seen)) >= PACE_S + 10


def test_a_larger_fleet_tells_less_often() -> None:
    world = World(window=timedelta(minutes=10))

    async def story() -> None:
        world.is_moving = True
        world.occasions.changed()
        await asyncio.sleep(24 * 3600)

    seen = world.run(story)
    assert 24 * 3600 / len(seen) > 100
