"""Many small writes in one commit: what satellites say of themselves, when all of them say it at once.

A commit costs a flush to disk whatever it holds. Ten thousand satellites that reconnect would cost ten thousand; here
those that wait while one commit is under way share the next. A single write waits for nobody.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from sqlmodel import Session

from controlplane.adapters.sql.engine import Database
from fleet.errors import FleetError

T = TypeVar("T")

LARGEST = 256
"""Writes in one commit: some 50 ms of work, which the log's writers wait for."""


@dataclass(slots=True)
class _Waiting:
    work: Callable[[Session], Any]
    future: asyncio.Future[Any]
    result: Any = None
    error: FleetError | None = None


class GroupWriter:
    """Commits small, independent writes together; each stands or falls by itself."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: list[_Waiting] = []
        self._busy = False
        self._lock = threading.Lock()

    async def write(self, work: Callable[[Session], T]) -> T:
        """Run a write in a commit shared with others. Where the work raises a FleetError it has written nothing.

        Raises:
            FleetError: UNAVAILABLE `STORE_UNAVAILABLE` or `STORE_FULL`, and whatever the work raises.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(work, loop.create_future())
        with self._lock:
            self._waiting.append(waiting)
            start, self._busy = not self._busy, True
        if start:
            self._database.submit_write(lambda: self._drain(loop))
        result: T = await waiting.future
        return result

    def _drain(self, loop: asyncio.AbstractEventLoop) -> None:
        """Commit one batch, in a writer's thread, and queue up again behind whoever else wants to write."""
        with self._lock:
            batch, self._waiting = self._waiting[:LARGEST], self._waiting[LARGEST:]
            self._busy = bool(batch)
        if not batch:
            return
        failure: BaseException | None = None
        try:
            self._database.transact(partial(_run, batch))
        except Exception as error:  # noqa: BLE001 it belongs to those who wait
            failure = error
        loop.call_soon_threadsafe(_answer, batch, failure)
        self._database.submit_write(lambda: self._drain(loop))


def _run(batch: list[_Waiting], session: Session) -> None:
    for waiting in batch:
        waiting.result = waiting.error = None  # a transaction that lost a race is run again
        try:
            waiting.result = waiting.work(session)
        except FleetError as error:
            waiting.error = error


def _answer(batch: list[_Waiting], failure: BaseException | None) -> None:
    for waiting in batch:
        if waiting.future.done():  # its task was cancelled
            continue
        if error := failure or waiting.error:
            waiting.future.set_exception(error)
        else:
            waiting.future.set_result(waiting.result)
