"""A source registry in memory: implements `edge.app.ports.Upstream`, and misbehaves on request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from edge.domain.content import Descriptor, RawManifest, referrer_descriptor
from fleet.errors import FleetError, Kind
from fleet.reference import Digest
from tests.rig.repository import Repository

_CHUNK_BYTES = 64 << 10


@dataclass(slots=True)
class MemoryUpstream:
    """Serves repositories by their path and remembers what was asked of it."""

    repositories: dict[str, Repository]
    asked: list[str] = field(default_factory=list)
    """Digests and tags, in the order in which they were asked for."""
    extra: dict[str, RawManifest] = field(default_factory=dict)
    """What it answers for a reference, whatever it holds: bytes that are no manifest, too."""

    def manifest(self, repository: str, reference: str) -> RawManifest:
        self.asked.append(reference)
        if reference in self.extra:
            return self.extra[reference]
        held = self.repositories.get(repository, Repository())
        digest = held.tags.get(reference, Digest(reference))
        if digest not in held.manifests:
            raise FleetError(Kind.UNKNOWN, "MANIFEST_ABSENT", "no such manifest", subject=reference)
        return held.manifests[digest]

    def referrers(self, repository: str, digest: Digest) -> list[Descriptor]:
        held = self.repositories.get(repository, Repository())
        return [referrer_descriptor(manifest) for manifest in held.referrers(digest)]

    @contextmanager
    def blob(
        self,
        repository: str,
        digest: Digest,
        *,
        offset: int = 0,
        size_bytes: int | None = None,
        dropped: Callable[[int], None] | None = None,
    ) -> Iterator[Iterator[bytes]]:
        self.asked.append(digest)
        held = self.repositories.get(repository, Repository())
        if digest not in held.blobs:
            raise FleetError(Kind.UNKNOWN, "BLOB_ABSENT", "no such blob", subject=digest)
        content = held.blobs[digest][offset:][:size_bytes]
        yield (content[at : at + _CHUNK_BYTES] for at in range(0, len(content), _CHUNK_BYTES))
