"""Which sessions are open, as the database knows it: each from its stream's beginning to its end, and no longer.

A stream may break while its session is being opened, or while the database is away. Its session is closed all the
same, as soon as that can be written: else its satellite would be called online for as long as this process lives.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from itertools import islice
from typing import Protocol

import structlog

from controlplane.app.defects import presentable
from controlplane.domain.status import Opened, SessionKey
from controlplane.rpc.board import Board, supersession
from fleet.errors import FleetError, Kind

_log = structlog.get_logger(__name__)

PAUSE_S = 1.0
"""How often a store is asked again that does not answer."""
BATCH = 500
"""Sessions that are closed together."""


class Records(Protocol):
    """Keeps sessions: the fleet."""

    async def open_session(
        self, satellite: str, boot_id: bytes, session_number: int, at: datetime | None, *, agent_version: str
    ) -> Opened:
        """Make this the satellite's one session."""

    async def close_session(self, satellite: str, boot_id: bytes, session_number: int, at: datetime | None) -> None:
        """End a session; nothing where a newer one took over."""


class Sessions:
    """Opens and closes the sessions of this process's streams."""

    def __init__(self, fleet: Records, board: Board) -> None:
        self._fleet = fleet
        self._board = board
        self._ended: dict[SessionKey, datetime] = {}
        self._stirred = asyncio.Event()

    async def open(self, session: SessionKey, agent_version: str, at: datetime) -> None:
        """Open a session; one that nobody waits for any more is closed again.

        Where it is not known whether it is open, the stream that the satellite had here ends all the same: its session
        may be another's by now, and nobody else would tell it.

        Raises:
            FleetError: as `Fleet.open_session`.
        """
        key = (session.satellite, session.boot_id, session.number)
        before = self._board.find(session.satellite)
        opening = asyncio.ensure_future(self._fleet.open_session(*key, at, agent_version=agent_version))
        try:
            await asyncio.shield(opening)
        except BaseException:
            await asyncio.wait((opening,))
            if _may_be_open(opening):
                self.close(session, at)
                if before is not None:
                    before.end(supersession())
            raise

    def close(self, session: SessionKey, at: datetime) -> None:
        """Have a session closed, soon."""
        self._ended[session] = at
        self._stirred.set()

    async def run(self) -> None:
        """Close what has ended, until cancelled, and then what is left."""
        try:
            while True:
                await self._stirred.wait()
                await self._write()
                if self._ended:
                    await asyncio.sleep(PAUSE_S)
                else:
                    self._stirred.clear()
        finally:
            await self._write()

    async def _write(self) -> None:
        """Close all that have ended; they stay in mind until that is written."""
        while turn := [*islice(self._ended.items(), BATCH)]:
            answers = await asyncio.gather(*(self._close(*each) for each in turn), return_exceptions=True)
            failures = [answer for answer in answers if isinstance(answer, Exception)]
            for (session, _), answer in zip(turn, answers, strict=True):
                if answer is None:
                    del self._ended[session]
            if failures:
                reason = presentable(failures[0], "sessions.failed").reason
                _log.info("sessions.unclosed", reason=reason, sessions=len(self._ended))
                return

    async def _close(self, session: SessionKey, at: datetime) -> None:
        await self._fleet.close_session(session.satellite, session.boot_id, session.number, at)


def _may_be_open(opening: asyncio.Future[Opened]) -> bool:
    """Say whether it is written, or may be: a store that does not answer may have done it before."""
    error = None if opening.cancelled() else opening.exception()
    return error is None or (isinstance(error, FleetError) and error.kind is Kind.UNAVAILABLE)
