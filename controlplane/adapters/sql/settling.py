"""Scopes' generations, written: what a transaction touched, and what a scope should hold now."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, bindparam
from sqlmodel import Session, and_, col, select

from controlplane.adapters.sql.artifacts import Artifacts, body_of
from controlplane.adapters.sql.batches import among, batches
from controlplane.adapters.sql.log import Head, at
from controlplane.adapters.sql.tables import (
    ArtifactRow,
    AssignmentRow,
    ResourceBodyRow,
    RuleRow,
    RuleScopeRow,
    ScopeGenerationRow,
    ScopeResourceRow,
    ScopeRow,
    SourceRow,
)
from controlplane.adapters.sql.upserts import Rows, put
from controlplane.domain.entities import Position
from controlplane.domain.specs import ResourceKind
from controlplane.domain.state import Difference, Key, Resource, difference
from fleet.digests import EMPTY_SCOPE, scope_digest

SCOPES = 100
"""Scopes that are settled at once: their whole content is read, for its digest."""

_CONTENT = (
    select(ScopeRow.name, ScopeRow.generation, ScopeRow.digest)
    .add_columns(col(ScopeResourceRow.kind), col(ScopeResourceRow.name))
    .add_columns(col(ScopeResourceRow.version), col(ScopeResourceRow.from_generation))
    .join(
        ScopeResourceRow,
        and_(col(ScopeResourceRow.scope) == ScopeRow.name, col(ScopeResourceRow.to_generation).is_(None)),
        isouter=True,
    )
    .where(among(ScopeRow.name, "scopes"))
)
_ARTIFACTS = (
    select(AssignmentRow.scope, ArtifactRow.name, ArtifactRow.version)
    .join(ArtifactRow, col(AssignmentRow.artifact) == ArtifactRow.name)
    .where(among(AssignmentRow.scope, "scopes"), among(ArtifactRow.name, "names"))
    .distinct()
)
_SOURCES = (  # a source is wherever one of its artifacts is, and leaves with the last
    select(AssignmentRow.scope, SourceRow.name, SourceRow.version)
    .join(ArtifactRow, col(AssignmentRow.artifact) == ArtifactRow.name)
    .join(SourceRow, col(ArtifactRow.source) == SourceRow.name)
    .where(among(AssignmentRow.scope, "scopes"), among(SourceRow.name, "names"))
    .distinct()
)
_RULES = (
    select(RuleScopeRow.scope, RuleRow.name, RuleRow.version)
    .join(RuleRow, and_(col(RuleScopeRow.kind) == RuleRow.kind, col(RuleScopeRow.name) == RuleRow.name))
    .where(among(RuleScopeRow.scope, "scopes"), among(RuleRow.name, "names"), RuleRow.kind == bindparam("kind"))
)
_CARRIED = {int(ResourceKind.ARTIFACT): _ARTIFACTS, int(ResourceKind.SOURCE): _SOURCES}
"""What stands behind a resource of a scope: for these kinds an assignment, for all others a rule's scopes."""


@dataclass(slots=True)
class Touched:
    """What the commands of one transaction may have changed."""

    keys: dict[str, set[Key]] = field(default_factory=dict)
    satellites: set[str] = field(default_factory=set)

    def add(self, scope: str, kind: ResourceKind, name: str) -> None:
        """Note that a resource may have come, changed or gone in a scope."""
        self.keys.setdefault(scope, set()).add((int(kind), name))


@dataclass(slots=True)
class _Scope:
    """A scope before the change: its latest generation, and of each resource the version and since when it is that."""

    generation: int = 0
    digest: bytes = EMPTY_SCOPE
    content: dict[Key, tuple[bytes, int]] = field(default_factory=dict)

    def versions(self, keys: Iterable[Key]) -> dict[Key, bytes]:
        """Say which versions it holds of these."""
        return {key: self.content[key][0] for key in keys if key in self.content}


