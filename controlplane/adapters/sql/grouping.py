"""Many small writes in one commit: what satellites say of themselves, when all of them say it at once.

A commit costs a flush to disk whatever it holds. Ten thousand satellites that reconnect would cost ten thousand; here
those that wait while one commit is under way share the next. A single write waits for nobody, and after it nobody
writes for a moment: a transaction of one costs as much as one of thirty.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from sqlmodel import Session

from controlplane.adapters.sql.engine import Database
from fleet.errors import FleetError

T = TypeVar("T")
Item = TypeVar("Item")
Result = TypeVar("Result")

LARGEST = 256
"""Writes in one commit: some 15 ms of work, which the log's writers wait for."""
APART_S = 0.05
"""Between the beginnings of two commits: what comes meanwhile shares the next."""


@dataclass(slots=True)
class _Waiting:
    satellite: str
    work: Any
    """What to do: a function of the session, or an item of a bulk."""
    future: asyncio.Future[Any]
    result: Any = None
    error: FleetError | None = None


class GroupWriter:
    """Commits small, independent writes about satellites together; each stands or falls by itself.

    Args:
        database: where to write.
        load: brings the rows of satellites into the session, locked, all at once; what it returns keeps them there.
    """

    def __init__(self, database: Database, load: Callable[[Session, Sequence[str]], object]) -> None:
        self._database = database
        self._load = load
        self._waiting: list[_Waiting] = []
        self._busy = False
        self._begun = -APART_S
        self._lock = threading.Lock()

    async def write(self, satellite: str, work: Callable[[Session], T]) -> T:
        """Run a write in a commit shared with others. Where the work raises a FleetError it has written nothing.

        Raises:
            FleetError: UNAVAILABLE `STORE_UNAVAILABLE` or `STORE_FULL`, and whatever the work raises.
        """
        result: T = await self._enqueue(satellite, work)
        return result

    async def _enqueue(self, satellite: str, work: Any) -> Any:  # noqa: ANN401 - what `_run` does with it, and answers
        loop = asyncio.get_running_loop()
        waiting = _Waiting(satellite, work, loop.create_future())
        with self._lock:
            self._waiting.append(waiting)
            start, self._busy = not self._busy, True
        if start:
            self._submit(loop)
        return await waiting.future

    def _submit(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have the next batch committed in its time."""
        loop.call_at(max(loop.time(), self._begun + APART_S), self._database.submit_write, lambda: self._drain(loop))

    def _drain(self, loop: asyncio.AbstractEventLoop) -> None:
        """Commit one batch, in a writer's thread, and queue up again behind whoever else wants to write."""
        self._begun = loop.time()
        with self._lock:
            batch, self._waiting = self._waiting[:LARGEST], self._waiting[LARGEST:]
        self._commit(batch, loop)
        with self._lock:
            self._busy = more = bool(self._waiting)
        if more:
            loop.call_soon_threadsafe(self._submit, loop)

    def _commit(self, batch: list[_Waiting], loop: asyncio.AbstractEventLoop) -> None:
        failure: Exception | None = None
        try:
            with self._database.tracer.batch("database.write_group", writes=len(batch)):
                self._database.transact(partial(self._run, batch))
        except Exception as error:  # noqa: BLE001 it belongs to those who wait
            failure = error
        if failure and len(batch) > 1 and not isinstance(failure, FleetError):
            for waiting in batch:  # one that the database does not take must not take the others along
                self._commit([waiting], loop)
            return
        loop.call_soon_threadsafe(_answer, batch, failure)

    def _run(self, batch: list[_Waiting], session: Session) -> None:
        loaded = self._load(session, sorted({waiting.satellite for waiting in batch}))
        with session.no_autoflush:  # the rows are written in few statements at the end, not one by one
            for waiting in batch:
                waiting.result = waiting.error = None  # a transaction that lost a race is run again
                try:
                    waiting.result = waiting.work(session)
                except FleetError as error:
                    waiting.error = error
        session.flush()
        del loaded


def _answer(batch: list[_Waiting], failure: Exception | None) -> None:
    for waiting in batch:
        if waiting.future.done():  # its task was cancelled
            continue
        if error := failure or waiting.error:
            waiting.future.set_exception(error)
        else:
            waiting.future.set_result(waiting.result)


class BulkWriter(GroupWriter, Generic[Item, Result]):
    """Commits many writes of one kind by few statements, where a statement for each would be what costs.

    Args:
        database: where to write.
        work: writes all of a batch, and answers for each.
    """

    def __init__(self, database: Database, work: Callable[[Session, Sequence[Item]], Sequence[Result]]) -> None:
        super().__init__(database, lambda _session, _satellites: None)
        self._work = work

    async def put(self, satellite: str, item: Item) -> Result:
        """Write one item in a commit shared with others.

        Raises:
            FleetError: UNAVAILABLE `STORE_UNAVAILABLE` or `STORE_FULL`.
        """
        return await self._enqueue(satellite, item)  # type: ignore[no-any-return] # what `work` answers

    def _run(self, batch: list[_Waiting], session: Session) -> None:
        answers = self._work(session, [waiting.work for waiting in batch])
        for waiting, answer in zip(batch, answers, strict=True):
            waiting.result = answer
