"""What satellites should hold: bindings from memberships, always the latest generation for now."""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel import Session, col, select

from controlplane.adapters.sql.generations import resources_at
from controlplane.adapters.sql.survey import read_survey
from controlplane.adapters.sql.tables import ArtifactRow, AssignmentRow, SourceRow
from controlplane.domain.commands import EntityKind
from controlplane.domain.roster import Roster
from controlplane.domain.rules import unknown
from controlplane.domain.state import Desired, ScopeContent, WholeState


def read_desired(session: Session, names: Sequence[str]) -> dict[str, Desired]:
    """Compute what satellites should hold, all in one snapshot; unknown names are left out."""
    roster = Roster()
    roster.take(read_survey(session, roster, names))
    return {name: found for name in names if (found := roster.desired(name)) is not None}


def read_whole_state(session: Session, satellite: str) -> WholeState:
    """Read a satellite's desired state with every payload. UNKNOWN `SATELLITE_UNKNOWN`."""
    found = read_desired(session, [satellite])
    if satellite not in found:
        raise unknown(EntityKind.SATELLITE, satellite)
    desired = found[satellite]
    scopes = tuple(
        ScopeContent(binding, resources_at(session, binding.scope, binding.generation)) for binding in desired.bindings
    )
    return WholeState(satellite, desired, scopes)


def read_repositories(session: Session, satellite: str, source: str) -> frozenset[str] | None:
    """List a source's repositories in a satellite's own state; None where the source is not in it."""
    found = read_desired(session, [satellite]).get(satellite)
    if found is None:
        return None
    scopes = [binding.scope for binding in found.bindings]
    held = (
        select(ArtifactRow.repository)
        .join(AssignmentRow, col(AssignmentRow.artifact) == ArtifactRow.name)
        .where(ArtifactRow.source == source, col(AssignmentRow.scope).in_(scopes))
    )
    return frozenset(session.exec(held.distinct())) or None


def read_sealed(session: Session, source: str) -> bytes | None:
    """Read a source's sealed credential. UNKNOWN `SOURCE_UNKNOWN`."""
    row = session.get(SourceRow, source)
    if row is None:
        raise unknown(EntityKind.SOURCE, source)
    return row.sealed
