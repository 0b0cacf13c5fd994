"""Scopes' generations, written: what a transaction touched, and what a scope should hold now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, bindparam
from sqlmodel import Session, and_, col, insert, select, update

from controlplane.adapters.sql.batches import batches
from controlplane.adapters.sql.generations import content_now
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
from controlplane.adapters.sql.upserts import upsert
from controlplane.domain.commands import Concerned
from controlplane.domain.specs import ResourceKind
from controlplane.domain.state import Key, Resource
from fleet.digests import scope_digest


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
    connection = session.connection()
    body = {
        "version": resource.version,
        "kind": int(resource.kind),
        "payload": resource.payload,
        "signatures": [[one.key_id.hex(), one.signature.hex()] for one in resource.signatures],
    }
    connection.execute(upsert(connection, ResourceBodyRow), body)
    return resource.version


def settle(session: Session, head: LogHead, touched: Touched) -> Concerned:
    """Write a new generation of each scope whose content is another now; the others keep theirs.

    The generation belongs to the revision that the transaction writes next. No object is made of a row: a scope may
    hold thousands of resources, of which a change concerns one.
    """
    session.flush()
    changed = {scope for scope, keys in sorted(touched.keys.items()) if _settle_scope(session, head, scope, keys)}
    return Concerned(frozenset(changed), frozenset(touched.satellites))


def _settle_scope(session: Session, head: LogHead, scope: str, keys: set[Key]) -> bool:
    connection = session.connection()
    content = content_now(session, scope)
    wanted = _wanted(session, scope, keys)
    moved = sorted(key for key in keys if wanted.get(key) != content.get(key))
    if not moved:
        return False
    ended = [key for key in moved if key in content]
    began = {key: wanted[key] for key in moved if key in wanted}
    for key in ended:
        del content[key]
    content.update(began)
    digest = scope_digest((kind, name, version) for (kind, name), version in content.items())
    latest = connection.execute(select(ScopeRow.generation).where(ScopeRow.name == scope)).scalar_one_or_none() or 0
    generation = latest + 1
    connection.execute(upsert(connection, ScopeRow), {"name": scope, "generation": generation, "digest": digest})
    connection.execute(
        insert(ScopeGenerationRow),
        {
            "scope": scope,
            "generation": generation,
            "digest": digest,
            "epoch": head.epoch,
            "revision": head.revision + 1,
        },
    )
    _move(connection, scope, generation, ended, began)
    return True


def _move(
    connection: Connection, scope: str, generation: int, ended: Iterable[Key], began: Mapping[Key, bytes]
) -> None:
    """End the intervals of what left or changed, and begin those of what came or changed."""
    ends = [{"of_kind": kind, "of_name": name} for kind, name in ended]
    if ends:
        still = (
            col(ScopeResourceRow.scope) == scope,
            col(ScopeResourceRow.kind) == bindparam("of_kind"),
            col(ScopeResourceRow.name) == bindparam("of_name"),
            col(ScopeResourceRow.to_generation).is_(None),
        )
        connection.execute(update(ScopeResourceRow).where(*still).values(to_generation=generation), ends)
    begins = [
        {"scope": scope, "kind": kind, "name": name, "from_generation": generation, "version": version}
        for (kind, name), version in began.items()
    ]
    if begins:
        connection.execute(insert(ScopeResourceRow), begins)


def _wanted(session: Session, scope: str, keys: set[Key]) -> dict[Key, bytes]:
    """Find the versions that a scope should hold now, of these keys alone."""
    wanted: dict[Key, bytes] = {}
    for kind in {kind for kind, _ in keys}:
        names = sorted(name for each, name in keys if each == kind)
        for batch in batches(names):
            for name, version in _wanted_of(session, scope, kind, batch):
                wanted[kind, name] = version
    return wanted


def _wanted_of(session: Session, scope: str, kind: int, names: Sequence[str]) -> Iterable[tuple[str, bytes]]:
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
