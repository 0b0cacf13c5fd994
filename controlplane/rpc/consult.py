"""The store as a thousand streams ask it at once: one query for all, and one delta made for all."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from controlplane.app.defects import presentable
from controlplane.app.fleet import Fleet
from controlplane.domain.state import Binding

MAX_KNOWN = 10_000
"""Pairs of scope and digest that are remembered as known; a generation never changes. What is remembered may have been
compacted since: whoever makes a delta from it finds out, and forgets it."""

Generation = tuple[str, bytes]
"""A scope, and the digest that it has in one generation."""


class Consultant:
    """Says which digests a scope has had, to all who ask at once by one query."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._known: OrderedDict[Generation, None] = OrderedDict()
        self._unsure: dict[Generation, asyncio.Future[bool]] = {}
        self._puzzled = asyncio.Event()

    async def knows(self, scope: str, digest: bytes) -> bool:
        """Say whether a scope is known to have had this digest."""
        key = (scope, digest)
        if key in self._known:
            self._known.move_to_end(key)
            return True
        unsure = self._unsure.get(key)
        if unsure is None:
            unsure = self._unsure[key] = asyncio.get_running_loop().create_future()
            self._puzzled.set()
        return await asyncio.shield(unsure)  # all who hold a scope that changes ask this at the same moment

    def forget(self, scope: str, digest: bytes) -> None:
        """Ask again, the next time: it is not known any more."""
        self._known.pop((scope, digest), None)

    async def run(self) -> None:
        """Answer until cancelled."""
        while True:
            await self._puzzled.wait()
            self._puzzled.clear()
            asked, self._unsure = self._unsure, {}
            await asyncio.gather(*(self._look_up(key, future) for key, future in asked.items()))

    async def _look_up(self, key: Generation, future: asyncio.Future[bool]) -> None:
        try:
            known = await self._fleet.knows(*key)
        except Exception as error:  # noqa: BLE001 - a defect ends the streams that asked, not the process
            if not future.done():
                future.set_exception(presentable(error, "consultation.failed"))
                future.exception()  # seen, even where the stream that asked is gone
            return
        if known:
            self._known[key] = None
            if len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)
        if not future.done():
            future.set_result(known)


Step = tuple[str, bytes, Binding]
"""(scope, from digest, what it leads to): a step that is the same for every satellite that makes it.

A generation's number alone would not do: where an older database is restored, it comes once more."""

MAX_CACHED_BYTES = 64 * 1024 * 1024
"""Deltas kept to be shared: the newest steps of the scopes that change."""


class SharedParts:
    """The parts of deltas by step, made once for all streams; the least recently used go first, bounded by bytes."""

    def __init__(self, most_bytes: int = MAX_CACHED_BYTES) -> None:
        self._most = most_bytes
        self._held: OrderedDict[Step, tuple[bytes, ...]] = OrderedDict()
        self._size = 0
        self._making: dict[Step, asyncio.Lock] = {}

    async def get(self, step: Step, make: Callable[[], Awaitable[tuple[bytes, ...]]]) -> tuple[bytes, ...]:
        """Find a step's parts, or have them made by the first who asks while the others wait."""
        found = self._find(step)
        if found is not None:
            return found
        lock = self._making.setdefault(step, asyncio.Lock())
        try:
            async with lock:
                found = self._find(step)
                if found is None:
                    found = await make()
                    self._keep(step, found)
                return found
        finally:
            if self._making.get(step) is lock and not lock.locked():
                del self._making[step]

    def _find(self, step: Step) -> tuple[bytes, ...] | None:
        found = self._held.get(step)
        if found is not None:
            self._held.move_to_end(step)
        return found

    def _keep(self, step: Step, parts: tuple[bytes, ...]) -> None:
        size = sum(map(len, parts))
        if step in self._held or size > self._most:
            return
        self._held[step] = parts
        self._size += size
        while self._size > self._most:
            _, dropped = self._held.popitem(last=False)
            self._size -= sum(map(len, dropped))
