"""What changed since a position, and what it changed to: a few statements in one snapshot, no object made of a row."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, join, true, tuple_
from sqlmodel import Session, col, select

from controlplane.adapters.sql.batches import among
from controlplane.adapters.sql.documents import entities_in
from controlplane.adapters.sql.log import Head, at, read_heads, read_position
from controlplane.adapters.sql.tables import (
    ChangeRow,
    GroupRow,
    LogHead,
    MembershipRow,
    OperatorRow,
    SatelliteRow,
    ScopeRow,
)
from controlplane.domain.commands import Concerned, EntityKind
from controlplane.domain.entities import Role
from controlplane.domain.lifecycle import Standing
from controlplane.domain.roster import Enrolled, Moved, Roster, Survey, concerned_by, scopes_of
from controlplane.domain.state import FLEET_SCOPE, Binding, group_scope, satellite_scope
from fleet.digests import EMPTY_SCOPE
from fleet.position import Position

MAX_MOVED = 2000
"""Changes that are worth reading one by one; after more of them everything is read anew."""
OWN = satellite_scope("")

_LATER = (
    select(ChangeRow.epoch, ChangeRow.revision, ChangeRow.at)
    .add_columns(col(ChangeRow.diff))
    .where(tuple_(ChangeRow.epoch, ChangeRow.revision) > tuple_(bindparam("epoch"), bindparam("revision")))
    .order_by(col(ChangeRow.epoch), col(ChangeRow.revision))
    .limit(MAX_MOVED + 1)
    .subquery()
)
_THEN = (
    select(ChangeRow.at)
    .where(ChangeRow.epoch == bindparam("epoch"), ChangeRow.revision == bindparam("revision"))
    .scalar_subquery()
)
MOVED = (
    select(LogHead.epoch, LogHead.revision)
    .add_columns(*_LATER.c, _THEN)
    .select_from(join(LogHead, _LATER, true(), isouter=True))
)
_ROLES = select(OperatorRow.spiffe_id, OperatorRow.role)
_SATELLITES = select(SatelliteRow.name, SatelliteRow.spiffe_id, SatelliteRow.standing).where(
    among(SatelliteRow.name, "names")
)
_GROUPS = select(MembershipRow.satellite, MembershipRow.group).where(among(MembershipRow.satellite, "names"))
_HEADS = select(ScopeRow.name, ScopeRow.generation, ScopeRow.digest).where(among(ScopeRow.name, "scopes"))
_PRECEDENCES = select(GroupRow.name, GroupRow.precedence).where(among(GroupRow.name, "groups"))


def moves_in(rows: Sequence[Sequence[Any]], known: Roster) -> Survey | None:
    """Say what moved, as `MOVED` has read it; None where the log alone does not say what it moved to."""
    position, changes = _changes(rows, known)
    if changes is None or any(map(_is_of_operators, changes)):
        return None
    moved = _moved(changes)
    concerned = concerned_by(moved)
    if not concerned.satellites.isdisjoint(known.satellites):
        return None
    heads: dict[str, Head | None] = {}
    for _, _, diff in changes:
        told = read_heads(diff)
        heads |= {scope: told.get(scope) for scope in diff["scopes"] if _is_known(scope, known)}
    bindings = {
        scope: Binding(scope, *head, known.bindings[scope].precedence if scope in known.bindings else 0)
        for scope, head in heads.items()
        if head is not None
    }
    return Survey(position, moved, {}, frozenset(), bindings) if bindings.keys() == heads.keys() else None


def read_survey(session: Session, known: Roster, asked: Collection[str], *, roles: bool = False) -> Survey:
    """Read what makes the asker's roster, and `asked` in it, that of this snapshot; operators' `roles`, too."""
    if known.position.epoch:
        rows = session.connection().execute(MOVED, at(known.position)).all()
        position, changes = _changes(rows, known)
    else:
        position, changes = read_position(session), None
    moved = None if changes is None else _moved(changes)
    roles = roles and (changes is None or any(map(_is_of_operators, changes)))
    concerned = concerned_by(moved or ())
    names = {*asked, *(concerned.satellites.intersection(known.satellites) if moved is not None else known.satellites)}
    satellites = _enrolled(session, names)
    wanted = {scope for enrolled in satellites.values() for scope in enrolled.scopes}
    if moved is not None:
        shared = {scope for scope in wanted if not scope.startswith(OWN)}  # its members tell of a new precedence
        changed = {scope for scope in concerned.scopes if _is_known(scope, known)}
        wanted = wanted.difference(known.bindings) | shared | changed
    gone = frozenset(names.difference(satellites))
    return Survey(position, moved, satellites, gone, _bindings(session, wanted), _operators(session) if roles else None)


Change = tuple[Position, datetime, Mapping[str, Any]]


def _changes(found: Sequence[Sequence[Any]], roster: Roster) -> tuple[Position, list[Change] | None]:
    """Say where the log ends, and what changed until there; None where what is known counts no more."""
    until, known, then = Position(*found[0][:2]), roster.position, found[0][-1]
    if known.epoch != until.epoch or known > until or (roster.at and then and roster.at != then):
        return until, None  # recovered, or restored under us: what was read before says nothing of what is there now
    if known == until:
        return until, []
    # Revisions have no gaps: where the next is missing, it was compacted.
    if len(found) > MAX_MOVED or found[0][3] != known.revision + 1:
        return until, None
    return until, [(Position(epoch, revision), moment, diff) for _, _, epoch, revision, moment, diff, _ in found]


def _is_of_operators(change: Change) -> bool:
    return EntityKind.OPERATOR.value in entities_in(change[2]["results"])


def _moved(changes: Iterable[Change]) -> tuple[Moved, ...]:
    return tuple(
        Moved(position, moment, Concerned(frozenset(diff["scopes"]), frozenset(diff["satellites"])))
        for position, moment, diff in changes
    )


def _enrolled(session: Session, names: Collection[str]) -> dict[str, Enrolled]:
    if not names:
        return {}
    connection, asked = session.connection(), {"names": list(names)}
    rows = connection.execute(_SATELLITES, asked).all()
    groups: dict[str, set[str]] = {}
    for satellite, group in connection.execute(_GROUPS, asked):
        groups.setdefault(satellite, set()).add(group)
    return {
        name: Enrolled(spiffe_id, Standing(standing), scopes_of(name, groups.get(name, ())))
        for name, spiffe_id, standing in rows
    }


def _operators(session: Session) -> dict[str, Role]:
    return {spiffe_id: Role(role) for spiffe_id, role in session.connection().execute(_ROLES)}


def _is_known(scope: str, known: Roster) -> bool:
    """Say whether a scope is some known satellite's: own scopes that were never written to are in no list."""
    return scope in known.bindings or (scope.startswith(OWN) and scope.removeprefix(OWN) in known.satellites)


def _bindings(session: Session, scopes: Collection[str]) -> dict[str, Binding]:
    """Read the newest generations; those of groups and of the fleet also where there is none yet."""
    if not scopes:
        return {}
    connection = session.connection()
    found = connection.execute(_HEADS, {"scopes": list(scopes)})
    heads = {name: (generation, digest) for name, generation, digest in found}
    shared = {scope for scope in scopes if not scope.startswith(OWN)}
    groups = [scope.removeprefix("group/") for scope in shared if scope != FLEET_SCOPE]
    precedence: dict[str, int] = {}
    if groups:
        named = connection.execute(_PRECEDENCES, {"groups": groups})
        precedence = {group_scope(name): number for name, number in named}
    return {
        scope: Binding(scope, *heads.get(scope, (0, EMPTY_SCOPE)), precedence.get(scope, 0))
        for scope in shared | heads.keys()
    }