@dataclass(slots=True)
class Settled:
    """What scopes are from a change on, yet to be written."""

    heads: dict[str, Head] = field(default_factory=dict)
    """Of the scopes that changed."""
    steps: dict[str, tuple[bytes, Difference]] = field(default_factory=dict)
    """From which digest it came to that, and how."""
    intervals: list[dict[str, Any]] = field(default_factory=list)

    def interval(self, scope: str, key: Key, version: bytes, since: int, until: int | None) -> None:
        """Note from which generation of a scope a resource has a version, and before which it has it no more."""
        of = {"scope": scope, "kind": key[0], "name": key[1], "version": version}
        self.intervals.append({**of, "from_generation": since, "to_generation": until})

    def rows(self, position: Position) -> list[Rows]:
        """Make the rows that say so, at the position of the change."""
        if not self.heads:
            return []
        heads = [{"generation": number, "digest": digest} for number, digest in self.heads.values()]
        return [
            Rows(ScopeRow, [{"name": scope, **head} for scope, head in zip(self.heads, heads, strict=True)]),
            Rows(
                ScopeGenerationRow,
                [{"scope": scope, **head, **at(position)} for scope, head in zip(self.heads, heads, strict=True)],
                replacing=False,
            ),
            Rows(ScopeResourceRow, self.intervals),
        ]


def store_body(session: Session, resource: Resource) -> bytes:
    """Keep a payload; answers its version."""
    put(session.connection(), Rows(ResourceBodyRow, [body_of(resource)]))
    return resource.version


def settle(session: Session, touched: Touched, artifacts: Artifacts) -> Settled:
    """Begin a new generation of each scope whose content is another now; the others keep theirs.

    No object is made of a row: a scope may hold thousands of resources, of which a change concerns one.

    Args:
        session: of the transaction.
        touched: where to look.
        artifacts: of the transaction; those that are others now need not be touched where they are assigned.
    """
    session.flush()
    if touched.keys:
        artifacts.write()
    connection = session.connection()
    found: defaultdict[str, dict[Key, bytes]] = defaultdict(dict)
    for scope, name in artifacts.holders():
        found[scope][int(ResourceKind.ARTIFACT), name] = artifacts.changed[name].version
    settled = Settled()
    for scopes in batches(sorted({*touched.keys, *found}), SCOPES):
        looked_at = {scope: touched.keys.get(scope, set()) | found[scope].keys() for scope in scopes}
        sought = {scope: keys - found[scope].keys() for scope, keys in looked_at.items()}
        held, wanted = _held(connection, scopes), _wanted(connection, sought)
        for scope, keys in looked_at.items():
            _settle(settled, scope, keys, held[scope], {**wanted[scope], **found[scope]})
    return settled


def _settle(settled: Settled, scope: str, keys: set[Key], before: _Scope, now: Mapping[Key, bytes]) -> None:
    """Begin a scope's next generation, where of these keys it does not hold what it should now."""
    step = difference(before.versions(keys), now)
    if not step.upserts and not step.deletes:
        return
    generation = before.generation + 1
    content = {**before.versions(before.content.keys() - keys), **now}
    digest = scope_digest((kind, name, version) for (kind, name), version in content.items())
    settled.heads[scope], settled.steps[scope] = (generation, digest), (before.digest, step)
    left = [key for key in (*step.deletes, *(key for key, _ in step.upserts)) if key in before.content]
    for key in left:
        settled.interval(scope, key, *before.content[key], generation)
    for key, version in step.upserts:
        settled.interval(scope, key, version, generation, None)


def _held(connection: Connection, scopes: Iterable[str]) -> Mapping[str, _Scope]:
    held: defaultdict[str, _Scope] = defaultdict(_Scope)
    rows = connection.execute(_CONTENT, {"scopes": list(scopes)})
    for scope, generation, digest, kind, name, version, since in rows:
        held[scope].generation, held[scope].digest = generation, digest
        if kind is not None:  # a scope may be empty
            held[scope].content[kind, name] = version, since
    return held


def _wanted(connection: Connection, touched: Mapping[str, set[Key]]) -> Mapping[str, dict[Key, bytes]]:
    """Find the versions that scopes should hold now, of these keys alone."""
    wanted: defaultdict[str, dict[Key, bytes]] = defaultdict(dict)
    keys, scopes = set().union(*touched.values()), [scope for scope in touched if touched[scope]]
    for kind in sorted({kind for kind, _ in keys}):
        asked = {"scopes": scopes, "names": [name for each, name in keys if each == kind]}
        if kind in _CARRIED:
            found = connection.execute(_CARRIED[kind], asked)
        else:
            found = connection.execute(_RULES, {**asked, "kind": kind})
        for scope, name, version in found:
            if (kind, name) in touched[scope]:
                wanted[scope][kind, name] = version
    return wanted
