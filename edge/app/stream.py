"""One connection to Ground Control and the stream on it: performs what `edge.domain.session` decides."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING

from edge.app.ground_control import Link, Stream
from edge.domain import session as table
from edge.domain.report import Report
from edge.domain.session import GoodbyeTold, Leave
from fleet.errors import FleetError
from fleet.protocol import Farewell

if TYPE_CHECKING:
    from edge.app.control import Control

INBOX = 16
"""Messages that wait for the pump; past them the server's own flow control holds."""
FIRST_ANSWER_S = 30.0
"""A server that has not answered a Subscribe by then is left."""


class Run:
    """One connection and its stream, in a task of its own."""

    def __init__(self, control: Control, number: int, tasks: asyncio.TaskGroup) -> None:
        self._control = control
        self._number = number
        self._tasks = tasks
        self._session = table.Session()
        self._is_live = asyncio.Event()
        self.is_retired = False
        self._left: Leave | None = None
        self._task: asyncio.Task[None] | None = None
        self._before: Run | None = None
        self._last_report: Report | None = None

    async def until_live(self, before: Run | None) -> Leave | None:
        """Start, and wait for the first answer; then drop the run before. The Leave where it did not get there.

        The run before is dropped in that case too where Ground Control has turned us away, or this one took its place.
        """
        self._before = before
        self._task = self._tasks.create_task(self._run(), name=f"stream {self._number}")
        waiting = asyncio.ensure_future(self._is_live.wait())
        try:
            async with asyncio.timeout(FIRST_ANSWER_S):
                await asyncio.wait((self._task, waiting), return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            self._left = Leave(None, "no answer came in time")
        finally:
            waiting.cancel()
        left = None if self._is_live.is_set() else self._left or Leave(None, "the stream ended")
        if left is not None:
            self.drop()
        if before is not None and (left is None or not before.goes_on or _is_farewell(left, Farewell.REVOKED)):
            before.drop()
        return left

    async def until_left_or_due(self, due: timedelta) -> Leave | None:
        """Wait until the stream ends, or the next one is due: `→ how it ended, or None`."""
        if self._task is None:
            raise TypeError("it was never started")
        await asyncio.wait((self._task,), timeout=due.total_seconds())
        if not self._task.done():
            return None
        return self._left or Leave(None, "the stream ended")

    @property
    def goes_on(self) -> bool:
        """Say whether it is still the stream that counts, and open."""
        return not self.is_retired and self._left is None and self._task is not None and not self._task.done()

    def drop(self) -> None:
        """End it without a word."""
        self.is_retired = True
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        try:
            async with AsyncExitStack() as stack:
                link = await stack.enter_async_context(self._control.connect())
                self._control.took(await link.attest(self._control.clock.read()))
                stream = await stack.enter_async_context(link.stream())
                if self._before is not None:
                    self._before.is_retired = True  # from here on this run is the one that counts
                self._before = None  # or each run would keep all before it
                await self._pump(link, stream)
        except* FleetError as errors:
            self._leave_for(_first(errors))

    def _leave_for(self, error: FleetError) -> None:
        if error.reason == "REVOKED":
            goodbye = GoodbyeTold(Farewell.REVOKED, error.text, error.retry_after)
            self._left = self._left or Leave(goodbye, error.text)
            return
        wait = GoodbyeTold(Farewell.DRAINING, error.public, error.retry_after) if error.retry_after else None
        self._left = self._left or Leave(wait, f"{error.reason}: {error.public}")

    async def _pump(self, link: Link, stream: Stream) -> None:
        inbox: asyncio.Queue[table.Event] = asyncio.Queue(INBOX)
        helpers: list[Coroutine[None, None, None]] = [_read(stream, inbox), self._watch_reports(inbox)]
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(helper) for helper in helpers]
            async with self._control.changing:  # what the run before has in hand is part of what this one opens with
                staged = self._control.opening(self._number).staged
            await self._take(table.Opened(staged), stream)
            while self._left is None:
                event = await inbox.get()
                if self.is_retired:
                    continue
                if isinstance(event, table.Received):
                    self._control.clock.told(event.server_time)
                    if not self._is_live.is_set() and not isinstance(event.body, GoodbyeTold):
                        self._is_live.set()
                        self._control.live(self._number, link, stream)
                await self._take(event, stream)
            for task in running:
                task.cancel()

    async def _watch_reports(self, inbox: asyncio.Queue[table.Event]) -> None:
        await self._is_live.wait()
        with self._control.reports.listener() as occasions:
            while True:
                await occasions.wait(len(self._last_report.exceptions) if self._last_report else 0)
                if self._control.report() != self._last_report:
                    await inbox.put(table.ReportReady())

    async def _take(self, event: table.Event, stream: Stream) -> None:
        self._session, effects = table.step(self._session, event)
        for effect in effects:
            answer = await self._perform(effect, stream)
            if answer is not None:
                await self._take(answer, stream)

    async def _perform(self, effect: table.Effect, stream: Stream) -> table.Event | None:
        control = self._control
        match effect:
            case table.Subscribe():
                await stream.subscribe(control.opening(self._number))
            case table.Stage():
                await self._change(lambda: control.stage(effect))
            case table.Apply():
                return await self._change(lambda: control.apply(effect, stream))
            case table.Adopt():
                return control.adopt(effect)
            case table.SendInventory(scopes):
                for scope in scopes:
                    held = control.holding.get(scope)
                    await stream.inventory(scope, held.resources.values() if held else ())
            case table.SendResync(scope, digest):
                await stream.resync(scope, digest)
            case table.SendReport(sequence):
                self._last_report = control.report()
                await stream.report(sequence, self._last_report)
            case Leave():
                self._left = effect
        return None

    async def _change(self, change: Callable[[], Coroutine[None, None, table.Event | None]]) -> table.Event | None:
        """Change what is held or staged, unless the next run has taken over; once begun, to its end."""
        async with self._control.changing:
            if self.is_retired:
                return None
            return await _whole(asyncio.ensure_future(change()))


async def _whole(task: asyncio.Future[table.Event | None]) -> table.Event | None:
    """Wait for a change to its end, however often that is broken off: a thread cannot be called back.

    What it did is enforced, and nobody else begins before it is done.
    """
    broken_off = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as error:
            broken_off = error
    if broken_off is not None:
        raise broken_off
    return task.result()


async def _read(stream: Stream, inbox: asyncio.Queue[table.Event]) -> None:
    while (received := await stream.receive()) is not None:
        await inbox.put(received)
    await inbox.put(table.Lost("Ground Control closed the stream"))


def _is_farewell(left: Leave, why: Farewell) -> bool:
    return left.goodbye is not None and left.goodbye.why is why


def _first(errors: BaseExceptionGroup[FleetError]) -> FleetError:
    """Find one error in a group of groups."""
    found = errors.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found
