"""Pin what operators name by tag: the digest is asked at the source before any transaction begins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from controlplane.app.ports import Sealer, Store, TagResolver
from controlplane.domain.commands import Command, Upsert
from controlplane.domain.entities import Artifact, Assignment, Source
from controlplane.domain.specs import ArtifactSpec, SourceSpec
from fleet.errors import FleetError, Kind
from fleet.reference import ArtifactName, parse_artifact_name


def asks(commands: Sequence[Command]) -> bool:
    """Say whether pinning these asks anybody: what was answered once may be answered otherwise the next time."""
    entities = [command.entity for command in commands if isinstance(command, Upsert)]
    return any(isinstance(one, Assignment) or (isinstance(one, Artifact) and not one.spec.digest) for one in entities)


async def pin_digests(
    commands: Sequence[Command], store: Store, resolver: TagResolver, sealer: Sealer
) -> list[Command]:
    """Give every artifact its digest, and put a new artifact before the assignment that names it first."""
    sources = {c.entity.name: c.entity.spec for c in commands if isinstance(c, Upsert) and isinstance(c.entity, Source)}
    pinning = _Pinning(store, resolver, sealer, sources)
    made: set[str] = set()
    pinned: list[Command] = []
    for command in commands:
        match command:
            case Upsert(entity=Artifact() as artifact):
                spec = await pinning.pin(artifact.spec)
                made.add(artifact.name)
                pinned.append(replace(command, entity=replace(artifact, spec=spec)))
            case Upsert(entity=Assignment() as assignment):
                name = parse_artifact_name(assignment.artifact)
                if str(name) not in made and not await pinning.is_known(name):
                    spec = await pinning.pin(_spec_of(name))
                    pinned.append(Upsert(Artifact(spec, str(name)), implied=True))
                made.add(str(name))
                pinned.append(replace(command, entity=replace(assignment, artifact=str(name))))
            case _:
                pinned.append(command)
    return pinned


def _spec_of(name: ArtifactName) -> ArtifactSpec:
    return ArtifactSpec(name.source, name.repository, name.tag, name.digest or "")


class _Pinning:
    """Asks sources, those of the same request included."""

    def __init__(self, store: Store, resolver: TagResolver, sealer: Sealer, sources: dict[str, SourceSpec]) -> None:
        self._store = store
        self._resolver = resolver
        self._sealer = sealer
        self._sources = sources

    async def is_known(self, name: ArtifactName) -> bool:
        """Say whether the artifact exists; one that is named with its digest must have that digest."""
        try:
            known = await self._store.artifact(str(name))
        except FleetError as error:
            if error.kind is Kind.UNKNOWN:
                return False
            raise
        if name.digest and known.spec.digest != name.digest:
            text = "the artifact exists with another digest: update it first"
            raise FleetError(Kind.EXISTS, "ARTIFACT_DIFFERS", text, subject=str(name))
        return True

    async def pin(self, spec: ArtifactSpec) -> ArtifactSpec:
        """Resolve the tag of a spec that has no digest."""
        if spec.digest:
            return spec
        source = self._sources.get(spec.source) or (await self._store.source(spec.source)).spec
        sealed = await self._sealed(spec.source)
        credential = self._sealer.unseal(spec.source, sealed) if sealed else None
        found = await self._resolver.resolve(source, credential, spec.repository, spec.tag)
        return replace(spec, digest=found.digest, size_bytes=found.size_bytes or spec.size_bytes)

    async def _sealed(self, source: str) -> bytes | None:
        try:
            return await self._store.sealed_credential(source)
        except FleetError as error:
            if error.kind is Kind.UNKNOWN:
                return None  # the source is made by the same request
            raise
