"""What satellites should hold: bindings from memberships, always the latest generation for now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlmodel import Session, col, select

from controlplane.adapters.sql import rows
from controlplane.adapters.sql.generations import resources_at
from controlplane.adapters.sql.log import read_position
from controlplane.adapters.sql.tables import (
    ArtifactRow,
    AssignmentRow,
    GroupRow,
    SatelliteRow,
    ScopeRow,
    SourceRow,
)
from controlplane.domain.commands import EntityKind
from controlplane.domain.entities import Lifecycle
from controlplane.domain.rules import unknown
from controlplane.domain.state import (
    FLEET_SCOPE,
    Binding,
    Desired,
    ScopeContent,
    WholeState,
    group_scope,
    satellite_scope,
)
from fleet.digests import EMPTY_SCOPE, state_digest

_HOLDS_NOTHING = frozenset({Lifecycle.PENDING, Lifecycle.REVOKED})
_BATCH = 500


def read_desired(session: Session, names: Sequence[str], at: datetime) -> dict[str, Desired]:
    """Compute what satellites should hold, all in one snapshot; unknown names are left out."""
    found = [row for batch in _batches(names) for row in _satellites(session, batch)]
    shown = rows.satellites(session, found, at)
    precedence = dict(session.exec(select(GroupRow.name, GroupRow.precedence)).all()) if shown else {}
    scopes = {satellite.name: _scopes(satellite.name, satellite.groups) for satellite in shown}
    heads = _heads(session, {scope for each in scopes.values() for scope in each})
    position = read_position(session)
    desired: dict[str, Desired] = {}
    for satellite in shown:
        holds = () if satellite.lifecycle in _HOLDS_NOTHING else scopes[satellite.name]
        bindings = tuple(_binding(scope, heads, precedence) for scope in holds)
        digest = state_digest({binding.scope: binding.digest for binding in bindings})
        desired[satellite.name] = Desired(position, satellite.lifecycle, bindings, digest)
    return desired


def _satellites(session: Session, names: Sequence[str]) -> Sequence[SatelliteRow]:
    return session.exec(select(SatelliteRow).where(col(SatelliteRow.name).in_(names))).all()


def _batches(values: Iterable[str]) -> Iterable[Sequence[str]]:
    ordered = sorted(set(values))
    return (ordered[start : start + _BATCH] for start in range(0, len(ordered), _BATCH))


def _scopes(satellite: str, groups: Sequence[str]) -> tuple[str, ...]:
    """Name the scopes of a satellite, in the order of their names' bytes."""
    return tuple(sorted((FLEET_SCOPE, *map(group_scope, groups), satellite_scope(satellite))))


def _heads(session: Session, scopes: Iterable[str]) -> dict[str, tuple[int, bytes]]:
    heads: dict[str, tuple[int, bytes]] = {}
    for batch in _batches(scopes):
        for row in session.exec(select(ScopeRow).where(col(ScopeRow.name).in_(batch))):
            heads[row.name] = (row.generation, row.digest)
    return heads


def _binding(scope: str, heads: dict[str, tuple[int, bytes]], precedence: dict[str, int]) -> Binding:
    generation, digest = heads.get(scope, (0, EMPTY_SCOPE))
    kind, _, name = scope.partition("/")
    return Binding(scope, generation, digest, precedence.get(name, 0) if kind == "group" else 0)


def read_whole_state(session: Session, satellite: str, at: datetime) -> WholeState:
    """Read a satellite's desired state with every payload. UNKNOWN `SATELLITE_UNKNOWN`."""
    found = read_desired(session, [satellite], at)
    if satellite not in found:
        raise unknown(EntityKind.SATELLITE, satellite)
    desired = found[satellite]
    scopes = tuple(
        ScopeContent(binding, resources_at(session, binding.scope, binding.generation)) for binding in desired.bindings
    )
    return WholeState(satellite, desired, scopes)


def read_repositories(session: Session, satellite: str, source: str, at: datetime) -> frozenset[str] | None:
    """List a source's repositories in a satellite's own state; None where the source is not in it."""
    found = read_desired(session, [satellite], at).get(satellite)
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
