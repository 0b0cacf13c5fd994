"""Scopes' generations: intervals in one table, so that a snapshot, a delta and history are range queries."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sqlmodel import Session, and_, col, or_, select

from controlplane.adapters.payload import encode_delta
from controlplane.adapters.sql.tables import (
    ArtifactRow,
    AssignmentRow,
    LogHead,
    ResourceBodyRow,
    RuleRow,
    RuleScopeRow,
    ScopeGenerationRow,
    ScopeResourceRow,
    ScopeRow,
    SourceRow,
)
from controlplane.domain.commands import Concerned
from controlplane.domain.entities import Signature
from controlplane.domain.specs import ResourceKind
from controlplane.domain.state import Difference, Key, Resource, Versions, difference, sort_key
from fleet.digests import EMPTY_SCOPE, scope_digest
from fleet.errors import FleetError, Kind

_BATCH = 500
"""Values in one IN list."""


@dataclass(slots=True)
class Touched:
    """What the commands of one transaction may have changed."""

    keys: dict[str, set[Key]] = field(default_factory=dict)
    satellites: set[str] = field(default_factory=set)

    def add(self, scope: str, kind: ResourceKind, name: str) -> None:
        """Note that a resource may have come, changed or gone in a scope."""
        self.keys.setdefault(scope, set()).add((int(kind), name))


def store_body(session: Session, resource: Resource) -> bytes:
    """Keep a payload under its version, with the signatures that it came with; answers the version."""
    signatures = [[one.key_id.hex(), one.signature.hex()] for one in resource.signatures]
    row = session.get(ResourceBodyRow, resource.version)
    if row is None or row.signatures != signatures:
        row = row or ResourceBodyRow(version=resource.version, kind=resource.kind, payload=resource.payload)
        row.signatures = signatures
        session.add(row)
    return resource.version


def settle(session: Session, head: LogHead, touched: Touched) -> Concerned:
    """Write a new generation of each scope whose content is another now; the others keep theirs.

    The generation belongs to the revision that the transaction writes next.
    """
    session.flush()
    changed = {scope for scope, keys in sorted(touched.keys.items()) if _settle_scope(session, head, scope, keys)}
    return Concerned(frozenset(changed), frozenset(touched.satellites))


def _settle_scope(session: Session, head: LogHead, scope: str, keys: set[Key]) -> bool:
    opened = session.exec(
        select(ScopeResourceRow).where(ScopeResourceRow.scope == scope, col(ScopeResourceRow.to_generation).is_(None))
    ).all()
    rows = {(row.kind, row.name): row for row in opened}
    wanted = _wanted(session, scope, keys)
    moved = [key for key in keys if wanted.get(key) != (rows[key].version if key in rows else None)]
    if not moved:
        return False
    content = {key: row.version for key, row in rows.items()}
    latest = session.get(ScopeRow, scope) or ScopeRow(name=scope, generation=0, digest=EMPTY_SCOPE)
    latest.generation += 1
    for key in moved:
        if key in rows:
            rows[key].to_generation = latest.generation
            session.add(rows[key])
            del content[key]
        if key in wanted:
            kind, name = key
            content[key] = wanted[key]
            session.add(
                ScopeResourceRow(
                    scope=scope, kind=kind, name=name, from_generation=latest.generation, version=wanted[key]
                )
            )
    latest.digest = scope_digest((kind, name, version) for (kind, name), version in content.items())
    session.add(latest)
    session.add(
        ScopeGenerationRow(
            scope=scope,
            generation=latest.generation,
            digest=latest.digest,
            epoch=head.epoch,
            revision=head.revision + 1,
        )
    )
    session.flush()
    return True


def _wanted(session: Session, scope: str, keys: set[Key]) -> dict[Key, bytes]:
    """Find the versions that a scope should hold now, of these keys alone."""
    wanted: dict[Key, bytes] = {}
    for kind in {kind for kind, _ in keys}:
        names = sorted(name for each, name in keys if each == kind)
        for start in range(0, len(names), _BATCH):
            for name, version in _wanted_of(session, scope, kind, names[start : start + _BATCH]):
                wanted[kind, name] = version
    return wanted


def _wanted_of(session: Session, scope: str, kind: int, names: list[str]) -> Iterable[tuple[str, bytes]]:
    match kind:
        case ResourceKind.ARTIFACT:
            statement = (
                select(ArtifactRow.name, ArtifactRow.version)
                .join(AssignmentRow, col(AssignmentRow.artifact) == ArtifactRow.name)
                .where(AssignmentRow.scope == scope, col(ArtifactRow.name).in_(names))
            )
        case ResourceKind.SOURCE:  # a source is wherever one of its artifacts is, and leaves with the last
            statement = (
                select(SourceRow.name, SourceRow.version)
                .join(ArtifactRow, col(ArtifactRow.source) == SourceRow.name)
                .join(AssignmentRow, col(AssignmentRow.artifact) == ArtifactRow.name)
                .where(AssignmentRow.scope == scope, col(SourceRow.name).in_(names))
            )
        case _:
            statement = (
                select(RuleRow.name, RuleRow.version)
                .join(
                    RuleScopeRow,
                    and_(col(RuleScopeRow.kind) == RuleRow.kind, col(RuleScopeRow.name) == RuleRow.name),
                )
                .where(RuleScopeRow.scope == scope, RuleRow.kind == kind, col(RuleRow.name).in_(names))
            )
    return session.exec(statement.distinct()).all()


def content_at(session: Session, scope: str, generation: int) -> dict[Key, bytes]:
    """Read a scope's versions at a generation; 0 is nothing."""
    since, until = col(ScopeResourceRow.from_generation), col(ScopeResourceRow.to_generation)
    rows = session.exec(
        select(ScopeResourceRow.kind, ScopeResourceRow.name, ScopeResourceRow.version).where(
            ScopeResourceRow.scope == scope, since <= generation, or_(until.is_(None), until > generation)
        )
    )
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
    _check_generation(session, scope, to_generation)
    start = 0 if from_digest is None else generation_of(session, scope, from_digest)
    if start is None:
        raise FleetError(Kind.PRECONDITION, "DIGEST_UNKNOWN", "the scope never had this digest", subject=scope)
    held, wanted = _changed_between(session, scope, start, to_generation)
    return _encode(session, difference(held, wanted))


