"""Scopes' generations, read: intervals in one table, so that a snapshot, a delta and history are range queries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, bindparam, func
from sqlalchemy.sql.elements import SQLCoreOperations
from sqlmodel import Session, and_, col, or_, select

from controlplane.adapters.payload import encode_delta
from controlplane.adapters.sql.batches import batches
from controlplane.adapters.sql.tables import (
    ResourceBodyRow,
    ScopeGenerationRow,
    ScopeResourceRow,
)
from controlplane.domain.entities import Signature
from controlplane.domain.state import Key, Resource, Versions, difference, sort_key
from fleet.digests import EMPTY_SCOPE
from fleet.errors import FleetError, Kind

_SINCE, _UNTIL = col(ScopeResourceRow.from_generation), col(ScopeResourceRow.to_generation)
_END = bindparam("end", type_=BigInteger())
_HELD = and_(_SINCE <= _END, or_(_UNTIL.is_(None), _UNTIL > _END))
_GENERATION = select(ScopeGenerationRow.generation).where(ScopeGenerationRow.scope == bindparam("scope"))
_ENDS = _GENERATION.where(ScopeGenerationRow.generation == _END)
KNOWN = (
    _GENERATION.where(ScopeGenerationRow.digest == bindparam("digest"))
    .order_by(col(ScopeGenerationRow.generation).desc())
    .limit(1)
)
"""The latest generation with a digest."""
_CONTENT = select(ScopeResourceRow.kind, ScopeResourceRow.name, ScopeResourceRow.version).where(
    ScopeResourceRow.scope == bindparam("scope"), _HELD
)
_BOUNDS = select(KNOWN.scalar_subquery().label("start"), _ENDS.exists().label("ends")).subquery()
_BODIES = select(ResourceBodyRow.version, ResourceBodyRow.payload, ResourceBodyRow.signatures)


def _between(generation: SQLCoreOperations[Any]) -> ColumnElement[bool]:
    """Say that a generation lies between start and end, either way round."""
    start = func.coalesce(_BOUNDS.c.start, 0)
    return or_(and_(generation > start, generation <= _END), and_(generation > _END, generation <= start))


STEP = (
    select(_BOUNDS.c.start, _BOUNDS.c.ends)
    .add_columns(col(ScopeResourceRow.kind), col(ScopeResourceRow.name), col(ScopeResourceRow.version))
    .add_columns(_SINCE, _UNTIL, col(ResourceBodyRow.payload), col(ResourceBodyRow.signatures))
    .select_from(_BOUNDS)
    .join(
        ScopeResourceRow,
        and_(col(ScopeResourceRow.scope) == bindparam("scope"), or_(_between(_SINCE), _between(_UNTIL))),
        isouter=True,
    )
    .join(ResourceBodyRow, and_(col(ResourceBodyRow.version) == ScopeResourceRow.version, _HELD), isouter=True)
)
"""The intervals that begin or end between two generations, as nothing else differs, with the payloads of what is held
at the end: in one statement, which is of one moment without a transaction."""


def content_at(session: Session, scope: str, generation: int) -> dict[Key, bytes]:
    """Read a scope's versions at a generation; 0 is nothing."""
    rows = session.connection().execute(_CONTENT, {"scope": scope, "end": generation})
    return {(kind, name): version for kind, name, version in rows}


def step_of(scope: str, from_digest: bytes | None, to_generation: int) -> dict[str, Any]:
    """Say of which step `STEP` is to read the rows: from a digest, or from nothing, to a generation."""
    return {"scope": scope, "digest": from_digest or EMPTY_SCOPE, "end": to_generation}


def delta_of(rows: Sequence[Sequence[Any]], scope: str, from_digest: bytes | None, to_generation: int) -> bytes:
    """Serialize a step, as `STEP` has read it.

    Raises:
        FleetError: PRECONDITION `DIGEST_UNKNOWN`, UNKNOWN `GENERATION_UNKNOWN`.
    """
    start, ends = rows[0][:2]
    if to_generation and not ends:
        raise _no_generation(scope)
    if start is None and from_digest not in (None, EMPTY_SCOPE):
        raise FleetError(Kind.PRECONDITION, "DIGEST_UNKNOWN", "the scope never had this digest", subject=scope)
    changed = [row[2:] for row in rows if row[2] is not None]  # where nothing differs, one row says so

    def at(generation: int) -> dict[Key, bytes]:
        return {
            (kind, name): version
            for kind, name, version, began, ended, *_ in changed
            if began <= generation and (ended is None or ended > generation)
        }

    step = difference(at(start or 0), at(to_generation))
    bodies = {
        version: (payload, signatures) for _, _, version, _, _, payload, signatures in changed if payload is not None
    }
    upserts = (_resource(key, version, *bodies[version]) for key, version in step.upserts)
    return encode_delta(upserts, step.deletes)


def delta_from(session: Session, scope: str, held: Versions, to_generation: int) -> bytes:
    """Serialize what leads from an inventory to a generation.

    Raises:
        FleetError: UNKNOWN `GENERATION_UNKNOWN`.
    """
    if to_generation and session.connection().execute(_ENDS, {"scope": scope, "end": to_generation}).first() is None:
        raise _no_generation(scope)
    step = difference(held, content_at(session, scope, to_generation))
    return encode_delta(_with_bodies(session, [(*key, version) for key, version in step.upserts]), step.deletes)


def _no_generation(scope: str) -> FleetError:
    return FleetError(Kind.UNKNOWN, "GENERATION_UNKNOWN", "the scope has no such generation", subject=scope)


def _with_bodies(session: Session, wanted: Sequence[tuple[int, str, bytes]]) -> Iterable[Resource]:
    """Read payloads and signatures: `(kind, name, version) → resources`, in the same order."""
    asked = sorted({version for _, _, version in wanted})
    found: dict[bytes, tuple[bytes, Sequence[list[str]]]] = {}
    for batch in batches(asked):
        for version, payload, signatures in session.exec(_BODIES.where(col(ResourceBodyRow.version).in_(batch))):
            found[version] = payload, signatures
    return (_resource((kind, name), version, *found[version]) for kind, name, version in wanted)


def _resource(key: Key, version: bytes, payload: bytes, signatures: Sequence[list[str]]) -> Resource:
    return Resource(*key, payload, version, tuple(Signature(*map(bytes.fromhex, one)) for one in signatures))


def resources_at(session: Session, scope: str, generation: int) -> tuple[Resource, ...]:
    """Read a scope's whole content, sorted by (kind, name)."""
    ordered = sorted(content_at(session, scope, generation).items(), key=lambda item: sort_key(item[0]))
    return tuple(_with_bodies(session, [(*key, version) for key, version in ordered]))
