"""How fast one stream may talk: what is beyond waits, and so does its sender."""

from __future__ import annotations

BURST = 100.0
"""Messages at once: an inventory of ten thousand resources, and what else a start brings."""
PER_S = 10.0
"""A satellite that works sends a report at each change, and its health every 30 s."""


class Allowance:
    """A bucket of messages that fills as time goes by."""

    __slots__ = ("_at", "_left")

    def __init__(self) -> None:
        self._left = BURST
        self._at: float | None = None

    def spend(self, now: float) -> float:
        """Take one message at `now`, in seconds of any clock that only goes forward: `→ seconds to wait for it`."""
        if self._at is not None:
            self._left = min(self._left + (now - self._at) * PER_S, BURST)
        self._at = now
        self._left -= 1
        return max(-self._left / PER_S, 0.0)
