"""Chance that spreads load over time: nothing secret comes of it."""

from __future__ import annotations

import random


def chance() -> float:
    """Draw a number in [0, 1)."""
    return random.random()  # noqa: S311 - spreads load
