"""What the satellite's use cases need from the world; adapters implement it, tests fake it.

Registry ports are synchronous: the data plane runs in threads (sockets and SHA-256 release the interpreter's
lock), the control plane in one event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from edge.app.disk import SiteDisk
from edge.domain.content import Descriptor, RawManifest
from fleet.reference import Digest


@dataclass(frozen=True, slots=True)
class Credential:
    """What opens a source: a username and password, or a bearer token. In memory only, never logged."""

    username: str = ""
    password: str = field(default="", repr=False)
    bearer: str = field(default="", repr=False)


class Upstream(Protocol):
    """One source registry, read only. Every answer is untrusted until its digest is checked."""

    def manifest(self, repository: str, reference: str) -> RawManifest:
        """Fetch a manifest by tag or digest; the digest is computed here and, asked by digest, compared.

        Raises:
            FleetError: UNKNOWN `MANIFEST_ABSENT`; CORRUPT `DIGEST_MISMATCH`; MALFORMED `MANIFEST_TOO_LARGE`
                past 4 MiB; UNAVAILABLE `SOURCE_UNREACHABLE`, `SOURCE_FAILED` (5xx, with `retry_after` where it
                says so), `SOURCE_REDIRECTS`, `SOURCE_UNTRUSTED`, `SOURCE_CUT`; REFUSED `SOURCE_REFUSED` (401,
                403); EXHAUSTED `SOURCE_BUSY` (429) with `retry_after`.
        """

    def referrers(self, repository: str, digest: Digest) -> list[Descriptor]:
        """List what names `digest` as its subject: by the referrers API, all pages, or the fallback tag."""

    def blob(
        self,
        repository: str,
        digest: Digest,
        *,
        offset: int = 0,
        size_bytes: int | None = None,
        dropped: Callable[[int], None] | None = None,
    ) -> AbstractContextManager[Iterator[bytes]]:
        """Stream a blob from `offset` in chunks of at most 256 KiB; the caller checks the digest.

        Where the source cannot go on from there, what the caller has already comes once more over the link, as
        empty chunks; `dropped` is told how many bytes of it.

        With `size_bytes` no more than that is asked for; from the blob's end on there is nothing. A source that knows
        no ranges sends all of it all the same.

        Raises:
            FleetError: as `manifest`, with `BLOB_ABSENT`; UNAVAILABLE `SOURCE_CUT` where the connection broke on
                the way.
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
    keeps_untagged: bool
    """A manifest stays when its last tag moves or goes (Zot's does not)."""
    keeps_cut_uploads: bool
    """An upload keeps what came when a request to it breaks off (Zot drops it whole)."""
    takes_whole: bool
    """A blob can be sent whole in the request that would open its upload."""
    checks_digests: bool
    """It is known to refuse what is not what its digest says, so that nobody has to hash twice."""
    gc: Gc
    sole_writer: bool
    """Nobody but the satellite can write: what is there and not admitted is foreign (`exclusive`)."""


@dataclass(frozen=True, slots=True)
class Upload:
    """An open blob upload: where it goes on, and how many bytes the registry already has."""

    location: str
    offset: int


@dataclass(frozen=True, slots=True)
class OpenBlob:
    """A blob on its way, as it is remembered across a restart."""

    repository: str
    digest: Digest
    location: str


class SiteRegistry(Protocol):
    """The site's registry as the satellite writes it; one contract suite holds for every kind."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do, as probed at start."""

    @property
    def disk(self) -> SiteDisk | None:
        """The files below it, or None where they are not ours."""

    def manifest(self, repository: str, reference: str) -> RawManifest | None:
        """Read a manifest by tag or digest, or None where it is absent."""

    def head(self, repository: str, reference: str) -> Digest | None:
        """Ask which digest a tag or digest stands for, or None where it is absent."""

    def has_blob(self, repository: str, digest: Digest) -> bool:
        """Say whether a blob is there in this repository."""

    def read(self, repository: str, digest: Digest) -> AbstractContextManager[Iterator[bytes]]:
        """Read a blob back over the API; nothing where it is absent."""

    def mount(self, repository: str, digest: Digest, *, origin: str) -> bool:
        """Try to take a blob over from repository `origin`; False where it has to be sent instead."""

    def begin(self, repository: str) -> Upload:
        """Open an upload."""

    def resume(self, location: str) -> Upload | None:
        """Find an open upload again, or None where it is gone."""

    def append(self, upload: Upload, segment: memoryview) -> Upload:
        """Send the next bytes in one request.

        A segment is held whole in memory for registries that drop an upload, with all that it had, when a
        request breaks off: what a cut at the source interrupts must not be a request to the registry.
        """

    def stream(self, upload: Upload, chunks: Iterator[bytes], *, size_bytes: int) -> Upload:
        """Send the next `size_bytes` bytes in one request as they come, where cut uploads are kept.

        Whatever `chunks` raises goes through; `resume` then says what has arrived.
        """

    def cancel(self, upload: Upload) -> None:
        """Drop an upload and its bytes; without effect where it is gone."""

    def put_blob(self, repository: str, digest: Digest, content: bytes | memoryview) -> None:
        """Send a small blob whole.

        Raises:
            FleetError: as `finish`.
        """

    def finish(self, upload: Upload, digest: Digest) -> None:
        """Close the upload as `digest`; the registry checks it.

        Raises:
            FleetError: CORRUPT `DIGEST_MISMATCH`; UNAVAILABLE `REGISTRY_FULL` on ENOSPC,
                `REGISTRY_UNREACHABLE`; CONFLICT `UPLOAD_LOST` where the registry dropped the upload.
        """

    def put_manifest(self, repository: str, reference: str, manifest: RawManifest) -> None:
        """Publish a manifest, raw, under a digest or a tag.

        Raises:
            FleetError: MALFORMED `MANIFEST_REFUSED` with the registry's own words as detail.
        """

    def delete_manifest(self, repository: str, digest: Digest) -> bool:
        """Remove a manifest by digest; False where it was absent.

        Raises:
            FleetError: PRECONDITION `MANIFEST_IN_USE` where the registry keeps what an index names.
        """

    def delete_tag(self, repository: str, tag: str) -> bool:
        """Remove one tag and nothing else; False where the registry cannot, or the tag was absent."""

    def delete_blob(self, repository: str, digest: Digest) -> bool:
        """Unlink a blob from a repository; False where it was absent or the registry cannot."""

    def room(self) -> int | None:
        """Say how many bytes it can still take, or None where that is not ours to know."""

    def repositories(self) -> list[str]:
        """List every repository: from the disk where we own it, else by the catalog (all pages)."""

    def references(self, repository: str) -> dict[str, Digest]:
        """List what stands in a repository, `digest or tag → digest`; without a tag only where we own the disk."""

    def known_manifests(self, repository: str) -> set[Digest]:
        """List a repository's manifests: untagged ones too where we own the disk, else those under a tag."""

    def tags(self, repository: str) -> list[str]:
        """List every tag of a repository (all pages); empty where it is unknown."""


