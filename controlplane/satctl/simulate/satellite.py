"""One simulated satellite: the protocol of a real one, without a registry behind it.

It holds what it is told by the real digests, reports as a real one whose images come at once (or as its fault says),
comes back after a cut at the pace of a real one, and replaces its stream before its certificate ends.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

from controlplane.satctl.simulate.site import Site, World
from controlplane.satctl.simulate.stream import Stream
from fleet import reconnect
from fleet.chance import chance
from fleet.errors import FleetError
from fleet.v1 import state_pb2

HOUR_S = 3600.0


class Satellite(Site):
    """One of many, at work."""

    __slots__ = ("_current",)

    def __init__(self, name: str, world: World, *, trouble: str = "", is_slow: bool = False) -> None:
        super().__init__(name, world, trouble=trouble, is_slow=is_slow)
        self._current: Stream | None = None

    async def run(self, delay_s: float) -> None:
        """Live until cancelled."""
        await asyncio.sleep(delay_s)
        failures = 0
        while True:
            try:
                pause_s = await self._once()
                failures = 0
            except FleetError as error:
                self.world.tally.errors[error.reason] += 1
                pause_s = self._retry_s(failures)
                if error.retry_after is not None:
                    pause_s += error.retry_after.total_seconds()
                failures += 1
            if pause_s is not None:
                await asyncio.sleep(pause_s)

    def _retry_s(self, failures: int) -> float:
        window = timedelta(seconds=self.window_s)
        return reconnect.pause(window, failures=failures, chance=chance()).total_seconds()

    async def _once(self) -> float | None:
        """Open a stream in place of the one before, and wait for its end: `→ how long to pause`.

        None where the next stream is due already: the certificate of this one will end.
        """
        before = self._current
        coming = Stream(self)
        try:
            due_s = await coming.open(before)
        except BaseException:
            coming.drop()
            if before is not None and not before.goes_on:
                before.drop()
                self._current = None
            raise
        if before is not None:
            before.drop()
        self._current = coming
        try:
            async with asyncio.timeout(due_s):
                goodbye = await asyncio.shield(coming.over)
        except TimeoutError:
            return None
        finally:
            if coming.over.done() or asyncio.current_task().cancelling():  # type: ignore[union-attr] # we are one
                coming.drop()
                self._current = None
        return self.left_s(goodbye)

    def left_s(self, goodbye: state_pb2.Goodbye | None) -> float:
        """Say how long to wait after the end of a stream."""
        if goodbye is None:
            self.world.tally.errors["LINK_LOST"] += 1
            return self._retry_s(0)
        self.world.tally.errors[state_pb2.GoodbyeReason.Name(goodbye.reason)] += 1
        if goodbye.reason == state_pb2.GOODBYE_REASON_SVID_EXPIRED:
            return 0.05
        if goodbye.reason in (state_pb2.GOODBYE_REASON_REVOKED, state_pb2.GOODBYE_REASON_UPGRADE_REQUIRED):
            return HOUR_S
        return goodbye.retry_after.ToTimedelta().total_seconds() + self.window_s * chance()

    def cut(self) -> None:
        """Lose the connection, as a link that breaks does it."""
        if self._current is not None:
            self.was_cut = True
            self._current.connection_lost()
