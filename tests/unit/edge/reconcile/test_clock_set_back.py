"""A clock that was ahead and is set right: what was to be done soon is done soon, and not at a time that was wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from edge.app.reconcile import Reconciler
from edge.domain.retry import REFUSED_RETRY
from tests.rig.local_site import block, utc_now
from tests.rig.memory_plane import MemoryPlane

AHEAD = timedelta(days=300)


@dataclass
class Site:
    """A loop whose clock the test sets."""

    plane: MemoryPlane
    clock: timedelta = AHEAD
    checks: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.reconciler = Reconciler(self.plane.executor, self.plane.editions, now=self.now, changed=self.changed.set)

    def now(self) -> datetime:
        return utc_now() + self.clock

    def passes(self, time: timedelta) -> None:
        """Let time pass, and the loop notice."""
        self.clock += time
        self.reconciler.poke()

    async def until(self, claim: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not claim():
                self.changed.clear()
                await self.changed.wait()


@pytest.fixture
async def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    plane = MemoryPlane(tmp_path)
    made, check = Site(plane), plane.executor.check

    def counted() -> list[object]:
        made.checks += 1
        return [*check()]

    monkeypatch.setattr(plane.executor, "check", counted)
    loop = asyncio.create_task(made.reconciler.run())
    yield made
    loop.cancel()
    await asyncio.wait((loop,))
    plane.close()


async def test_the_next_check_comes_ten_minutes_after_the_last_one(site: Site) -> None:
    site.reconciler.look()
    await site.until(lambda: site.checks == 1)
    site.passes(-AHEAD)
    site.passes(timedelta(minutes=11))
    await site.until(lambda: site.checks == 2)


async def test_a_refusal_is_not_put_off_until_the_time_that_was_wrong(site: Site) -> None:
    wanted = site.plane.push("app")
    site.plane.want(*site.plane.base, wanted)
    blocked = block("bad", site.plane.edition("hub/app:1").digest)
    site.reconciler.enforce(site.plane.want(*site.plane.base, wanted, blocked))
    await site.until(lambda: bool(site.reconciler.standing().site.setbacks))
    site.passes(-AHEAD)
    standing = site.reconciler.standing()
    (setback,) = standing.site.setbacks.values()
    assert timedelta(0) < setback.until - site.now() < 2 * REFUSED_RETRY
    assert list(standing.since.values()) <= [site.now()]
