"""What satellites say of themselves, and how the fleet looks from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import IntEnum, unique

from controlplane.domain.entities import Lifecycle, Position


@unique
class ArtifactState(IntEnum):
    """Where one artifact stands at a site; the numbers are the contract's."""

    UNREPORTED = 0
    PUBLISHED = 1
    WAITING = 2
    REFUSED = 3
    FAILED = 4
    WARNED = 5


@unique
class StepOutcome(IntEnum):
    """How one step of a verdict ended; the numbers are the contract's."""

    UNSPECIFIED = 0
    PASSED = 1
    FAILED = 2
    WARNED = 3


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a verdict on an image."""

    text: str
    outcome: StepOutcome
    reason: str = ""
    authority: str = ""
    evidence_digest: str = ""
    signer: str = ""


@dataclass(frozen=True, slots=True)
class ResourceException:
    """One resource that is not as desired, and why. An empty scope is the merged state."""

    kind: int
    name: str
    scope: str = ""
    state: ArtifactState = ArtifactState.UNREPORTED
    reason: str = ""
    text: str = ""
    since: datetime | None = None
    serving_digest: str = ""
    done_bytes: int = 0
    total_bytes: int = 0
    retry_at: datetime | None = None
    rate_bytes_per_s: int = 0
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """The whole of what a satellite has to say of its state; each replaces the one before."""

    sequence: int
    position: Position | None
    held_digest: bytes
    enforced_digest: bytes = b""
    desired: int = 0
    published: int = 0
    waiting: int = 0
    refused: int = 0
    failed: int = 0
    exceptions: tuple[ResourceException, ...] = ()
    exceptions_omitted: int = 0
    foreign_withdrawn: int = 0
    registry_kind: str = ""
    registry_exclusive: bool = False
    revocation_epoch: int = 0
    warned: int = 0


def only_progressed(before: Report | None, after: Report) -> bool:
    """Say whether a report tells no more than how far things are: it can wait, and be left out for a later one."""
    if before is None or before.position != after.position or len(before.exceptions) != len(after.exceptions):
        return False  # most reports: found without making anything
    return _without_progress(before) == _without_progress(after)


def _without_progress(report: Report) -> Report:
    exceptions = tuple(
        replace(each, done_bytes=0, total_bytes=0, rate_bytes_per_s=0, retry_at=None) for each in report.exceptions
    )
    return replace(report, sequence=0, exceptions=exceptions)


@dataclass(frozen=True, slots=True)
class BudgetHealth:
    """How one budget of bytes stands; the period is a number of the contract's."""

    period: int
    limit_bytes: int
    left_bytes: int
    renews_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class LinkHealth:
    """What a site's link allows it to fetch."""

    is_open: bool
    until: datetime | None = None
    rate_bytes_per_second: int = 0
    budgets: tuple[BudgetHealth, ...] = ()


@dataclass(frozen=True, slots=True)
class Health:
    """How a site's machine and registry are."""

    measured_at: datetime | None = None
    cpu_fraction: float = 0.0
    memory_used_bytes: int = 0
    memory_total_bytes: int = 0
    satellite_rss_bytes: int = 0
    disk_free_bytes: int = 0
    disk_total_bytes: int = 0
    repositories: int = 0
    artifacts: int = 0
    artifact_bytes: int = 0
    pending_bytes: int = 0
    registry_healthy: bool = False
    started_at: datetime | None = None
    svid_expires_at: datetime | None = None
    link: LinkHealth | None = None


@dataclass(frozen=True, slots=True)
class SatelliteStatus:
    """Where a satellite stands. In lists the report comes without its exceptions."""

    satellite: str
    lifecycle: Lifecycle
    last_seen_at: datetime | None
    desired_digest: bytes
    converged: bool
    report: Report | None
    health: Health | None
    agent_version: str
    duplicate_identity: bool
    store_behind: bool
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ChangedStatuses:
    """Statuses that changed, the oldest change first."""

    statuses: tuple[SatelliteStatus, ...]
    more_after: datetime | None = None
    """There may be more, from this time on. None: these are all."""


@dataclass(frozen=True, slots=True)
class ArtifactStatus:
    """Where one desired artifact stands at one satellite; UNREPORTED until it reports on this state."""

    name: str
    digest: str
    state: ArtifactState
    reason: str
    text: str
    scope: str
    local_reference: str
    done_bytes: int = 0
    total_bytes: int = 0
    retry_at: datetime | None = None
    rate_bytes_per_s: int = 0
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class FleetStatus:
    """Counts of the whole fleet."""

    satellites: int
    online: int
    stale: int
    pending: int
    revoked: int
    converged: int
    with_exceptions: int
    groups: int
    artifacts: int
    position: Position
    at: datetime


@dataclass(frozen=True, slots=True)
class SessionKey:
    """Names one session of one satellite: the boot id of its process and the count of its streams."""

    satellite: str
    boot_id: bytes
    number: int


@dataclass(frozen=True, slots=True)
class Opened:
    """What opening a session did.

    `superseded`: an older session was open and has lost; `duplicate`: a boot id that had been superseded came back, so
    that two processes live on one identity.
    """

    superseded: SessionKey | None
    duplicate: bool
