"""Fetch what may speak for an image: signatures and other referrers, bounded before they are read."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from edge.app.ports import Upstream
from edge.domain.admission import Evidence
from edge.domain.content import (
    EMPTY_JSON,
    EMPTY_JSON_DIGEST,
    OCI_MANIFEST,
    Descriptor,
    Image,
    RawManifest,
    read_manifest,
)
from edge.domain.verify.bundle import BUNDLE_TYPE
from edge.domain.verify.evidence import MAX_BYTES, MAX_OBJECTS
from edge.domain.verify.reasons import TEXTS
from edge.domain.verify.simple_signing import attestation_tag, signature_tag
from fleet.errors import FleetError, Kind, malformed
from fleet.reference import Digest, digest_of


def fetch_manifest(upstream: Upstream, repository: str, reference: str) -> RawManifest:
    """Fetch a manifest and settle its media type; the digest is checked here too.

    Raises:
        FleetError: as the port, and as `read_manifest`.
    """
    got = upstream.manifest(repository, reference)
    digest = digest_of(got.raw)
    if digest != got.digest or (reference.startswith("sha256:") and reference != digest):
        raise FleetError(Kind.CORRUPT, "DIGEST_MISMATCH", "a manifest is not what its digest says")
    return RawManifest(got.raw, read_manifest(got.raw, got.media_type).media_type, digest)


@dataclass(slots=True)
class EvidenceFetcher:
    """Fetches one image's evidence within one budget."""

    upstream: Upstream
    repository: str
    root: Digest
    _objects: int = field(default=MAX_OBJECTS, init=False)
    _bytes: int = field(default=MAX_BYTES, init=False)

    def gather(self, referrer_types: Collection[str], *, attestations: bool = False) -> tuple[Evidence, ...]:
        """Fetch cosign 2's signatures, every bundle, and referrers of the types that may come along.

        Args:
            referrer_types: what else may come along.
            attestations: fetch cosign 2's, too.

        Raises:
            FleetError: MALFORMED `EVIDENCE_LIMIT`; otherwise as the port, less what is merely absent.
        """
        wanted = {BUNDLE_TYPE, "", *referrer_types}
        listed = [
            referrer
            for referrer in self.upstream.referrers(self.repository, self.root)
            if referrer.media_type == OCI_MANIFEST and referrer.artifact_type in wanted
        ]
        self._spend(objects=len(listed))
        tags = [signature_tag(self.root), *((attestation_tag(self.root),) if attestations else ())]
        pieces = (
            *(self._piece(tag, tag=tag) for tag in tags),
            *(self._piece(referrer.digest) for referrer in listed),
        )
        return tuple(piece for piece in pieces if piece is not None)

    def _spend(self, *, objects: int = 0, size_bytes: int = 0) -> None:
        self._objects -= objects
        self._bytes -= size_bytes
        if self._objects < 0 or self._bytes < 0:
            raise malformed("EVIDENCE_LIMIT", TEXTS["EVIDENCE_LIMIT"])

    def _piece(self, reference: str, *, tag: str = "") -> Evidence | None:
        """Fetch one piece; None where it is absent or no evidence by its shape."""
        try:
            manifest = fetch_manifest(self.upstream, self.repository, reference)
            read = read_manifest(manifest.raw, manifest.media_type)
            if not isinstance(read, Image):
                return None
            self._spend(objects=len(read.layers) if tag else 0, size_bytes=len(manifest.raw))
            blobs = tuple(self._blobs((read.config, *read.layers)))
        except FleetError as error:
            if error.kind is Kind.UNKNOWN or (error.kind is Kind.MALFORMED and error.reason != "EVIDENCE_LIMIT"):
                return None
            raise
        return Evidence((manifest,), blobs, tag)

    def _blobs(self, descriptors: tuple[Descriptor, ...]) -> Iterator[tuple[Descriptor, bytes]]:
        seen: set[Digest] = set()
        for descriptor in descriptors:
            if descriptor.digest not in seen:
                seen.add(descriptor.digest)
                yield descriptor, self._blob(descriptor)

    def _blob(self, descriptor: Descriptor) -> bytes:
        """Read a blob into memory: no byte past the size that was said, which the budget covers."""
        self._spend(size_bytes=descriptor.size_bytes)
        if descriptor.digest == EMPTY_JSON_DIGEST and descriptor.size_bytes == len(EMPTY_JSON):
            return EMPTY_JSON
        content = bytearray()
        with self.upstream.blob(self.repository, descriptor.digest) as chunks:
            for chunk in chunks:
                content += chunk
                if len(content) > descriptor.size_bytes:
                    break
        if len(content) != descriptor.size_bytes or digest_of(bytes(content)) != descriptor.digest:
            raise FleetError(Kind.CORRUPT, "DIGEST_MISMATCH", "a signature's blob is not what its digest says")
        return bytes(content)
