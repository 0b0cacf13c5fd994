"""All satellites in one reading: columns, not objects, because there may be a hundred thousand."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import and_, select
from sqlmodel import Session, col

from controlplane.adapters.sql.log import read_position
from controlplane.adapters.sql.rows import live_workers
from controlplane.adapters.sql.tables import (
    ChangeRow,
    MembershipRow,
    PresenceRow,
    ReportRow,
    SatelliteRow,
    ScopeGenerationRow,
    ScopeRow,
)
from controlplane.app.census import Census, Stand
from controlplane.domain.lifecycle import Standing, observe
from controlplane.domain.state import FLEET_SCOPE, group_scope, satellite_scope
from fleet.digests import EMPTY_SCOPE, state_digest

_CHUNK = 1000
_COLUMNS = (
    *(SatelliteRow.name, SatelliteRow.standing, SatelliteRow.created_at, PresenceRow.worker, PresenceRow.changed_at),
    *(ReportRow.enforced_digest, ReportRow.published, ReportRow.waiting, ReportRow.refused, ReportRow.failed),
)

Head = tuple[bytes, datetime | None]
"""A scope's digest, and when it came to be."""


def read_census(session: Session, at: datetime) -> Census:
    """Read how every satellite stands, in one snapshot."""
    live = live_workers(session, at)
    heads = _heads(session)
    groups = _groups(session)
    stands = []
    for name, standing, created_at, worker, presence_at, enforced, *reported in _satellites(session):
        scopes = (FLEET_SCOPE, *groups.get(name, ()), satellite_scope(name))
        held = {scope: heads.get(scope, (EMPTY_SCOPE, None)) for scope in scopes}
        stands.append(
            Stand(
                name,
                observe(Standing(standing), session_open=worker in live),
                state_digest({scope: digest for scope, (digest, _) in held.items()}),
                enforced or b"",
                max([presence_at or created_at, *(made for _, made in held.values() if made)]),
                *(number or 0 for number in reported),
            )
        )
    return Census(at, read_position(session), tuple(stands))


def _satellites(session: Session) -> Iterator[Any]:
    found = (
        select(*_COLUMNS)  # type: ignore[call-overload] # SQLModel's columns are typed as their values
        .outerjoin(PresenceRow, col(PresenceRow.satellite) == SatelliteRow.name)
        .outerjoin(ReportRow, col(ReportRow.satellite) == SatelliteRow.name)
    )
    return iter(session.connection().execute(found).yield_per(_CHUNK))


def _heads(session: Session) -> dict[str, Head]:
    generation = and_(
        col(ScopeGenerationRow.scope) == ScopeRow.name, col(ScopeGenerationRow.generation) == ScopeRow.generation
    )
    change = and_(
        col(ChangeRow.epoch) == ScopeGenerationRow.epoch, col(ChangeRow.revision) == ScopeGenerationRow.revision
    )
    found = (
        select(ScopeRow.name, ScopeRow.digest, ChangeRow.at)  # type: ignore[call-overload] # as above
        .outerjoin(ScopeGenerationRow, generation)
        .outerjoin(ChangeRow, change)
    )
    return {scope: (digest, made) for scope, digest, made in session.connection().execute(found)}


def _groups(session: Session) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for satellite, group in session.connection().execute(select(MembershipRow.satellite, MembershipRow.group)):  # type: ignore[call-overload] # as above
        found.setdefault(satellite, set()).add(group_scope(group))
    return found
