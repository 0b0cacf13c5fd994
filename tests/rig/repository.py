"""A repository's content as a value: what images are made into, layouts hold, and registries are filled from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from edge.domain.content import Descriptor, Image, Index, RawManifest, raw_manifest, read_manifest
from fleet.reference import Digest, digest_of


@dataclass(slots=True)
class Repository:
    """Manifests, blobs and tags of one repository."""

    manifests: dict[Digest, RawManifest] = field(default_factory=dict)
    blobs: dict[Digest, bytes] = field(default_factory=dict)
    tags: dict[str, Digest] = field(default_factory=dict)

    def add_blob(self, content: bytes) -> Digest:
        digest = digest_of(content)
        self.blobs[digest] = content
        return digest

    def add_manifest(self, raw: bytes, media_type: str, *, tag: str = "") -> RawManifest:
        manifest = raw_manifest(raw, media_type)
        self.manifests[manifest.digest] = manifest
        if tag:
            self.tags[tag] = manifest.digest
        return manifest

    def absorb(self, other: Repository) -> None:
        """Take over all that another holds."""
        self.manifests.update(other.manifests)
        self.blobs.update(other.blobs)
        self.tags.update(other.tags)

    def referrers(self, subject: Digest) -> list[RawManifest]:
        return [m for m in self.manifests.values() if (s := _subject(m)) is not None and s.digest == subject]

    def in_order(self) -> Iterator[RawManifest]:
        """List the manifests so that each comes after what it names, subjects before their referrers."""
        done: set[Digest] = set()

        def visit(manifest: RawManifest) -> Iterator[RawManifest]:
            if manifest.digest in done:
                return
            done.add(manifest.digest)
            for digest in _named(manifest):
                if digest in self.manifests:
                    yield from visit(self.manifests[digest])
            yield manifest

        for manifest in self.manifests.values():
            yield from visit(manifest)


def _subject(manifest: RawManifest) -> Descriptor | None:
    return read_manifest(manifest.raw, manifest.media_type).subject


def _named(manifest: RawManifest) -> list[Digest]:
    read = read_manifest(manifest.raw, manifest.media_type)
    named = [read.subject.digest] if read.subject else []
    return named + [child.digest for child in read.children] if isinstance(read, Index) else named


def blobs_of(manifest: RawManifest) -> list[Descriptor]:
    """List config and layers; none of an index."""
    read = read_manifest(manifest.raw, manifest.media_type)
    return [read.config, *read.layers] if isinstance(read, Image) else []