class IntentLog(Protocol):
    """What the satellite means to write, recorded before it does: what has an intent is ours to delete.

    A reference is a digest or a tag. Every call but `put_done` is durable when it returns; each takes many references,
    so that one image costs one write to the disk and not twenty.
    """

    def intend_put(self, repository: str, references: Mapping[str, Digest]) -> None:
        """Record what each reference is about to stand for."""

    def put_done(self, repository: str, references: Collection[str]) -> None:
        """Record that the registry took them; lost with the power it costs nothing, since the intent says as much."""

    def intend_delete(self, repository: str, references: Collection[str]) -> None:
        """Record that they are about to go."""

    def delete_done(self, repository: str, references: Collection[str]) -> None:
        """Record that they are gone: nothing is known of them any more."""

    def is_ours(self, repository: str, reference: str) -> bool:
        """Say whether it was ever intended here and is not known to be gone."""

    def ours(self) -> Mapping[str, Collection[str]]:
        """List what is ours: `repository → references`."""


class TransferLog(Protocol):
    """What a restart would cost twice: where uploads stand and which repository has which blob."""

    def upload(self, repository: str, digest: Digest) -> str:
        """Say where the open upload of a blob goes on, or the empty string."""

    def upload_opened(self, repository: str, digest: Digest, location: str) -> None:
        """Remember an upload."""

    def upload_closed(self, repository: str, digest: Digest) -> None:
        """Forget an upload."""

    def blobs_stored(self, repository: str, digests: Collection[Digest]) -> None:
        """Remember that a repository has blobs, so that others can take them over from there."""

    def blob_gone(self, repository: str, digest: Digest) -> None:
        """Forget it."""

    def blob_lost(self, digest: Digest) -> None:
        """Forget it of every repository."""

    def open_uploads(self) -> Collection[OpenBlob]:
        """List the uploads that are open."""

    def blob_origin(self, digest: Digest) -> str:
        """Name one repository that has the blob, or the empty string. It is a hint: the registry decides."""


class Staging(Protocol):
    """Keeps bytes that came and are not in the registry yet where killing us does not lose them; never fails."""

    def load(self, key: str) -> tuple[int, bytes]:
        """Read what is staged of a blob: `key → where in the blob it begins, bytes`; no bytes where there are none."""

    def append(self, key: str, offset: int, content: memoryview, *, after: int) -> bool:
        """Add bytes to the first `after` ones, which begin at `offset` of the blob: `→ whether all are there`.

        Where not, none are: whoever goes on does so from `after=0`, which replaces what there was.
        """

    def clear(self, key: str) -> None:
        """Forget what is staged of a blob."""


class TrafficLog(Protocol):
    """How many bytes came over the link, by quarters of an hour since 1970, for as long as a budget may ask."""

    def count(self, quarter: int, size_bytes: int) -> None:
        """Add bytes to a quarter; kept when we are killed, perhaps not when power fails.

        Raises:
            FleetError: UNAVAILABLE `JOURNAL_FULL`.
        """

    def traffic(self, first: int, last: int) -> int:
        """Add up the bytes of the quarters from `first` to `last`, both included."""


class SupervisedRegistry(Protocol):
    """The registry of a site, whoever runs it: ours as a child, or the user's own.

    Its parts that wait for programs run in the event loop; `site` is for threads.
    """

    @property
    def kind(self) -> str:
        """Say `zot`, `distribution` or `external`."""

    @property
    def why(self) -> str:
        """Say in one sentence why it is this one."""

    @property
    def site(self) -> SiteRegistry:
        """The writer's door; usable from `start_private` to `stop`."""

    @property
    def public_url(self) -> str:
        """Where workloads pull; empty until `open_public` returned."""

    async def start_private(self) -> None:
        """Start it so that nobody but the satellite can reach it, and wait until it answers.

        Raises:
            FleetError: UNAVAILABLE `REGISTRY_UNREACHABLE` with the last lines of its log as detail.
        """

    async def open_public(self) -> None:
        """Let workloads pull: to be called when what must not be served is gone."""

    async def stop(self) -> None:
        """Stop it and wait until it is gone."""
