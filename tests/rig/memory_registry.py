"""A source and a site's registry in memory: fakes of the ports, for tests of what runs over them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from edge.app.disk import SiteDisk
from edge.app.ports import Capabilities, Gc, Upload
from edge.domain.content import Descriptor, Image, RawManifest, read_manifest
from fleet.errors import FleetError, Kind, malformed
from fleet.reference import Digest, digest_of
from tests.rig.registries import image_manifest

REPOSITORY = "library/app"
Key = tuple[str, str]


class MemorySource:
    """Implements `Upstream` over dictionaries; `breaks` is what each next blob request does before it succeeds."""

    def __init__(self) -> None:
        self.manifests: dict[Key, RawManifest] = {}
        self.blobs: dict[Digest, bytes] = {}
        self.breaks: list[FleetError] = []
        self.received = 0

    def add(self, layer: bytes, *, architecture: str = "amd64") -> RawManifest:
        config = json.dumps({"os": "linux", "architecture": architecture, "x": os.urandom(4).hex()}).encode()
        self.blobs |= {digest_of(content): content for content in (config, layer)}
        return self.put(image_manifest(config, (layer,)))

    def put(self, manifest: RawManifest) -> RawManifest:
        self.manifests[REPOSITORY, manifest.digest] = manifest
        return manifest

    def manifest(self, repository: str, reference: str) -> RawManifest:
        return self.manifests[repository, reference]

    def referrers(self, repository: str, digest: Digest) -> list[Descriptor]:
        return []

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
        content = self.blobs[digest][offset:]
        pieces = [content[at : at + 200_000] for at in range(0, len(content), 200_000)]
        yield self._pieces(pieces, self.breaks.pop(0) if self.breaks else None)

    def _pieces(self, pieces: list[bytes], error: FleetError | None) -> Iterator[bytes]:
        for piece in pieces[: len(pieces) // 2] if error else pieces:
            self.received += len(piece)
            yield piece
        if error:
            raise error


EXCLUSIVE = Capabilities(
    referrers=False,
    sparse_index=True,
    child_blobs=False,
    keeps_untagged=True,
    keeps_cut_uploads=False,
    takes_whole=False,
    checks_digests=True,
    gc=Gc.NONE,
    sole_writer=True,
)


class Crash(BaseException):
    """The process is gone; nothing catches this."""


@dataclass
class MemorySite:
    """Implements `SiteRegistry`; checks closures as real ones do, and crashes before its n-th write."""

    capabilities: Capabilities = EXCLUSIVE
    manifests: dict[Key, RawManifest] = field(default_factory=dict)
    by_tag: dict[Key, Digest] = field(default_factory=dict)
    blobs: set[Key] = field(default_factory=set)
    contents: dict[Key, bytes] = field(default_factory=dict)
    uploads: dict[str, bytearray] = field(default_factory=dict)
    free: int | None = None
    disk: SiteDisk | None = None
    crash_at: int = -1
    append_errors: list[FleetError | None] = field(default_factory=list)
    """What becomes of the next appends: None for one that goes well."""

    def _write(self) -> None:
        if self.crash_at == 0:
            raise Crash
        self.crash_at -= 1

    def manifest(self, repository: str, reference: str) -> RawManifest | None:
        digest = self.head(repository, reference)
        return self.manifests[repository, digest] if digest else None

    def head(self, repository: str, reference: str) -> Digest | None:
        digest = self.by_tag.get((repository, reference), Digest(reference))
        return digest if (repository, digest) in self.manifests else None

    def has_blob(self, repository: str, digest: Digest) -> bool:
        return (repository, digest) in self.blobs

    @contextmanager
    def read(self, repository: str, digest: Digest) -> Iterator[Iterator[bytes]]:
        yield iter((self.contents.get((repository, digest), b""),))

    def mount(self, repository: str, digest: Digest, *, origin: str) -> bool:
        if not self.has_blob(origin, digest):
            return False
        self._write()
        self._store(repository, digest, self.contents[origin, digest])
        return True

    def begin(self, repository: str) -> Upload:
        self._write()
        location = f"{repository}/{len(self.uploads)}"
        self.uploads[location] = bytearray()
        return Upload(location, 0)

    def resume(self, location: str) -> Upload | None:
        return Upload(location, len(self.uploads[location])) if self.uploads.get(location) else None

    def append(self, upload: Upload, segment: memoryview) -> Upload:
        self._write()
        if self.append_errors and (error := self.append_errors.pop(0)):
            raise error
        content = self.uploads[upload.location]
        assert upload.offset == len(content)
        content += segment
        return Upload(upload.location, len(content))

    def stream(self, upload: Upload, chunks: Iterator[bytes], *, size_bytes: int) -> Upload:
        self._write()
        content = self.uploads[upload.location]
        assert upload.offset == len(content)
        for chunk in chunks:
            content += chunk
        assert len(content) == upload.offset + size_bytes
        return Upload(upload.location, len(content))

    def cancel(self, upload: Upload) -> None:
        self.uploads.pop(upload.location, None)

    def put_blob(self, repository: str, digest: Digest, content: bytes | memoryview) -> None:
        self._write()
        assert digest_of(bytes(content)) == digest
        self._store(repository, digest, bytes(content))

    def finish(self, upload: Upload, digest: Digest) -> None:
        self._write()
        content = self.uploads.pop(upload.location)
        if digest_of(bytes(content)) != digest:
            raise FleetError(Kind.CORRUPT, "DIGEST_MISMATCH", "not what its digest says")
        self._store(upload.location.rpartition("/")[0], digest, bytes(content))

    def _store(self, repository: str, digest: Digest, content: bytes) -> None:
        self.blobs.add((repository, digest))
        self.contents[repository, digest] = content

    def put_manifest(self, repository: str, reference: str, manifest: RawManifest) -> None:
        self._write()
        read = read_manifest(manifest.raw, manifest.media_type)
        below = (read.config, *read.layers) if isinstance(read, Image) else ()
        if any((repository, one.digest) not in self.blobs for one in below):
            raise malformed("MANIFEST_REFUSED", "a blob is missing")
        self.manifests[repository, manifest.digest] = manifest
        if ":" not in reference:
            self.by_tag[repository, reference] = manifest.digest

    def delete_manifest(self, repository: str, digest: Digest) -> bool:
        self._write()
        self.by_tag = {key: to for key, to in self.by_tag.items() if (key[0], to) != (repository, digest)}
        return self.manifests.pop((repository, digest), None) is not None

    def delete_tag(self, repository: str, tag: str) -> bool:
        self._write()
        return self.by_tag.pop((repository, tag), None) is not None

    def delete_blob(self, repository: str, digest: Digest) -> bool:
        self._write()
        self.blobs.discard((repository, digest))
        return True

    def room(self) -> int | None:
        return self.free

    def repositories(self) -> list[str]:
        return sorted({repository for repository, _ in (*self.manifests, *self.blobs)})

    def references(self, repository: str) -> dict[str, Digest]:
        tags = {tag: digest for (name, tag), digest in self.by_tag.items() if name == repository}
        return {str(digest): digest for digest in self.known_manifests(repository)} | tags

    def known_manifests(self, repository: str) -> set[Digest]:
        return {Digest(digest) for name, digest in self.manifests if name == repository}

    def tags(self, repository: str) -> list[str]:
        return [tag for name, tag in self.by_tag if name == repository]
