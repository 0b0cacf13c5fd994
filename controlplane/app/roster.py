"""Keeps a process's roster current: one reader of the log for all of its streams and calls.

    the log moves ──┐
    somebody asks ──┴─► survey (one snapshot, single flight) ─► roster ─► who listens is told what moved

Ten thousand streams that ask the database what a change means to each, or ten thousand calls that ask it who makes
them, would be what Ground Control does all day. Here both are answered from memory, and one query reads what a change
concerns.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from datetime import timedelta
from typing import Protocol

import structlog

from controlplane.app.defects import presentable
from controlplane.app.ports import ChangeFeed
from controlplane.app.tracing import NoTracer, Tracer
from controlplane.domain.commands import EntityKind
from controlplane.domain.entities import Role
from controlplane.domain.roster import Enrolled, Moved, Roster, Survey
from controlplane.domain.rules import unknown
from controlplane.domain.state import Desired
from fleet.errors import FleetError
from fleet.position import Position

_log = structlog.get_logger(__name__)

FRESH = timedelta(seconds=4)
"""How old what is answered from memory may be: a revoked satellite, and a former operator, is to be out within 5 s."""
FOLLOW = timedelta(seconds=2)
PAUSE_S = 1.0
"""After a database that did not answer."""
BREATH_S = 0.02
"""Between two surveys: what is asked meanwhile shares the next."""

_BEGINNING = Position(0, 0)

Listener = Callable[[tuple[Moved, ...] | None], None]
"""Hears what moved, after the roster has; None: anything may have."""


class Surveyor(Protocol):
    """Reads the fleet: the store."""

    async def survey(self, known: Roster, asked: Collection[str]) -> Survey:
        """Read, in one snapshot, what makes a roster current, and the satellites that are asked for beside it."""


class RosterKeeper:
    """Answers who a satellite is and what it should hold, from what `run` keeps current.

    Everything may raise FleetError UNAVAILABLE `STORE_UNAVAILABLE`.
    """

    def __init__(self, store: Surveyor, feed: ChangeFeed, tracer: Tracer | None = None) -> None:
        self._store = store
        self._feed = feed
        self._tracer = tracer or NoTracer()
        self._roster = Roster()
        self._listeners: list[Listener] = []
        self._asked: set[str] = set()
        self._next: asyncio.Future[None] | None = None
        self._stirred = asyncio.Event()

    def listen(self, listener: Listener) -> None:
        """Have `listener` told, in the event loop, of all that moves from now on."""
        self._listeners.append(listener)

    async def find(self, name: str) -> Enrolled | None:
        """Say who a satellite is, as of `FRESH` ago at most; None where nobody has the name."""
        await self._know(name, _BEGINNING)
        return self._roster.satellites.get(name)

    def known(self, name: str) -> Enrolled | None:
        """Say who a satellite is as far as this process knows."""
        return self._roster.satellites.get(name)

    def had(self, scope: str, digest: bytes) -> bool:
        """Say whether a scope had this digest a short while ago, as far as this process knows."""
        return self._roster.had(scope, digest)

    async def desired(self, name: str, after: Position | None = None) -> Desired:
        """Say what a satellite should hold, no earlier than at `after` unless the log ends before.

        Raises:
            FleetError: UNKNOWN `SATELLITE_UNKNOWN`.
        """
        await self._know(name, after or _BEGINNING)
        found = self._roster.desired(name)
        if found is None:
            raise unknown(EntityKind.SATELLITE, name)
        return found

    async def role_of(self, spiffe_id: str) -> Role | None:
        """Say which role an operator has, as of `FRESH` ago at most; None for whoever has none now."""
        role = self._roster.operators.get(spiffe_id) if self._is_fresh() else None
        if role is None:  # who has just been given one is not refused
            await self._surveyed()
        return role or self._roster.operators.get(spiffe_id)

    async def _know(self, name: str, after: Position) -> None:
        is_known = name in self._roster.satellites
        if is_known and after <= self._roster.position and self._is_fresh():
            return
        if not is_known:
            self._asked.add(name)
        await self._surveyed()
        read = None
        while read != (read := self._roster.position) and after > read:
            await self._surveyed()  # the one before may have read no further than what this process wrote

    def _is_fresh(self) -> bool:
        return self._feed.ends_at(self._roster.position, within=FRESH)

    async def _surveyed(self) -> None:
        """Wait for a survey that begins later than now."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
            self._stirred.set()
        await asyncio.shield(self._next)  # others wait for it, too

    async def run(self) -> None:
        """Survey and follow the log until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._survey())
            tasks.create_task(self._follow())

    async def _follow(self) -> None:
        while True:
            try:
                await self._surveyed()
                while self._feed.ends_at(self._roster.position, within=timedelta.max):
                    await self._feed.wait_beyond(self._roster.position, FOLLOW)
            except FleetError as error:
                _log.warning("log.unread", reason=error.reason, detail=error.detail)
                await asyncio.sleep(PAUSE_S)

    async def _survey(self) -> None:
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            asked, self._asked = self._asked, set()
            waiting, self._next = self._next, None
            try:
                with self._tracer.batch("roster.survey", satellites=len(asked)):
                    survey = await self._store.survey(self._roster, asked)
                self._take(survey)
            except Exception as error:  # noqa: BLE001 - a defect ends the calls that asked, not the process
                _fail(waiting, presentable(error, "survey.failed"))
            else:
                if waiting is not None and not waiting.done():
                    waiting.set_result(None)
            await asyncio.sleep(BREATH_S)

    def _take(self, survey: Survey) -> None:
        self._roster.take(survey)
        if survey.moved is None or survey.moved:
            for listener in self._listeners:
                listener(survey.moved)


def _fail(waiting: asyncio.Future[None] | None, error: FleetError) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_exception(error)
        waiting.exception()  # seen, even where all who asked are gone
