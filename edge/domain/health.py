"""How a site's machine and registry are, as a value."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from edge.domain.link import LinkStanding


@dataclass(frozen=True, slots=True)
class Machine:
    """What the operating system says."""

    cpu_fraction: float
    """Share of all cores in use since the last measurement: 0 to 1."""
    memory_used_bytes: int
    memory_total_bytes: int
    satellite_rss_bytes: int
    disk_free_bytes: int
    disk_total_bytes: int


@dataclass(frozen=True, slots=True)
class Inventory:
    """What is published."""

    repositories: int
    artifacts: int
    size_bytes: int
    """Of everything, each blob counted once."""


@dataclass(frozen=True, slots=True)
class Health:
    """One measurement of the whole."""

    measured_at: datetime
    started_at: datetime
    machine: Machine
    inventory: Inventory
    pending_bytes: int
    registry_healthy: bool
    svid_expires_at: datetime | None
    link: LinkStanding | None = None
    """What may be fetched from sources; None where nothing limits it."""
