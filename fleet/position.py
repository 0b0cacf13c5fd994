"""Where in the log of changes something was computed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A point in the log; orders by epoch, then revision.

    The epoch rises only when an operator recovers a restored database, so a position that is ahead of the store says
    that the store has forgotten something.
    """

    epoch: int
    revision: int

    def following(self) -> Position:
        """Say where the next change comes."""
        return Position(self.epoch, self.revision + 1)

    def __str__(self) -> str:
        return f"{self.epoch}.{self.revision}"
