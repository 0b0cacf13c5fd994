"""What keeps the registry in order beside what is planned: scans, purges, scrubs, and when each is due.

A scan proper removes what is foreign, and runs alone: what is begun meanwhile would look foreign. What is missing is
looked for beside whatever is under way, for on a poor link something always is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Coroutine
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol, TypeVar

import structlog

from edge.app.execute import Executor
from edge.app.purge import STALE_S, Purged
from edge.app.scrub import ScrubBoard, ScrubRequest
from fleet.errors import FleetError

_log = structlog.get_logger(__name__)

T = TypeVar("T")

DRIFT_SCAN = timedelta(minutes=10)
_FIRST_SCAN = timedelta(seconds=2)
_PURGE_PAUSE = timedelta(seconds=1)
"""Several withdrawals in a row are one purge."""
_SETTLED_S = 60.0
"""What was written within this time may be half written."""
SCAN, CHECK, PURGE, SCRUB = "scan", "check", "purge", "scrub"

Chores = list[tuple[str, Callable[[], Coroutine[None, None, None]]]]
"""What is due: a name, and what starts it."""


class InThread(Protocol):
    """Runs blocking work in a thread."""

    def __call__(self, work: Callable[[], T], /) -> Awaitable[T]:
        """Run it and wait for it."""


class Upkeep:
    """Knows what is due and does it; its owner runs it.

    Args:
        executor: does the work.
        in_thread: runs it in a thread.
        now: the site's clock.
        freed: called when there may be more room than before.
    """

    def __init__(
        self, executor: Executor, in_thread: InThread, *, now: Callable[[], datetime], freed: Callable[[], None]
    ) -> None:
        self._executor = executor
        self._in_thread = in_thread
        self._now = now
        self._freed = freed
        self._scan_at = self._check_at = now() + _FIRST_SCAN
        self._purge_at: datetime | None = None
        self._scrub_wanted: ScrubRequest | None = None
        self.foreign = 0
        """What was found and removed that nobody admitted."""

    @property
    def scrubbed(self) -> ScrubBoard:
        """Where it is told how far a scrub is."""
        return self._executor.scrubbed

    def look(self) -> None:
        """Scan now, and not when it is due."""
        self._scan_at = self._check_at = self._now()

    def purge_soon(self) -> None:
        """Free before long what was just withdrawn."""
        self._purge_at = self._now() + _PURGE_PAUSE

    def set_back(self, back: timedelta) -> None:
        """Go by a clock that was set back."""
        self._scan_at -= back
        self._check_at -= back
        if self._purge_at:
            self._purge_at -= back

    def scrub(self, request: ScrubRequest) -> None:
        """Read everything; of several requests at a time the last one counts."""
        self._scrub_wanted = request

    def due(self, running: Collection[object], *, may_write: bool) -> Chores:
        """Say what to start beside what is running; each is taken note of as started."""
        at, chores = self._now(), Chores()
        if self._purge_at and self._purge_at <= at and may_write:
            self._purge_at = None
            chores.append((PURGE, partial(self._purge, idle_s=STALE_S)))
        elif self._scan_at <= at and not running:
            chores.append((SCAN, self._scan))
        if self._check_at <= at and CHECK not in running and SCAN not in dict(chores):
            chores.append((CHECK, self._check))
        if self._scrub_wanted and SCRUB not in running and SCAN not in dict(chores):
            chores.append((SCRUB, partial(self._scrub, self._scrub_wanted)))
            self._scrub_wanted = None
        return [(name, partial(_safely, name, work)) for name, work in chores]

    def later(self) -> list[datetime]:
        """Say when something will be due."""
        at = self._now()
        return [due for due in (self._scan_at, self._check_at, self._purge_at) if due and due > at]

    async def prepare(self) -> None:
        """Put the disk in order before anything else is done, so that the registry answers."""
        await self._in_thread(partial(self._executor.mend, idle_s=0.0))

    async def clean(self) -> None:
        """Remove what is foreign and what nobody needs, while nothing is under way yet."""
        await self._sweep()
        await self._purge(idle_s=0.0)

    async def _scan(self) -> None:
        """Look for what is foreign, and for what is missing."""
        self._scan_at = self._now() + DRIFT_SCAN
        try:
            await self._in_thread(partial(self._executor.mend, idle_s=_SETTLED_S))
            await self._sweep()
        except FleetError as error:
            _log.warning("drift.scan_failed", reason=error.reason, detail=error.detail)
        await self._find_missing()
        await self._purge(idle_s=STALE_S)

    async def _check(self) -> None:
        """Look for what is missing alone, beside whatever is under way."""
        self._check_at = self._now() + DRIFT_SCAN
        try:
            await self._in_thread(partial(self._executor.mend, idle_s=_SETTLED_S))
        except FleetError as error:
            _log.warning("drift.scan_failed", reason=error.reason, detail=error.detail)
        await self._find_missing()

    async def _sweep(self) -> None:
        foreign = await self._in_thread(self._executor.sweep)
        self.foreign += len(foreign)
        for one in foreign:
            _log.error("foreign.withdrawn", repository=one.repository, reference=one.reference)

    async def _find_missing(self) -> None:
        self._check_at = self._now() + DRIFT_SCAN
        try:
            missing = await self._in_thread(self._executor.check)
        except FleetError as error:
            _log.warning("drift.scan_failed", reason=error.reason, detail=error.detail)
            missing = []
        for edition in missing:
            _log.warning("artifact.missing", artifact=edition.name, digest=edition.digest)

    async def _scrub(self, request: ScrubRequest) -> None:
        board = self.scrubbed
        try:
            lacking = await self._in_thread(partial(self._executor.scrub, request, at=self._now()))
        except FleetError as error:
            _log.warning("scrub.failed", reason=error.reason, detail=error.detail)
            board.change(reason=error.reason, text=error.public, ended=self._now())
            return
        except Exception:
            board.change(reason="INTERNAL", text="a defect of the satellite: see its log", ended=self._now())
            raise
        for edition in lacking:
            _log.warning("artifact.missing", artifact=edition.name, digest=edition.digest)
        board.change(ended=self._now())
        if (state := board.state) is not None:
            _log.info("scrub.done", contents=state.contents, size_bytes=state.done_bytes, damaged=len(state.damaged))

    async def _purge(self, *, idle_s: float) -> None:
        try:
            purged = await self._in_thread(partial(self._executor.purge, idle_s=idle_s))
        except FleetError as error:
            _log.warning("purge.failed", reason=error.reason, detail=error.detail)
            return
        self._freed()
        if purged != Purged():
            _log.info("registry.purged", blobs=purged.blobs, size_bytes=purged.size_bytes, uploads=purged.uploads)


async def _safely(name: str, work: Callable[[], Coroutine[None, None, None]]) -> None:
    """Do it; a defect in it must not end the loop that publishes."""
    try:
        await work()
    except Exception:  # noqa: BLE001 - logged with its trace
        _log.exception("upkeep.defect", chore=name)