def delta_from(session: Session, scope: str, held: Versions, to_generation: int) -> bytes:
    """Serialize what leads from an inventory to a generation.

    Raises:
        FleetError: UNKNOWN `GENERATION_UNKNOWN`.
    """
    _check_generation(session, scope, to_generation)
    return _encode(session, difference(held, content_at(session, scope, to_generation)))


def _check_generation(session: Session, scope: str, generation: int) -> None:
    if generation and session.get(ScopeGenerationRow, (scope, generation)) is None:
        text = "the scope has no such generation"
        raise FleetError(Kind.UNKNOWN, "GENERATION_UNKNOWN", text, subject=scope)


def _changed_between(session: Session, scope: str, start: int, end: int) -> tuple[Versions, Versions]:
    """Read the intervals that begin or end between two generations, either way round: nothing else differs."""
    low, high = min(start, end), max(start, end)
    since, until = col(ScopeResourceRow.from_generation), col(ScopeResourceRow.to_generation)
    rows = session.exec(
        select(ScopeResourceRow).where(
            ScopeResourceRow.scope == scope,
            or_(and_(since > low, since <= high), and_(until > low, until <= high)),
        )
    ).all()

    def at(generation: int) -> dict[Key, bytes]:
        return {
            (row.kind, row.name): row.version
            for row in rows
            if row.from_generation <= generation and (row.to_generation is None or row.to_generation > generation)
        }

    return at(start), at(end)


def _encode(session: Session, step: Difference) -> bytes:
    upserts = [(*key, version) for key, version in step.upserts]
    return encode_delta(_with_bodies(session, upserts), step.deletes)


def _with_bodies(session: Session, wanted: Sequence[tuple[int, str, bytes]]) -> Iterable[Resource]:
    """Read payloads and signatures: `(kind, name, version) → resources`, in the same order."""
    asked = sorted({version for _, _, version in wanted})
    found: dict[bytes, tuple[bytes, tuple[Signature, ...]]] = {}
    for start in range(0, len(asked), _BATCH):
        batch = col(ResourceBodyRow.version).in_(asked[start : start + _BATCH])
        columns = select(ResourceBodyRow.version, ResourceBodyRow.payload, ResourceBodyRow.signatures)
        for version, payload, signatures in session.exec(columns.where(batch)):
            found[version] = payload, tuple(Signature(*map(bytes.fromhex, one)) for one in signatures)
    for kind, name, version in wanted:
        payload, signed = found[version]
        yield Resource(kind, name, payload, version, signed)


def resources_at(session: Session, scope: str, generation: int) -> tuple[Resource, ...]:
    """Read a scope's whole content, sorted by (kind, name)."""
    ordered = sorted(content_at(session, scope, generation).items(), key=lambda item: sort_key(item[0]))
    return tuple(_with_bodies(session, [(*key, version) for key, version in ordered]))
