"""The artifacts of one writing transaction: each read once, and all that changed written together."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection
from sqlmodel import select

from controlplane.adapters.payload import make_resource
from controlplane.adapters.sql.batches import among
from controlplane.adapters.sql.documents import from_document, to_document
from controlplane.adapters.sql.tables import ArtifactRow, AssignmentRow, ResourceBodyRow
from controlplane.adapters.sql.upserts import Rows, put
from controlplane.domain.specs import ArtifactSpec
from controlplane.domain.state import Resource

_SPECS = select(ArtifactRow.name, ArtifactRow.spec).where(among(ArtifactRow.name, "names"))
_HOLDERS = select(AssignmentRow.scope, AssignmentRow.artifact).where(among(AssignmentRow.artifact, "names"))


def body_of(resource: Resource) -> dict[str, Any]:
    """Make the row of a payload under its version, with the signatures that it came with."""
    return {
        "version": resource.version,
        "kind": int(resource.kind),
        "payload": resource.payload,
        "signatures": [[one.key_id.hex(), one.signature.hex()] for one in resource.signatures],
    }


@dataclass(slots=True)
class Artifacts:
    """What is known of artifacts, and what has still to be written.

    A thousand artifacts that change together are read by one statement and written by another.
    """

    connection: Connection
    changed: dict[str, Resource] = field(default_factory=dict)
    """Those that are others now, written or not."""
    _known: dict[str, ArtifactSpec | None] = field(default_factory=dict)
    _unwritten: set[str] = field(default_factory=set)

    def load(self, names: Collection[str]) -> None:
        """Read those that are not known."""
        asked = [name for name in names if name not in self._known]
        if asked:
            self._known |= dict.fromkeys(asked)
            for name, document in self.connection.execute(_SPECS, {"names": asked}):
                self._known[name] = from_document(ArtifactSpec, document)

    def find(self, name: str) -> ArtifactSpec | None:
        """Say what an artifact is."""
        self.load([name])
        return self._known[name]

    def change(self, name: str, spec: ArtifactSpec) -> None:
        """Make or replace an artifact."""
        self._known[name], self.changed[name] = spec, make_resource(name, spec)
        self._unwritten.add(name)

    def forget(self, name: str) -> None:
        """Note that an artifact was deleted."""
        self._known[name] = None
        self.changed.pop(name, None)

    def holders(self) -> Iterable[tuple[str, str]]:
        """Read which scopes have artifacts that are others now: `→ (scope, artifact)`."""
        rows = self.connection.execute(_HOLDERS, {"names": list(self.changed)}) if self.changed else ()
        return ((scope, name) for scope, name in rows)

    def rows(self) -> list[Rows]:
        """Make the rows that have still to be written, whoever does it."""
        specs = {name: spec for name in sorted(self._unwritten) if (spec := self._known[name])}
        if not specs:
            return []
        rows = [
            {
                "name": name,
                "source": spec.source,
                "repository": spec.repository,
                "spec": to_document(spec),
                "version": self.changed[name].version,
            }
            for name, spec in specs.items()
        ]
        bodies = {self.changed[name].version: body_of(self.changed[name]) for name in specs}
        self._unwritten.clear()
        return [Rows(ResourceBodyRow, list(bodies.values())), Rows(ArtifactRow, rows)]

    def write(self) -> None:
        """Write them now, for what is about to refer to them."""
        if rows := self.rows():
            put(self.connection, *rows)
