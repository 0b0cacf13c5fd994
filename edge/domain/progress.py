"""How far an artifact on its way is: what happens to it at the moment, its bytes, and how fast they come."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum, unique

MEMORY_S = 5.0
"""What came this long ago counts a third of what comes now: smooth, and a stall shows within seconds."""
_SHORTEST_S = 1.0
"""Less time than this says nothing of a rate."""
_SILENT_S = 4 * MEMORY_S
"""Nothing for so long is a rate of nothing."""


@unique
class Phase(StrEnum):
    """What happens to an artifact that is on its way: the reason why it is not there yet."""

    QUEUED = "QUEUED"
    """It waits for its turn."""
    JUDGING = "JUDGING"
    """Its manifest and signatures are fetched and judged."""
    TRANSFERRING = "TRANSFERRING"
    """Its blobs come."""
    PUBLISHING = "PUBLISHING"
    """Its manifests and its tag are written."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Bytes a second: a mean over the time since the first byte, in which what is past fades."""

    begun_s: float
    """On a monotonic clock, as all times here."""
    at_s: float
    level: float = 0.0

    def came(self, size_bytes: int, at_s: float) -> Rate:
        """Count bytes that came."""
        return replace(self, at_s=at_s, level=self._faded(at_s) + size_bytes / MEMORY_S)

    def at(self, at_s: float) -> int:
        """Say the rate of a moment, bytes a second."""
        if at_s - self.at_s > _SILENT_S:
            return 0
        seen_s = max(at_s - self.begun_s, _SHORTEST_S)
        return round(self._faded(at_s) / -math.expm1(-seen_s / MEMORY_S))

    def _faded(self, at_s: float) -> float:
        return self.level * math.exp(-max(at_s - self.at_s, 0.0) / MEMORY_S)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one edition is."""

    phase: Phase | None = None
    """None: nothing happens to it; what has come of it counts when it goes on."""
    done_bytes: int = 0
    """Bytes at the site, also those that did not have to come."""
    total_bytes: int = 0
    """Zero: not known yet."""
    rate_bytes_per_s: int = 0
    """Over the link alone."""


def time_left(done_bytes: int, total_bytes: int, rate_bytes_per_s: int) -> timedelta | None:
    """Say how long the rest takes at this rate; None where nothing comes."""
    if not rate_bytes_per_s:
        return None
    return timedelta(seconds=max(total_bytes - done_bytes, 0) / rate_bytes_per_s)
