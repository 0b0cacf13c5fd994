"""When something that went wrong is worth another try: by what it was, later each time, spread by chance."""

from __future__ import annotations

from datetime import timedelta

from edge.domain.link import WAITS
from fleet.errors import FleetError, Kind

REFUSED_RETRY = timedelta(minutes=3)
"""A verdict: the signature may have been added since. New rules are judged by at once."""
_FIRST = {
    Kind.UNAVAILABLE: timedelta(seconds=1),
    Kind.EXHAUSTED: timedelta(seconds=5),
    Kind.CONFLICT: timedelta(seconds=1),
    Kind.UNKNOWN: timedelta(seconds=10),
    Kind.CORRUPT: timedelta(seconds=10),
}
_SPREAD = timedelta(seconds=2)
"""After a wait that ends at a known time for all at once."""
_FIRST_OF_OTHERS = timedelta(seconds=15)
_LONGEST = {Kind.UNAVAILABLE: timedelta(minutes=1), Kind.CONFLICT: timedelta(seconds=30)}
_LONGEST_OF_OTHERS = timedelta(minutes=5)


def pause(error: FleetError, *, failures: int, chance: float) -> timedelta:
    """Say how long to wait.

    Args:
        error: what went wrong.
        failures: how often in a row before this one.
        chance: a random number in [0, 1).
    """
    if error.reason in WAITS and error.retry_after is not None:
        return error.retry_after + _SPREAD * chance
    first = _FIRST.get(error.kind, _FIRST_OF_OTHERS)
    longest = _LONGEST.get(error.kind, _LONGEST_OF_OTHERS)
    wait: timedelta = min(first * (1 << min(failures, 12)), longest) * (0.75 + chance / 2)
    return max(wait, error.retry_after or timedelta())
