"""Writing what satellites report: changes at once, how far things are when there is time for it.

While images come, every site has something new every few seconds, and all sites of a fleet may be at it at once. A
write costs a third of a millisecond. So reports that tell progress alone are written at a bounded rate, the newest of
each satellite, each in its turn: with few sites under way nobody waits, and with ten thousand the database goes on.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import structlog

from controlplane.app.defects import presentable
from controlplane.app.tracing import NoTracer, Tracer
from controlplane.domain.status import Report, SessionKey

_log = structlog.get_logger(__name__)

PROGRESS_PER_S = 200
"""Reports of progress that one process writes a second: less than a tenth of a core."""
_SLICE = 20
"""So many are one commit."""


class Records(Protocol):
    """Keeps reports: the fleet."""

    async def record_report(self, satellite: str, boot_id: bytes, session_number: int, report: Report) -> bool:
        """Replace a report; False where it came too late."""


class Reports:
    """Writes the reports of this process's streams."""

    def __init__(self, fleet: Records, tracer: Tracer | None = None) -> None:
        self._fleet = fleet
        self._tracer = tracer or NoTracer()
        self._waiting: dict[SessionKey, Report] = {}
        self._stirred = asyncio.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    async def record(self, session: SessionKey, report: Report) -> None:
        """Write a report now: what was put off before it comes too late then, and is left out by the store."""
        await self._fleet.record_report(session.satellite, session.boot_id, session.number, report)

    def put_off(self, session: SessionKey, report: Report) -> None:
        """Write a report when its session's turn comes, unless a newer one takes its place."""
        self._waiting[session] = report
        self._stirred.set()

    async def run(self) -> None:
        """Write what was put off, until cancelled."""
        while True:
            await self._stirred.wait()
            turn = [(session, self._waiting.pop(session)) for session in [*self._waiting][:_SLICE]]
            if not self._waiting:
                self._stirred.clear()
            with self._tracer.batch("reports.write", reports=len(turn)):
                answers = await asyncio.gather(*(self.record(*each) for each in turn), return_exceptions=True)
            self._check(answers)
            await asyncio.sleep(len(turn) / PROGRESS_PER_S)

    @staticmethod
    def _check(answers: list[BaseException | None]) -> None:
        """Leave out what the store did not take: the next report tells more."""
        for answer in answers:
            if isinstance(answer, Exception):
                _log.info("progress.unwritten", reason=presentable(answer, "progress.failed").reason)
