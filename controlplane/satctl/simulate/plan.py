"""What a simulation is to be: how many satellites, what they are like, and what happens to them."""

from __future__ import annotations

from dataclasses import dataclass

PREFIX = "sim-"
"""How every satellite that a simulation makes is named, so that it can be told from real ones, and removed."""
REGION = "sim"


@dataclass(frozen=True, slots=True)
class Plan:
    """The same for all processes."""

    failing: float = 0.0
    """Share of satellites that report an artifact as failed."""
    refusing: float = 0.0
    waiting: float = 0.0
    slow: float = 0.0
    """Share that subscribe, and then read nothing."""
    disconnects_per_minute: float = 0.0
    """Connections cut in a minute, of one process."""
    heartbeat_s: float | None = None
    """Seconds between health reports; None: as Ground Control says; 0: none."""
    ramp_per_s: float = 500.0
    """New satellites a second, of one process."""


def name_of(number: int) -> str:
    """Name one satellite: `7 → sim-00007`."""
    return f"{PREFIX}{number:05}"
