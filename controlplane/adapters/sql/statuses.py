"""Where satellites stand: their word compared with what they should hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from sqlmodel import Session, col, func, select

from controlplane.adapters.sql import rows
from controlplane.adapters.sql.batches import batches
from controlplane.adapters.sql.census import read_census
from controlplane.adapters.sql.desired import read_desired
from controlplane.adapters.sql.documents import from_document
from controlplane.adapters.sql.tables import (
    ArtifactRow,
    GroupRow,
    HealthRow,
    PresenceRow,
    ReportExceptionRow,
    ReportRow,
    SatelliteRow,
)
from controlplane.domain.commands import EntityKind
from controlplane.domain.entities import Lifecycle, Position, Satellite
from controlplane.domain.lifecycle import is_duplicate
from controlplane.domain.rules import unknown
from controlplane.domain.state import Desired
from controlplane.domain.status import (
    ArtifactState,
    ChangedStatuses,
    FleetStatus,
    Health,
    Report,
    ResourceException,
    SatelliteStatus,
    Step,
)

MAX_CHANGED = 1000


def read_statuses(
    session: Session, found: Sequence[SatelliteRow], at: datetime, *, exceptions: bool = False
) -> tuple[SatelliteStatus, ...]:
    """Compare what satellites say with what they should hold."""
    names = [row.name for row in found]
    shown = rows.satellites(session, found, at)
    desired = read_desired(session, names)
    present = rows.presences(session, names)
    reports = _reports(session, names, exceptions=exceptions)
    healths = _healths(session, names)
    return tuple(
        _status(
            satellite,
            desired[satellite.name],
            present=present.get(satellite.name),
            report=reports.get(satellite.name),
            health=healths.get(satellite.name),
            at=at,
        )
        for satellite in shown
    )


def _status(
    satellite: Satellite,
    desired: Desired,
    *,
    present: PresenceRow | None,
    report: Report | None,
    health: Health | None,
    at: datetime,
) -> SatelliteStatus:
    return SatelliteStatus(
        satellite=satellite.name,
        lifecycle=satellite.lifecycle,
        last_seen_at=present.last_seen_at if present else None,
        desired_digest=desired.state_digest,
        converged=report is not None and report.enforced_digest == desired.state_digest,
        report=report,
        health=health,
        agent_version=present.agent_version if present else "",
        duplicate_identity=present is not None and is_duplicate(present.duplicate_at, at),
        store_behind=present is not None and present.behind,
        groups=satellite.groups,
    )


def _reports(session: Session, names: Sequence[str], *, exceptions: bool) -> dict[str, Report]:
    found = [
        row
        for batch in batches(names)
        for row in session.exec(select(ReportRow).where(col(ReportRow.satellite).in_(batch)))
    ]
    told = _exceptions(session, names) if exceptions else {}
    return {row.satellite: _report(row, tuple(told.get(row.satellite, ()))) for row in found}


def _exceptions(session: Session, names: Sequence[str]) -> dict[str, list[ResourceException]]:
    found: dict[str, list[ResourceException]] = {}
    satellite, ordinal = col(ReportExceptionRow.satellite), col(ReportExceptionRow.ordinal)
    for batch in batches(names):
        held = select(ReportExceptionRow).where(satellite.in_(batch)).order_by(satellite, ordinal)
        for row in session.exec(held):
            found.setdefault(row.satellite, []).append(_exception(row))
    return found


def _exception(row: ReportExceptionRow) -> ResourceException:
    return ResourceException(
        kind=row.kind,
        name=row.name,
        scope=row.scope,
        state=ArtifactState(row.state),
        reason=row.reason,
        text=row.text,
        since=row.since,
        serving_digest=row.serving_digest,
        done_bytes=row.done_bytes,
        total_bytes=row.total_bytes,
        retry_at=row.retry_at,
        rate_bytes_per_s=row.rate_bytes_per_s,
        steps=tuple(from_document(Step, one) for one in row.steps or ()),
    )


def _report(row: ReportRow, exceptions: tuple[ResourceException, ...]) -> Report:
    known = row.epoch is not None and row.revision is not None
    return Report(
        sequence=row.sequence,
        position=Position(row.epoch or 0, row.revision or 0) if known else None,
        held_digest=row.held_digest,
        enforced_digest=row.enforced_digest,
        desired=row.desired,
        published=row.published,
        waiting=row.waiting,
        refused=row.refused,
        failed=row.failed,
        exceptions=exceptions,
        exceptions_omitted=row.exceptions_omitted,
        foreign_withdrawn=row.foreign_withdrawn,
        registry_kind=row.registry_kind,
        registry_exclusive=row.registry_exclusive,
        revocation_epoch=row.revocation_epoch,
        warned=row.warned,
    )


def _healths(session: Session, names: Sequence[str]) -> dict[str, Health]:
    return {
        row.satellite: from_document(Health, row.document)
        for batch in batches(names)
        for row in session.exec(select(HealthRow).where(col(HealthRow.satellite).in_(batch)))
    }


def read_status(session: Session, name: str, at: datetime) -> SatelliteStatus:
    """Read where one satellite stands, exceptions included. UNKNOWN `SATELLITE_UNKNOWN`."""
    row = session.get(SatelliteRow, name)
    if row is None:
        raise unknown(EntityKind.SATELLITE, name)
    return read_statuses(session, [row], at, exceptions=True)[0]


def read_changed(session: Session, since: datetime, at: datetime) -> ChangedStatuses:
    """Read the statuses that changed at or after a time, the oldest change first."""
    changed = col(PresenceRow.changed_at)
    found = session.exec(
        select(SatelliteRow, PresenceRow.changed_at)
        .join(PresenceRow, col(PresenceRow.satellite) == SatelliteRow.name)
        .where(changed >= since)
        .order_by(changed)
        .limit(MAX_CHANGED)
    ).all()
    # Who watches wants to see what is under way, and why not.
    told = read_statuses(session, [row for row, _ in found], at, exceptions=True)
    return ChangedStatuses(told, found[-1][1] if len(found) == MAX_CHANGED else None)


def read_fleet_status(session: Session, at: datetime) -> FleetStatus:
    """Count the fleet in one snapshot, by columns: as objects, a hundred thousand would take a quarter of a minute."""
    census = read_census(session, at)
    counted = Counter(stand.lifecycle for stand in census.stands)
    online = [stand for stand in census.stands if stand.lifecycle is Lifecycle.ONLINE]
    return FleetStatus(
        satellites=len(census.stands),
        online=counted[Lifecycle.ONLINE],
        stale=counted[Lifecycle.STALE],
        pending=counted[Lifecycle.PENDING],
        revoked=counted[Lifecycle.REVOKED],
        converged=sum(stand.enforced == stand.desired for stand in online),
        with_exceptions=sum(bool(stand.refused + stand.failed) for stand in census.stands),
        groups=session.exec(select(func.count()).select_from(GroupRow)).one(),
        artifacts=session.exec(select(func.count()).select_from(ArtifactRow)).one(),
        position=census.position,
        at=at,
    )
