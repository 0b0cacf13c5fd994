"""What of the past is let go: old changes, generations that nobody can hold any more, and what hung on them.

    change              the oldest ones, but for the newest that is old enough: the log is never empty
    scope_generation    all before the one that a scope had then, so that whoever left later still gets its delta
    scope_resource      intervals that ended with those
    resource_body       what neither a generation nor an entity names any more
    join_token          those that ended long ago

Little is done in one transaction, and the log's head is locked for no longer: writers take turns with it. What is
done twice, or half, does no harm.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVarTuple

from sqlalchemy import func
from sqlmodel import Session, col, delete, or_, select

from controlplane.adapters.sql.engine import Database
from controlplane.adapters.sql.log import lock_end
from controlplane.adapters.sql.tables import (
    ArtifactRow,
    ChangeRow,
    ResourceBodyRow,
    RuleRow,
    ScopeGenerationRow,
    ScopeResourceRow,
    SourceRow,
    TokenRow,
)
from controlplane.domain.compaction import Dropped
from fleet.position import Position

CHANGES = 200
"""Changes that one step of compaction looks at."""
SCOPES = 100
"""Scopes whose generations go in one transaction: some 10 ms."""
BODIES = 500
"""Payloads that one step looks at."""

Given = TypeVarTuple("Given")


@dataclass(frozen=True, slots=True)
class Old:
    """The oldest part of the log that may go: where it ends, and the scopes that have changed in it."""

    until: Position
    changes: int
    scopes: tuple[str, ...]


async def compact(database: Database, before: datetime, pause: Callable[[], Awaitable[None]]) -> Dropped:
    """Let go of what has been the past since before a time; `pause` is awaited between transactions."""
    dropped = Dropped()
    while old := await database.read(lambda session: find_old(session, before)):
        for start in range(0, len(old.scopes), SCOPES):
            dropped += await _write(database, drop_generations, old.scopes[start : start + SCOPES], old.until)
            await pause()
        dropped += await _write(database, drop_changes, old.until)
        await pause()
    cursor: bytes | None = b""
    while cursor is not None:
        cursor, unused = await _read_unused(database, cursor)
        if unused:
            dropped += await _write(database, drop_bodies, unused)
        await pause()
    return dropped + await _write(database, drop_tokens, before)


async def _read_unused(database: Database, after: bytes) -> tuple[bytes | None, tuple[bytes, ...]]:
    return await database.read(lambda session: find_unused(session, after))


async def _write(database: Database, drop: Callable[[Session, *Given], Dropped], *given: *Given) -> Dropped:
    """Keep the log's writers out for one small transaction: they may name a payload again, or end an interval."""

    def locked(session: Session) -> Dropped:
        lock_end(session)
        return drop(session, *given)

    return await database.write(locked)


def find_old(session: Session, before: datetime) -> Old | None:
    """Find the oldest changes that may go; None where there are none."""
    epoch, revision = col(ChangeRow.epoch), col(ChangeRow.revision)
    asked = select(ChangeRow.epoch, ChangeRow.revision, ChangeRow.at, ChangeRow.diff)
    first = session.connection().execute(asked.order_by(epoch, revision).limit(CHANGES)).all()
    # Clocks of several hosts may differ a little: what stands behind a change that is too new stays as well.
    count = next((index for index, row in enumerate(first) if row[2] > before), len(first))
    if count < 2:  # noqa: PLR2004 - the newest of them stays
        return None
    scopes = sorted({scope for row in first[:count] for scope in row[3]["scopes"]})
    return Old(Position(first[count - 1][0], first[count - 1][1]), count, tuple(scopes))


def drop_generations(session: Session, scopes: Sequence[str], until: Position) -> Dropped:
    """Let go of what scopes were before what they were at a position."""
    epoch, revision = col(ScopeGenerationRow.epoch), col(ScopeGenerationRow.revision)
    connection = session.connection()
    asked = select(ScopeGenerationRow.scope, func.max(ScopeGenerationRow.generation)).where(
        col(ScopeGenerationRow.scope).in_(scopes), _up_to(epoch, revision, until)
    )
    dropped = Dropped()
    for scope, kept in connection.execute(asked.group_by(col(ScopeGenerationRow.scope))).all():
        earlier = (col(ScopeGenerationRow.scope) == scope, col(ScopeGenerationRow.generation) < kept)
        ended = (col(ScopeResourceRow.scope) == scope, col(ScopeResourceRow.to_generation) <= kept)
        dropped += Dropped(
            generations=connection.execute(delete(ScopeGenerationRow).where(*earlier)).rowcount,
            intervals=connection.execute(delete(ScopeResourceRow).where(*ended)).rowcount,
        )
    return dropped


def drop_changes(session: Session, until: Position) -> Dropped:
    """Let go of the changes before a position; the one there stays."""
    epoch, revision = col(ChangeRow.epoch), col(ChangeRow.revision)
    earlier = _up_to(epoch, revision, Position(until.epoch, until.revision - 1))
    return Dropped(changes=session.connection().execute(delete(ChangeRow).where(earlier)).rowcount)


def _up_to(epoch: Any, revision: Any, until: Position) -> Any:  # noqa: ANN401 - columns, and what they make
    return or_(epoch < until.epoch, (epoch == until.epoch) & (revision <= until.revision))


def find_unused(session: Session, after: bytes) -> tuple[bytes | None, tuple[bytes, ...]]:
    """Look at the next payloads: `→ (where to go on, None at the end; those that nothing names)`."""
    version = col(ResourceBodyRow.version)
    versions = session.exec(
        select(ResourceBodyRow.version).where(version > after).order_by(version).limit(BODIES)
    ).all()
    return (versions[-1] if len(versions) == BODIES else None), _unused(session, versions)


def _unused(session: Session, versions: Sequence[bytes]) -> tuple[bytes, ...]:
    used: set[bytes] = set()
    for named in (ScopeResourceRow.version, ArtifactRow.version, SourceRow.version, RuleRow.version):
        used.update(session.exec(select(named).where(col(named).in_(versions)).distinct()))
    return tuple(version for version in versions if version not in used)


def drop_bodies(session: Session, versions: Sequence[bytes]) -> Dropped:
    """Let go of payloads that nothing names, not even by now."""
    gone = delete(ResourceBodyRow).where(col(ResourceBodyRow.version).in_(_unused(session, versions)))
    return Dropped(bodies=session.connection().execute(gone).rowcount)


def drop_tokens(session: Session, before: datetime) -> Dropped:
    """Let go of the join tokens that ended before a time, used or not."""
    gone = delete(TokenRow).where(col(TokenRow.expires_at) < before)
    return Dropped(tokens=session.connection().execute(gone).rowcount)
