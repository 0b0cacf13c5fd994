"""Commands about what satellites replicate: sources, artifacts and their assignments."""

from __future__ import annotations

from dataclasses import replace

from sqlmodel import col, delete, select

from controlplane.adapters.payload import make_resource
from controlplane.adapters.sql import rows
from controlplane.adapters.sql.batch import Batch, need_scope, touch_holders, touch_source
from controlplane.adapters.sql.documents import to_document
from controlplane.adapters.sql.settling import store_body
from controlplane.adapters.sql.tables import (
    ArtifactRow,
    AssignmentRow,
    SourceRow,
)
from controlplane.domain.commands import Delete, EntityKind, Outcome, Result, Upsert
from controlplane.domain.content import etag_of
from controlplane.domain.entities import Artifact, Assignment, Source
from controlplane.domain.rules import check_etag, check_prefix, decide, unknown
from controlplane.domain.specs import (
    ArtifactSpec,
    ResourceKind,
    SourceSpec,
)
from fleet.errors import FleetError, Kind


def put_source(batch: Batch, command: Upsert, wanted: Source) -> Result:
    """Make or replace a source."""
    held = batch.session.get(SourceRow, wanted.name)
    held_spec = rows.source_spec(held) if held else None
    etag = etag_of("source", wanted.name, wanted.spec)
    held_etag = etag_of("source", wanted.name, held_spec) if held else None
    outcome = decide(EntityKind.SOURCE, wanted.name, command, held=held_etag, offered=etag)
    if outcome is not Outcome.UNCHANGED:
        check_prefix(wanted.name, wanted.spec, held_spec, lambda prefix: _prefix_owner(batch, prefix))
        row = held or SourceRow(name=wanted.name, local_prefix=wanted.spec.local_prefix, spec={}, version=b"")
        if held_spec is not None and _is_elsewhere(held_spec, wanted.spec):
            row.sealed = None
        row.spec = to_document(wanted.spec)
        write_source(batch, row)
    return Result(outcome, "source", wanted.name, etag)


def _is_elsewhere(held: SourceSpec, wanted: SourceSpec) -> bool:
    """Say whether a secret that was given for `held` would go to another host, or in the clear."""
    return wanted.address != held.address or (wanted.plain_http and not held.plain_http)


def write_source(batch: Batch, row: SourceRow) -> None:
    """Write a source's resource anew, and note every scope that holds it."""
    spec = replace(rows.source_spec(row), needs_credential=row.sealed is not None)
    row.version = store_body(batch.session, make_resource(row.name, spec))
    batch.session.add(row)
    batch.session.flush()
    touch_source(batch, row.name)


def _prefix_owner(batch: Batch, prefix: str) -> str | None:
    return batch.session.exec(select(SourceRow.name).where(SourceRow.local_prefix == prefix)).first()


def delete_source(batch: Batch, command: Delete) -> Result:
    """Remove a source that no artifact uses."""
    row = batch.session.get(SourceRow, command.name)
    if row is None:
        raise unknown(EntityKind.SOURCE, command.name)
    check_etag(command.etag, etag_of("source", row.name, rows.source_spec(row)), command.name)
    batch.artifacts.write()
    user = batch.session.exec(select(ArtifactRow.name).where(ArtifactRow.source == row.name).limit(1)).first()
    if user is not None:
        text = "artifacts use the source: delete them first"
        raise FleetError(Kind.PRECONDITION, "SOURCE_IN_USE", text, subject=user)
    batch.session.delete(row)
    batch.session.flush()
    return Result(Outcome.DELETED, "source", command.name)


def put_artifact(batch: Batch, command: Upsert, wanted: Artifact) -> Result:
    """Make or replace an artifact, digest pinned."""
    held = batch.artifacts.find(wanted.name)
    spec = _with_known_size(wanted.spec, held)
    etag = etag_of("artifact", wanted.name, spec)
    held_etag = etag_of("artifact", wanted.name, held) if held else None
    outcome = decide(EntityKind.ARTIFACT, wanted.name, command, held=held_etag, offered=etag)
    if outcome is not Outcome.UNCHANGED:
        if held is None and batch.session.get(SourceRow, spec.source) is None:
            raise unknown(EntityKind.SOURCE, spec.source)
        batch.artifacts.change(wanted.name, spec)
    return Result(outcome, "artifact", wanted.name, etag)


def _need_artifact(batch: Batch, name: str) -> ArtifactSpec:
    held = batch.artifacts.find(name)
    if held is None:
        raise unknown(EntityKind.ARTIFACT, name)
    return held


def _with_known_size(wanted: ArtifactSpec, held: ArtifactSpec | None) -> ArtifactSpec:
    """Keep the size that was found when the same digest was resolved."""
    if held is None or wanted.size_bytes or held.digest != wanted.digest:
        return wanted
    return replace(wanted, size_bytes=held.size_bytes)


def delete_artifact(batch: Batch, command: Delete) -> Result:
    """Remove an artifact and every assignment of it."""
    held = _need_artifact(batch, command.name)
    check_etag(command.etag, etag_of("artifact", command.name, held), command.name)
    batch.artifacts.write()
    batch.artifacts.forget(command.name)
    batch.session.flush()
    touch_holders(batch, command.name, held.source)
    batch.session.exec(delete(AssignmentRow).where(col(AssignmentRow.artifact) == command.name))
    batch.session.exec(delete(ArtifactRow).where(col(ArtifactRow.name) == command.name))
    return Result(Outcome.DELETED, "artifact", command.name)


def put_assignment(batch: Batch, command: Upsert, wanted: Assignment) -> Result:
    """Make a scope want an artifact, once per owner."""
    need_scope(batch, wanted.scope)
    source = _need_artifact(batch, wanted.artifact).source
    name = f"{wanted.scope} {wanted.artifact}"
    held = batch.session.get(AssignmentRow, (wanted.scope, wanted.artifact, wanted.owner))
    outcome = decide(EntityKind.ASSIGNMENT, name, command, held=name if held else None, offered=name)
    if held is None:
        batch.artifacts.write()
        batch.session.add(AssignmentRow(scope=wanted.scope, artifact=wanted.artifact, owner=wanted.owner))
        batch.touched.add(wanted.scope, ResourceKind.ARTIFACT, wanted.artifact)
        batch.touched.add(wanted.scope, ResourceKind.SOURCE, source)
    return Result(outcome, "assignment", name)


def delete_assignment(batch: Batch, pair: Assignment) -> Result:
    """Take an artifact from a scope, for one owner or for all."""
    need_scope(batch, pair.scope)
    source = _need_artifact(batch, pair.artifact).source
    held = select(AssignmentRow).where(AssignmentRow.scope == pair.scope, AssignmentRow.artifact == pair.artifact)
    if pair.owner:
        held = held.where(AssignmentRow.owner == pair.owner)
    found = batch.session.exec(held).all()
    for row in found:
        batch.session.delete(row)
    batch.session.flush()
    batch.touched.add(pair.scope, ResourceKind.ARTIFACT, pair.artifact)
    batch.touched.add(pair.scope, ResourceKind.SOURCE, source)
    outcome = Outcome.DELETED if found else Outcome.UNCHANGED
    return Result(outcome, "assignment", f"{pair.scope} {pair.artifact}")
