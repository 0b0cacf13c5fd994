"""What changed since a position, and what it changed to: a few statements in one snapshot, no object made of a row."""

from __future__ import annotations

from collections.abc import Collection

from sqlmodel import Session, col, or_, select

from controlplane.adapters.sql.batches import among
from controlplane.adapters.sql.log import read_position
from controlplane.adapters.sql.tables import ChangeRow, GroupRow, MembershipRow, SatelliteRow, ScopeRow
from controlplane.domain.commands import Concerned
from controlplane.domain.lifecycle import Standing
from controlplane.domain.roster import Enrolled, Moved, Roster, Survey, concerned_by, scopes_of
from controlplane.domain.state import FLEET_SCOPE, Binding, group_scope, satellite_scope
from fleet.digests import EMPTY_SCOPE
from fleet.position import Position

MAX_MOVED = 2000
"""Changes that are worth reading one by one; after more of them everything is read anew."""
OWN = satellite_scope("")


def read_survey(session: Session, known: Roster, asked: Collection[str]) -> Survey:
    """Read what makes the asker's roster, and `asked` in it, that of this snapshot."""
    position = read_position(session)
    moved = _moved(session, known.position, position)
    concerned = concerned_by(moved or ())
    names = {*asked, *(concerned.satellites.intersection(known.satellites) if moved is not None else known.satellites)}
    satellites = _enrolled(session, names)
    wanted = {scope for enrolled in satellites.values() for scope in enrolled.scopes}
    if moved is not None:
        shared = {scope for scope in wanted if not scope.startswith(OWN)}  # its members tell of a new precedence
        changed = {scope for scope in concerned.scopes if _is_known(scope, known)}
        wanted = wanted.difference(known.bindings) | shared | changed
    return Survey(position, moved, satellites, frozenset(names.difference(satellites)), _bindings(session, wanted))


def _moved(session: Session, since: Position, until: Position) -> tuple[Moved, ...] | None:
    if since == until:
        return ()
    if since.epoch != until.epoch or since > until:
        return None  # recovered, or restored under us: what was read before says nothing of what is there now
    epoch, revision = col(ChangeRow.epoch), col(ChangeRow.revision)
    asked = select(ChangeRow.epoch, ChangeRow.revision, ChangeRow.at, ChangeRow.diff)
    later = or_(epoch > since.epoch, (epoch == since.epoch) & (revision > since.revision))
    found = session.connection().execute(asked.where(later).order_by(epoch, revision).limit(MAX_MOVED + 1)).all()
    # Revisions have no gaps: where the next is missing, it was compacted.
    if len(found) > MAX_MOVED or not found or found[0][1] != since.revision + 1:
        return None
    return tuple(
        Moved(Position(row[0], row[1]), row[2], Concerned(frozenset(row[3]["scopes"]), frozenset(row[3]["satellites"])))
        for row in found
    )


def _enrolled(session: Session, names: Collection[str]) -> dict[str, Enrolled]:
    if not names:
        return {}
    connection = session.connection()
    columns = select(SatelliteRow.name, SatelliteRow.spiffe_id, SatelliteRow.standing)
    rows = connection.execute(columns.where(among(SatelliteRow.name, names))).all()
    groups: dict[str, set[str]] = {}
    members = select(MembershipRow.satellite, MembershipRow.group).where(among(MembershipRow.satellite, names))
    for satellite, group in connection.execute(members):
        groups.setdefault(satellite, set()).add(group)
    return {
        name: Enrolled(spiffe_id, Standing(standing), scopes_of(name, groups.get(name, ())))
        for name, spiffe_id, standing in rows
    }


def _is_known(scope: str, known: Roster) -> bool:
    """Say whether a scope is some known satellite's: own scopes that were never written to are in no list."""
    return scope in known.bindings or (scope.startswith(OWN) and scope.removeprefix(OWN) in known.satellites)


def _bindings(session: Session, scopes: Collection[str]) -> dict[str, Binding]:
    """Read the newest generations; those of groups and of the fleet also where there is none yet."""
    if not scopes:
        return {}
    connection = session.connection()
    asked = select(ScopeRow.name, ScopeRow.generation, ScopeRow.digest).where(among(ScopeRow.name, scopes))
    heads = {name: (generation, digest) for name, generation, digest in connection.execute(asked)}
    shared = {scope for scope in scopes if not scope.startswith(OWN)}
    groups = [scope.removeprefix("group/") for scope in shared if scope != FLEET_SCOPE]
    precedence: dict[str, int] = {}
    if groups:
        named = select(GroupRow.name, GroupRow.precedence).where(among(GroupRow.name, groups))
        precedence = {group_scope(name): number for name, number in connection.execute(named)}
    return {
        scope: Binding(scope, *heads.get(scope, (0, EMPTY_SCOPE)), precedence.get(scope, 0))
        for scope in shared | heads.keys()
    }
