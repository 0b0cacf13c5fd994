"""What one writing transaction carries along."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlmodel import Session, col, delete, select

from controlplane.adapters.sql.settling import Touched
from controlplane.adapters.sql.tables import (
    ArtifactRow,
    AssignmentRow,
    GroupRow,
    LogHead,
    MembershipRow,
    RuleRow,
    RuleScopeRow,
    SatelliteRow,
)
from controlplane.app.ports import Context
from controlplane.domain.commands import EntityKind
from controlplane.domain.rules import unknown
from controlplane.domain.specs import ResourceKind
from controlplane.domain.state import split_scope


@dataclass(slots=True)
class Batch:
    """A transaction that writes the log: its session, the locked head, and what it has touched so far."""

    session: Session
    head: LogHead
    context: Context
    trust_domain: str
    touched: Touched = field(default_factory=Touched)


def need_satellite(batch: Batch, name: str) -> SatelliteRow:
    """Find a satellite; UNKNOWN `SATELLITE_UNKNOWN`."""
    row = batch.session.get(SatelliteRow, name)
    if row is None:
        raise unknown(EntityKind.SATELLITE, name)
    return row


def need_group(batch: Batch, name: str) -> GroupRow:
    """Find a group; UNKNOWN `GROUP_UNKNOWN`."""
    row = batch.session.get(GroupRow, name)
    if row is None:
        raise unknown(EntityKind.GROUP, name)
    return row


def need_scope(batch: Batch, scope: str) -> None:
    """See that a scope's group or satellite exists."""
    match split_scope(scope):
        case ("group", name):
            need_group(batch, name)
        case ("satellite", name):
            need_satellite(batch, name)


def members_of(batch: Batch, group: str) -> set[str]:
    """Read a group's satellites."""
    return set(batch.session.exec(select(MembershipRow.satellite).where(MembershipRow.group == group)))


def touch_artifact(batch: Batch, artifact: str, source: str) -> None:
    """Note an artifact, and its source, in every scope that it is assigned to."""
    held = select(AssignmentRow.scope).where(AssignmentRow.artifact == artifact)
    for scope in batch.session.exec(held):
        batch.touched.add(scope, ResourceKind.ARTIFACT, artifact)
        batch.touched.add(scope, ResourceKind.SOURCE, source)


def touch_source(batch: Batch, source: str) -> None:
    """Note a source in every scope that holds one of its artifacts."""
    held = (
        select(AssignmentRow.scope)
        .join(ArtifactRow, col(ArtifactRow.name) == AssignmentRow.artifact)
        .where(ArtifactRow.source == source)
    )
    for scope in batch.session.exec(held.distinct()):
        batch.touched.add(scope, ResourceKind.SOURCE, source)


def empty_scope(batch: Batch, scope: str) -> None:
    """Take everything out of the scope of a group or satellite that goes."""
    assigned = (
        select(ArtifactRow.name, ArtifactRow.source)
        .join(AssignmentRow, col(AssignmentRow.artifact) == ArtifactRow.name)
        .where(AssignmentRow.scope == scope)
    )
    for artifact, source in batch.session.exec(assigned):
        batch.touched.add(scope, ResourceKind.ARTIFACT, artifact)
        batch.touched.add(scope, ResourceKind.SOURCE, source)
    for rule in batch.session.exec(select(RuleScopeRow).where(RuleScopeRow.scope == scope)):
        batch.touched.add(scope, ResourceKind(rule.kind), rule.name)
    batch.session.exec(delete(AssignmentRow).where(col(AssignmentRow.scope) == scope))
    batch.session.exec(delete(RuleScopeRow).where(col(RuleScopeRow.scope) == scope))
    # Settings are the scope's alone: who makes a group of this name again does not find them.
    own = (col(RuleRow.kind) == ResourceKind.CONFIGURATION, col(RuleRow.name) == scope)
    batch.session.exec(delete(RuleRow).where(*own))
