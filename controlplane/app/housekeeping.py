"""What a process does all the while: follow the log, say that it lives, and let go of the past."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import datetime, timedelta

import structlog

from controlplane.app.defects import presentable
from controlplane.app.ports import ChangeFeed, Store
from controlplane.domain.compaction import Dropped, pace
from controlplane.domain.lifecycle import WORKER_LEASE

BEAT = timedelta(seconds=5)
"""Three beats may be lost before a process's sessions count as closed (WORKER_LEASE)."""

FIRST_LOOK = timedelta(minutes=1)
"""After a start, when satellites come back and there is more to do."""

_log = structlog.get_logger()


async def keep_alive(store: Store, feed: ChangeFeed, clock: Callable[[], datetime]) -> None:
    """Follow the log and beat until cancelled."""
    async with asyncio.TaskGroup() as group:
        group.create_task(feed.run())
        group.create_task(_beat(store, clock))


async def _beat(store: Store, clock: Callable[[], datetime]) -> None:
    assert BEAT * 2 < WORKER_LEASE  # noqa: S101 two constants that belong together
    while True:
        try:
            await store.beat(clock())
        except Exception as caught:  # noqa: BLE001 - a defect ends no process
            error = presentable(caught, "beat.failed")
            _log.warning("store.missed_beat", reason=error.reason, detail=error.detail)
        await asyncio.sleep(BEAT.total_seconds())


async def let_go(compact: Callable[[], Awaitable[Dropped]], kept: timedelta) -> None:
    """Let go of what is older than is kept, again and again, until cancelled."""
    await asyncio.sleep(min(FIRST_LOOK, pace(kept)).total_seconds())
    while True:
        try:
            dropped = await compact()
        except Exception as caught:  # noqa: BLE001 - a defect ends no process
            error = presentable(caught, "compaction.failed")
            _log.warning("history.kept", reason=error.reason, detail=error.detail)
        else:
            if dropped:
                _log.info("history.compacted", **asdict(dropped))
        await asyncio.sleep(pace(kept).total_seconds())
