"""What the satellite's use cases need from the world; adapters implement it, tests fake it.

Registry ports are synchronous: the data plane runs in threads (sockets and SHA-256 release the interpreter's
lock), the control plane in one event loop.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from edge.domain.content import Descriptor, RawManifest
from fleet.reference import Digest


class Upstream(Protocol):
    """One source registry, read only. Every answer is untrusted until its digest is checked."""

    def manifest(self, repository: str, reference: str) -> RawManifest:
        """Fetch a manifest by tag or digest; the digest is computed here and, asked by digest, compared.

        Raises:
            FleetError: UNKNOWN `MANIFEST_ABSENT`; CORRUPT `DIGEST_MISMATCH`; MALFORMED `MANIFEST_TOO_LARGE`
                past 4 MiB; UNAVAILABLE `SOURCE_UNREACHABLE`; REFUSED `SOURCE_REFUSED` (401, 403);
                EXHAUSTED `SOURCE_BUSY` (429) with `retry_after`.
        """

    def referrers(self, repository: str, digest: Digest) -> list[Descriptor]:
        """List what names `digest` as its subject: by the referrers API (all pages), else by the fallback tag."""

    def blob(self, repository: str, digest: Digest, *, offset: int = 0) -> AbstractContextManager[Iterator[bytes]]:
        """Stream a blob from `offset` in chunks of at most 256 KiB; the caller checks the digest.

        Raises:
            FleetError: as `manifest`, with `BLOB_ABSENT`; CORRUPT `RANGE_IGNORED` where an offset was not honoured.
        """


class Gc(Enum):
    """How a registry frees what no manifest names."""

    ONLINE = "online"
    EXCLUSIVE = "exclusive"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a site registry was found to do, by probing it."""

    referrers: bool
    """It answers the referrers API."""
    sparse_index: bool
    """It takes an index whose children are not all there as manifests."""
    child_blobs: bool
    """It wants each absent child's bytes as a blob before it takes the index (Zot)."""
    gc: Gc
    sole_writer: bool
    """Nobody but the satellite can write: what is there and not admitted is foreign (`exclusive`)."""


@dataclass(frozen=True, slots=True)
class Upload:
    """An open blob upload: where it goes on, and how many bytes the registry already has."""

    location: str
    offset: int


class SiteRegistry(Protocol):
    """The site's registry as the satellite writes it; one contract suite holds for every kind."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do, as probed at start."""

    def manifest(self, repository: str, reference: str) -> RawManifest | None:
        """Read a manifest by tag or digest, or None where it is absent."""

    def head(self, repository: str, reference: str) -> Digest | None:
        """Ask which digest a tag or digest stands for, or None where it is absent."""

    def has_blob(self, repository: str, digest: Digest) -> bool:
        """Say whether a blob is there in this repository."""

    def mount(self, repository: str, digest: Digest, *, origin: str) -> bool:
        """Try to take a blob over from repository `origin`; False where the registry would rather have it sent."""

    def begin(self, repository: str) -> Upload:
        """Open an upload."""

    def resume(self, location: str) -> Upload | None:
        """Find an open upload again, or None where it is gone."""

    def append(self, upload: Upload, chunks: Iterable[bytes], *, size_bytes: int) -> Upload:
        """Send the next `size_bytes` bytes in one request."""

    def finish(self, upload: Upload, digest: Digest) -> None:
        """Close the upload as `digest`; the registry checks it.

        Raises:
            FleetError: CORRUPT `DIGEST_MISMATCH`; UNAVAILABLE `REGISTRY_FULL` on ENOSPC, `REGISTRY_UNREACHABLE`.
        """

    def put_manifest(self, repository: str, reference: str, manifest: RawManifest) -> None:
        """Publish a manifest, raw, under a digest or a tag.

        Raises:
            FleetError: MALFORMED `MANIFEST_REFUSED` with the registry's own words as detail.
        """

    def delete_manifest(self, repository: str, digest: Digest) -> bool:
        """Remove a manifest by digest; False where it was absent."""

    def delete_tag(self, repository: str, tag: str) -> bool:
        """Remove one tag and nothing else; False where the registry cannot, or the tag was absent."""

    def delete_blob(self, repository: str, digest: Digest) -> bool:
        """Unlink a blob from a repository; False where it was absent or the registry cannot."""

    def repositories(self) -> list[str]:
        """List every repository (all pages)."""

    def tags(self, repository: str) -> list[str]:
        """List every tag of a repository (all pages); empty where it is unknown."""
