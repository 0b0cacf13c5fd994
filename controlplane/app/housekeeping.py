"""What a process does all the while: follow the log, and say that it lives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from controlplane.app.ports import ChangeFeed, Store
from controlplane.domain.lifecycle import WORKER_LEASE
from fleet.errors import FleetError

BEAT = timedelta(seconds=5)
"""Three beats may be lost before a process's sessions count as closed (WORKER_LEASE)."""

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
        except FleetError as error:
            _log.warning("store.missed_beat", reason=error.reason, detail=error.detail)
        await asyncio.sleep(BEAT.total_seconds())
