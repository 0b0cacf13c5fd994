"""The processes of one Ground Control: kept alive together, replaced one at a time, stopped in order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import structlog

from controlplane.children import Child
from fleet.errors import FleetError, Kind

_log = structlog.get_logger(__name__)

START_S = 60.0
MAX_STARTS = 3
"""Attempts before a child's first readiness; after it, a crash is always answered by a restart."""


class Crew:
    """Children at work.

    Attributes:
        failed: has the error of the first child that cannot be started.
    """

    def __init__(self, children: Sequence[Child], *, patience_s: float) -> None:
        """Take in children; `start` starts them.

        Args:
            children: in the order of their start.
            patience_s: how long each may take to end before it is killed.
        """
        self._patience_s = patience_s
        self._children = list(children)
        self._keepers: dict[Child, asyncio.Task[None]] = {}
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def pids(self) -> dict[str, int]:
        """The processes that serve, by name."""
        return {child.name: child.pid for child in self._children}

    def start(self) -> None:
        """Start all of them."""
        for child in self._children:
            self._keep(child, MAX_STARTS)

    async def ready(self) -> None:
        """Wait until all are ready.

        Raises:
            FleetError: UNAVAILABLE `START_LATE`.
        """
        try:
            async with asyncio.timeout(START_S):
                for child in self._children:
                    await child.ready.wait()
        except TimeoutError as error:
            text = "not every process was ready in time: its log says why"
            raise FleetError(Kind.UNAVAILABLE, "START_LATE", text) from error

    async def replace(self, name: str) -> float:
        """Start a child's successor beside it, and stop it once that one is ready; it stays where that fails.

        Returns:
            How many seconds it took to stop.

        Raises:
            FleetError: UNAVAILABLE `CHILD_FAILED`, `START_LATE`.
        """
        before = next(child for child in self._children if child.name == name)
        coming = before.successor()
        keeper = asyncio.create_task(coming.keep(most_starts=1), name=name)
        try:
            await _first_ready(coming, keeper)
        except BaseException:
            keeper.cancel()
            await _stopped(coming, keeper, 0)
            raise
        self._children[self._children.index(before)] = coming
        self._watch(coming, keeper)
        begun = asyncio.get_running_loop().time()
        await _stopped(before, self._keepers[before], self._patience_s)
        del self._keepers[before]
        return asyncio.get_running_loop().time() - begun

    async def stop(self) -> None:
        """Stop workers first, so that they can still answer for what is under way; then the authority."""
        for child in self._keepers:
            child.expect_end()
        for group in ([c for c in self._keepers if c.reports], [c for c in self._keepers if not c.reports]):
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*(child.stop(self._patience_s) for child in group))
        for keeper in self._keepers.values():
            keeper.cancel()
        await asyncio.gather(*self._keepers.values(), return_exceptions=True)

    def _keep(self, child: Child, most_starts: int) -> None:
        self._watch(child, asyncio.create_task(child.keep(most_starts=most_starts), name=child.name))

    def _watch(self, child: Child, keeper: asyncio.Task[None]) -> None:
        self._keepers[child] = keeper
        keeper.add_done_callback(self._ended)

    def _ended(self, keeper: asyncio.Task[None]) -> None:
        if not keeper.cancelled() and (error := keeper.exception()) is not None and not self.failed.done():
            self.failed.set_exception(error)


async def _first_ready(child: Child, keeper: asyncio.Task[None]) -> None:
    waiting = asyncio.create_task(child.ready.wait())
    try:
        async with asyncio.timeout(START_S):
            await asyncio.wait((waiting, keeper), return_when=asyncio.FIRST_COMPLETED)
    except TimeoutError as error:
        text = "a process was not ready in time: its log says why"
        raise FleetError(Kind.UNAVAILABLE, "START_LATE", text, subject=child.name) from error
    finally:
        waiting.cancel()
    if not child.ready.is_set():
        await keeper  # it says why


async def _stopped(child: Child, keeper: asyncio.Task[None], patience_s: float) -> None:
    await child.stop(patience_s)
    await asyncio.gather(keeper, return_exceptions=True)
