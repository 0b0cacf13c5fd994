"""How often something may happen: so many at once, and so many a second for long."""

from __future__ import annotations

import math


class Bucket:
    """Full at first; fills as time goes by. `now` is seconds of any clock that only goes forward."""

    __slots__ = ("_at", "_burst", "_left", "_per_s")

    def __init__(self, burst: float, per_s: float) -> None:
        self._burst = burst
        self._per_s = per_s
        self._left = burst
        self._at = math.inf

    def spend(self, now: float) -> float:
        """Take one, also of those that are still to come: `→ seconds until it is there`."""
        self._fill(now)
        self._left -= 1
        return max(-self._left / self._per_s, 0.0)

    def take(self, now: float) -> float:
        """Take one where it is there: `→ 0, or seconds until one is`, and none is taken."""
        self._fill(now)
        if self._left < 1:
            return (1 - self._left) / self._per_s
        self._left -= 1
        return 0.0

    def _fill(self, now: float) -> None:
        self._left = min(self._left + max(now - self._at, 0.0) * self._per_s, self._burst)
        self._at = now
