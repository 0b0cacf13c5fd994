"""Writing satellites' health: what a second brings is one transaction.

Ten thousand satellites tell their health every 30 s: a write for each would be a third of a database's day. Nothing
waits for it, and the next report tells the same anew, so a process that dies takes a second's worth along.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

import structlog

from controlplane.app.defects import presentable
from controlplane.domain.status import Health

_log = structlog.get_logger(__name__)

COLLECT_S = 1.0
BATCH = 500
"""Satellites in one transaction."""


class Records(Protocol):
    """Keeps health: the fleet."""

    async def record_healths(self, healths: Mapping[str, Health]) -> None:
        """Replace the health of many; names that are nobody's are left out."""


class Healths:
    """Writes what the satellites of this process tell of their health; the newest of each counts."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._waiting: dict[str, Health] = {}
        self._stirred = asyncio.Event()

    def put(self, satellite: str, health: Health) -> None:
        """Write this within about a second."""
        self._waiting[satellite] = health
        self._stirred.set()

    async def run(self) -> None:
        """Write until cancelled, and then what is left."""
        try:
            while True:
                await self._stirred.wait()
                await asyncio.sleep(COLLECT_S)
                await self._write()
        finally:
            await self._write()

    async def _write(self) -> None:
        self._stirred.clear()
        waiting, self._waiting = self._waiting, {}
        names = list(waiting)
        for at in range(0, len(names), BATCH):
            try:
                await self._records.record_healths({name: waiting[name] for name in names[at : at + BATCH]})
            except Exception as caught:  # noqa: BLE001 - a defect ends no process
                error = presentable(caught, "health.failed")
                _log.info("health.unwritten", reason=error.reason, satellites=len(names))
