"""How many satellites may come in, and how often one of them: by what they cost, and by who they are.

Behind one address there may be a thousand of them, so no address is limited: an identity is. One that calls without
end is told to wait before it costs more than its handshake. And where more arrive than can be answered in time, those
beyond are told when their turn will have come, while the others get through: if all were tried at once they would time
out, and try again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from datetime import timedelta

from controlplane.rpc.bucket import Bucket
from fleet.errors import FleetError, Kind

BURST = 60.0
"""Calls that one satellite may make at once."""
CALLS_PER_S = 1.0
"""Calls that one satellite may make for long: one whose link flaps makes fewer."""
REMEMBERED = 50_000
"""Satellites whose calls are counted; whoever called longest ago is forgotten."""
PATIENCE_S = 18.0
"""How long who is let in may wait for its first answer: satellites give up after 20 s."""
ARRIVAL_S = 0.006
"""What an arrival takes of a core, from its handshake to its first answer.

It is not measured on the way: in a crowd all handshakes come first, and answers seem slow until they come at once.
"""
FORGOTTEN_S = 30.0
"""Who was let in and has not got an answer by then has gone elsewhere."""


class Turnstile:
    """Counts the calls of each satellite, and those on their way in.

    Args:
        clock: seconds of a clock that only goes forward.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._calls: OrderedDict[str, Bucket] = OrderedDict()
        self._arriving: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._arriving)

    def call(self, satellite: str) -> None:
        """Count one call.

        Raises:
            FleetError: EXHAUSTED `TOO_MANY_CALLS`.
        """
        calls = self._calls.get(satellite)
        if calls is None:
            calls = self._calls[satellite] = Bucket(BURST, CALLS_PER_S)
            if len(self._calls) > REMEMBERED:
                self._calls.popitem(last=False)
        self._calls.move_to_end(satellite)
        wait_s = calls.take(self._clock())
        if wait_s:
            text, wait = "this satellite calls too often", timedelta(seconds=wait_s + 1)
            raise FleetError(Kind.EXHAUSTED, "TOO_MANY_CALLS", text, subject=satellite, retry_after=wait)

    def arrive(self, satellite: str) -> None:
        """Let a satellite in that wants to open a stream.

        Raises:
            FleetError: EXHAUSTED `BUSY`.
        """
        now = self._clock()
        self._arriving.pop(satellite, None)
        while self._arriving and next(iter(self._arriving.values())) < now - FORGOTTEN_S:
            self._arriving.popitem(last=False)
        wait_s = len(self._arriving) * ARRIVAL_S
        if wait_s > PATIENCE_S:
            text = "more satellites arrive than can be answered at once"
            raise FleetError(Kind.EXHAUSTED, "BUSY", text, retry_after=timedelta(seconds=wait_s))
        self._arriving[satellite] = now

    def arrived(self, satellite: str) -> None:
        """Take note that one of those has its first answer, or is gone without."""
        self._arriving.pop(satellite, None)
