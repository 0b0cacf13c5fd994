"""Rows as entities, with what operators see of them beside their own columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlmodel import Session, col, func, select

from controlplane.adapters.sql.batches import batches
from controlplane.adapters.sql.documents import from_document
from controlplane.adapters.sql.tables import (
    ArtifactRow,
    AssignmentRow,
    GroupRow,
    MembershipRow,
    OperatorRow,
    PresenceRow,
    SatelliteRow,
    SourceRow,
    TokenRow,
    WorkerRow,
)
from controlplane.domain.content import etag_of
from controlplane.domain.entities import (
    Artifact,
    Group,
    JoinToken,
    Lifecycle,
    Operator,
    Role,
    Satellite,
    Source,
)
from controlplane.domain.lifecycle import WORKER_LEASE, Standing, observe
from controlplane.domain.specs import (
    ArtifactSpec,
    SourceSpec,
)
from controlplane.domain.state import group_scope


def satellite_etag(row: SatelliteRow) -> str:
    """Name a satellite's content."""
    return etag_of("satellite", row.name, row.region, row.description)


def group_etag(name: str, precedence: int, description: str) -> str:
    """Name a group's content."""
    return etag_of("group", name, precedence, description)


def live_workers(session: Session, at: datetime) -> frozenset[str]:
    """List the processes whose sessions count as open."""
    rows = session.exec(select(WorkerRow.id).where(col(WorkerRow.seen_at) > at - WORKER_LEASE))
    return frozenset(rows)


def lifecycle_of(session: Session, row: SatelliteRow, at: datetime) -> Lifecycle:
    """Say where one satellite stands, without all else that is shown of it."""
    asked = select(WorkerRow.id).join(PresenceRow, col(PresenceRow.worker) == WorkerRow.id)
    held = asked.where(PresenceRow.satellite == row.name).where(col(WorkerRow.seen_at) > at - WORKER_LEASE)
    return observe(Standing(row.standing), session_open=session.exec(held).first() is not None)


def groups_of(session: Session, satellites: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Read the groups of satellites, by name."""
    found: dict[str, set[str]] = {name: set() for name in satellites}
    names = sorted(found)
    for batch in batches(names):
        member = col(MembershipRow.satellite).in_(batch)
        for satellite, group in session.exec(select(MembershipRow.satellite, MembershipRow.group).where(member)):
            found[satellite].add(group)
    return {name: tuple(sorted(groups)) for name, groups in found.items()}


def presences(session: Session, satellites: Sequence[str]) -> dict[str, PresenceRow]:
    """Read the presence of satellites that have one."""
    found: dict[str, PresenceRow] = {}
    for batch in batches(satellites):
        held = select(PresenceRow).where(col(PresenceRow.satellite).in_(batch))
        found.update((row.satellite, row) for row in session.exec(held))
    return found


def satellites(session: Session, rows: Sequence[SatelliteRow], at: datetime) -> tuple[Satellite, ...]:
    """Show satellites."""
    names = [row.name for row in rows]
    groups, present, live = groups_of(session, names), presences(session, names), live_workers(session, at)
    return tuple(
        Satellite(
            name=row.name,
            region=row.region,
            description=row.description,
            spiffe_id=row.spiffe_id,
            lifecycle=observe(
                Standing(row.standing),
                session_open=row.name in present and present[row.name].worker in live,
            ),
            groups=groups[row.name],
            created_at=row.created_at,
            etag=satellite_etag(row),
        )
        for row in rows
    )


def groups(session: Session, rows: Sequence[GroupRow]) -> tuple[Group, ...]:
    """Show groups, with what they hold counted."""
    names = [row.name for row in rows]
    members = dict(
        session.exec(
            select(MembershipRow.group, func.count(col(MembershipRow.satellite).distinct()))
            .where(col(MembershipRow.group).in_(names))
            .group_by(MembershipRow.group)
        ).all()
    )
    scopes = [group_scope(name) for name in names]
    assigned = dict(
        session.exec(
            select(AssignmentRow.scope, func.count(col(AssignmentRow.artifact).distinct()))
            .where(col(AssignmentRow.scope).in_(scopes))
            .group_by(AssignmentRow.scope)
        ).all()
    )
    return tuple(
        Group(
            row.name,
            row.precedence,
            row.description,
            members.get(row.name, 0),
            assigned.get(group_scope(row.name), 0),
            group_etag(row.name, row.precedence, row.description),
        )
        for row in rows
    )


def source_spec(row: SourceRow) -> SourceSpec:
    """Read what operators said of a source; `needs_credential` is ours to say."""
    return from_document(SourceSpec, row.spec)


def sources(_session: Session, rows: Sequence[SourceRow]) -> tuple[Source, ...]:
    """Show sources."""
    return tuple(
        Source(row.name, source_spec(row), row.sealed is not None, etag_of("source", row.name, source_spec(row)))
        for row in rows
    )


def artifact_spec(row: ArtifactRow) -> ArtifactSpec:
    """Read an artifact's content."""
    return from_document(ArtifactSpec, row.spec)


def artifacts(session: Session, rows: Sequence[ArtifactRow]) -> tuple[Artifact, ...]:
    """Show artifacts."""
    scopes: dict[str, set[str]] = {row.name: set() for row in rows}
    wanted = col(AssignmentRow.artifact).in_(list(scopes))
    for artifact, scope in session.exec(select(AssignmentRow.artifact, AssignmentRow.scope).where(wanted)):
        scopes[artifact].add(scope)
    return tuple(
        Artifact(spec, row.name, tuple(sorted(scopes[row.name])), etag_of("artifact", row.name, spec))
        for row, spec in ((row, artifact_spec(row)) for row in rows)
    )


def operators(_session: Session, rows: Sequence[OperatorRow]) -> tuple[Operator, ...]:
    """Show operators."""
    return tuple(
        Operator(row.name, Role(row.role), row.spiffe_id, etag_of("operator", row.name, row.role)) for row in rows
    )


def tokens(_session: Session, rows: Sequence[TokenRow]) -> tuple[JoinToken, ...]:
    """Show join tokens, without their secrets."""
    return tuple(
        JoinToken(row.id, row.spiffe_id, row.created_at, row.expires_at, row.used_at, row.refused_attempts)
        for row in rows
    )
