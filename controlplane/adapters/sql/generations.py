"""Scopes' generations, read: intervals in one table, so that a snapshot, a delta and history are range queries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import ColumnElement
from sqlmodel import Session, and_, col, or_, select

from controlplane.adapters.payload import encode_delta
from controlplane.adapters.sql.batches import batches
from controlplane.adapters.sql.tables import (
    ResourceBodyRow,
    ScopeGenerationRow,
    ScopeResourceRow,
)
from controlplane.domain.entities import Signature
from controlplane.domain.state import Difference, Key, Resource, Versions, difference, sort_key
from fleet.digests import EMPTY_SCOPE
from fleet.errors import FleetError, Kind


def content_at(session: Session, scope: str, generation: int) -> dict[Key, bytes]:
    """Read a scope's versions at a generation; 0 is nothing."""
    since, until = col(ScopeResourceRow.from_generation), col(ScopeResourceRow.to_generation)
    return _versions(session, scope, since <= generation, or_(until.is_(None), until > generation))


def content_now(session: Session, scope: str) -> dict[Key, bytes]:
    """Read a scope's versions at its latest generation, of which no number need be known."""
    return _versions(session, scope, col(ScopeResourceRow.to_generation).is_(None))


def _versions(session: Session, scope: str, *held: ColumnElement[bool]) -> dict[Key, bytes]:
    columns = select(ScopeResourceRow.kind, ScopeResourceRow.name, ScopeResourceRow.version)
    rows = session.exec(columns.where(ScopeResourceRow.scope == scope, *held))
    return {(kind, name): version for kind, name, version in rows}


def generation_of(session: Session, scope: str, digest: bytes) -> int | None:
    """Find the latest generation with this digest; a scope's beginning is 0."""
    found = session.exec(
        select(ScopeGenerationRow.generation)
        .where(ScopeGenerationRow.scope == scope, ScopeGenerationRow.digest == digest)
        .order_by(col(ScopeGenerationRow.generation).desc())
        .limit(1)
    ).first()
    return 0 if found is None and digest == EMPTY_SCOPE else found


def delta_between(session: Session, scope: str, from_digest: bytes | None, to_generation: int) -> bytes:
    """Serialize what leads from a known digest, or from nothing, to a generation.

    Raises:
        FleetError: PRECONDITION `DIGEST_UNKNOWN`, UNKNOWN `GENERATION_UNKNOWN`.
    """
    known = _generations(session, scope, from_digest, to_generation)
    starts = [generation for generation, digest in known.items() if digest == from_digest]
    if not starts and from_digest not in (None, EMPTY_SCOPE):
        raise FleetError(Kind.PRECONDITION, "DIGEST_UNKNOWN", "the scope never had this digest", subject=scope)
    held, wanted = _changed_between(session, scope, max(starts, default=0), to_generation)
    return _encode(session, difference(held, wanted))


def _generations(session: Session, scope: str, digest: bytes | None, generation: int) -> dict[int, bytes]:
    """Read the generations of a scope that have this digest, or are this one, which there must be. 0 is before all."""
    asked = select(ScopeGenerationRow.generation, ScopeGenerationRow.digest)
    either = or_(ScopeGenerationRow.digest == digest, ScopeGenerationRow.generation == generation)
    found = dict(session.exec(asked.where(ScopeGenerationRow.scope == scope, either)).all())
    if generation and generation not in found:
        raise FleetError(Kind.UNKNOWN, "GENERATION_UNKNOWN", "the scope has no such generation", subject=scope)
    return found


def delta_from(session: Session, scope: str, held: Versions, to_generation: int) -> bytes:
    """Serialize what leads from an inventory to a generation.

    Raises:
        FleetError: UNKNOWN `GENERATION_UNKNOWN`.
    """
    _generations(session, scope, None, to_generation)
    return _encode(session, difference(held, content_at(session, scope, to_generation)))


def _changed_between(session: Session, scope: str, start: int, end: int) -> tuple[Versions, Versions]:
    """Read the intervals that begin or end between two generations, either way round: nothing else differs."""
    low, high = min(start, end), max(start, end)
    since, until = col(ScopeResourceRow.from_generation), col(ScopeResourceRow.to_generation)
    columns = select(ScopeResourceRow.kind, ScopeResourceRow.name, ScopeResourceRow.version).add_columns(since, until)
    between = or_(and_(since > low, since <= high), and_(until > low, until <= high))
    rows = session.connection().execute(columns.where(col(ScopeResourceRow.scope) == scope, between)).all()

    def at(generation: int) -> dict[Key, bytes]:
        return {
            (kind, name): version
            for kind, name, version, began, ended in rows
            if began <= generation and (ended is None or ended > generation)
        }

    return at(start), at(end)


def _encode(session: Session, step: Difference) -> bytes:
    upserts = [(*key, version) for key, version in step.upserts]
    return encode_delta(_with_bodies(session, upserts), step.deletes)


def _with_bodies(session: Session, wanted: Sequence[tuple[int, str, bytes]]) -> Iterable[Resource]:
    """Read payloads and signatures: `(kind, name, version) → resources`, in the same order."""
    asked = sorted({version for _, _, version in wanted})
    found: dict[bytes, tuple[bytes, tuple[Signature, ...]]] = {}
    columns = select(ResourceBodyRow.version, ResourceBodyRow.payload, ResourceBodyRow.signatures)
    for batch in batches(asked):
        for version, payload, signatures in session.exec(columns.where(col(ResourceBodyRow.version).in_(batch))):
            found[version] = payload, tuple(Signature(*map(bytes.fromhex, one)) for one in signatures)
    for kind, name, version in wanted:
        payload, signed = found[version]
        yield Resource(kind, name, payload, version, signed)


def resources_at(session: Session, scope: str, generation: int) -> tuple[Resource, ...]:
    """Read a scope's whole content, sorted by (kind, name)."""
    ordered = sorted(content_at(session, scope, generation).items(), key=lambda item: sort_key(item[0]))
    return tuple(_with_bodies(session, [(*key, version) for key, version in ordered]))
