"""How long the past is kept, and what goes with it."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from datetime import timedelta

KEPT = timedelta(days=35)
"""A satellite that was away for a month gets what it missed; one away for longer is asked what it holds."""
_SHORTEST, _LONGEST = timedelta(seconds=1), timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Dropped:
    """Rows that are gone."""

    changes: int = 0
    generations: int = 0
    intervals: int = 0
    bodies: int = 0
    tokens: int = 0

    def __add__(self, other: Dropped) -> Dropped:
        """Count both."""
        return Dropped(*(mine + its for mine, its in zip(astuple(self), astuple(other), strict=True)))

    def __bool__(self) -> bool:
        """Say whether anything is."""
        return any(astuple(self))


def pace(kept: timedelta) -> timedelta:
    """Say how often to look for what is old enough: a small part of what is kept, and no less than once an hour."""
    return min(max(kept / 20, _SHORTEST), _LONGEST)
