"""What one writing transaction carries along."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlmodel import Session, col, delete, select

from controlplane.adapters.payload import encode_delta
from controlplane.adapters.sql.artifacts import Artifacts
from controlplane.adapters.sql.settling import Settled, Touched
from controlplane.adapters.sql.tables import (
    ArtifactRow,
    AssignmentRow,
    GroupRow,
    MembershipRow,
    RuleRow,
    RuleScopeRow,
    SatelliteRow,
)
from controlplane.app.ports import Context
from controlplane.domain.commands import EntityKind
from controlplane.domain.entities import Position
from controlplane.domain.rules import unknown
from controlplane.domain.specs import ResourceKind
from controlplane.domain.state import split_scope


@dataclass(frozen=True, slots=True)
class Written:
    """The change that a transaction made: what others read of it when it is committed."""

    diff: dict[str, Any]
    settled: Settled


@dataclass(slots=True)
class Batch:
    """A transaction that writes the log: its session, where the locked log ends, and what it has touched so far."""

    session: Session
    end: Position
    context: Context
    trust_domain: str
    touched: Touched = field(default_factory=Touched)
    artifacts: Artifacts = field(init=False)
    written: Written | None = None

    def __post_init__(self) -> None:
        self.artifacts = Artifacts(self.session.connection())

    def deltas(self) -> Iterator[tuple[tuple[str, bytes, int], bytes]]:
        """Serialize the steps of scopes whose new content is at hand: `→ ((scope, digest, generation), delta)`."""
        if self.written is None:
            return
        at_hand = {resource.version: resource for resource in self.artifacts.changed.values()}
        for scope, (digest, step) in self.written.settled.steps.items():
            if all(version in at_hand for _, version in step.upserts):
                upserts = [at_hand[version] for _, version in step.upserts]
                yield (scope, digest, self.written.settled.heads[scope][0]), encode_delta(upserts, step.deletes)


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


def touch_holders(batch: Batch, artifact: str, source: str) -> None:
    """Note an artifact that goes, and its source, in every scope that it is assigned to."""
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
