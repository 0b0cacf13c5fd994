"""How soon a satellite comes back after its link broke: the rule of all who speak as one."""

from __future__ import annotations

from datetime import timedelta

AT_LEAST = timedelta(milliseconds=50)
LONGEST = timedelta(seconds=60)
SHORT = 5
"""Failures in a row that do not slow it down: with a window of 5 s, about the first quarter of a minute."""


def pause(window: timedelta, *, failures: int, chance: float) -> timedelta:
    """Say how long to wait before the next attempt.

    A link that was away for seconds is not waited for longer than the window that the server asked for; one that stays
    away is tried ever less often, since a metered modem pays for each attempt.

    Args:
        window: the reconnect window that the server asked for.
        failures: attempts in a row that came to nothing.
        chance: a random number in [0, 1).

    Returns:
        50 ms and a random part of the window, which doubles with each failure after the fifth; at most about 60 s.
    """
    doubled = window * (1 << min(max(failures - SHORT, 0), 8))
    return min(doubled, max(LONGEST, window)) * chance + AT_LEAST
