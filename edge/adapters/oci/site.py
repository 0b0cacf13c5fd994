"""The site's registry as its one writer sees it, over the OCI distribution API.

What differs between kinds of registry comes in as `Capabilities` and a `Shelf`; everything else is the same
for all of them.

Source: OCI distribution specification 1.1, sections "Push" and "Content Management".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol
from urllib.parse import urlencode, urljoin, urlsplit

from edge.adapters.oci.descriptors import ACCEPT
from edge.adapters.oci.exchange import Answer, Carrier, ExchangeError, Request, discard, failure, read_at_most
from edge.adapters.oci.listing import listed
from edge.app.disk import SiteDisk
from edge.app.ports import Capabilities, Upload
from edge.domain.content import RawManifest
from fleet.errors import FleetError, Kind, malformed
from fleet.reference import Digest, digest_of, parse_digest

_MANIFEST_LIMIT = 4 * 1024 * 1024
_CHUNK = 256 * 1024
_BAD_REQUEST = 400
_NOT_FOUND = 404
_NOT_ALLOWED = 405
_SPARE_BYTES = 1024 * 1024
"""Left free: manifests and the registry's own records have to fit when a layer did not."""
_WRITE = "pull,push,delete"
_OCTETS = {"Content-Type": "application/octet-stream"}
_RANGE = re.compile(r"(?:bytes=)?0-(\d{1,18})\Z")


class Shelf(Protocol):
    """What can be known of a registry besides its API: the disk, where it is ours."""

    @property
    def disk(self) -> SiteDisk | None:
        """The files, or None where they are not ours."""

    def repositories(self) -> list[str] | None:
        """List every repository, or None where only the API can tell."""

    def references(self, repository: str) -> dict[str, Digest] | None:
        """List what a repository serves, `digest or tag → digest`, or None where only the API can tell."""

    def room(self) -> int | None:
        """Say how many bytes are free, or None where that cannot be known from here."""


class OciSite:
    """Implements `edge.app.ports.SiteRegistry`; safe to use from many threads.

    Args:
        client: sends the writer's secret.
        capabilities: as probed, or as known of the kind.
        shelf: the disk below it.
        prefix: put before every repository's path, for a registry that is shared with others.
    """

    def __init__(self, client: Carrier, capabilities: Capabilities, shelf: Shelf, *, prefix: str = "") -> None:
        self._client = client
        self._capabilities = capabilities
        self._shelf = shelf
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""

    def move_to(self, client: Carrier) -> None:
        """Go on at another address: the registry below was started anew there."""
        self._client, former = client, self._client
        former.close()

    def close(self) -> None:
        """Drop every connection; what is under way may end."""
        self._client.close()

    @property
    def disk(self) -> SiteDisk | None:
        """The files below it, where they are ours; no prefix is set then."""
        return self._shelf.disk

    @property
    def capabilities(self) -> Capabilities:
        """What it can do, as probed at start."""
        return self._capabilities

    def manifest(self, repository: str, reference: str) -> RawManifest | None:
        """Read a manifest by tag or digest, or None where it is absent."""
        response = self._ask("GET", repository, f"manifests/{reference}", headers={"Accept": ACCEPT})
        if response.status == _NOT_FOUND:
            discard(response)
            return None
        self._expect(response, repository, {200})
        raw = read_at_most(response, _MANIFEST_LIMIT)
        discard(response)
        media_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
        return RawManifest(raw, media_type, digest_of(raw))

    def head(self, repository: str, reference: str) -> Digest | None:
        """Ask which digest a tag or digest stands for, or None where it is absent."""
        response = self._ask("HEAD", repository, f"manifests/{reference}", headers={"Accept": ACCEPT})
        discard(response)
        if response.status == _NOT_FOUND:
            return None
        self._expect(response, repository, {200})
        digest = response.headers.get("Docker-Content-Digest")
        if digest is None:
            found = self.manifest(repository, reference)
            return found.digest if found else None
        return parse_digest(digest)

    def has_blob(self, repository: str, digest: Digest) -> bool:
        """Say whether a blob is there in this repository: the disk says so for a hundredth of what a request costs."""
        if self._shelf.disk:
            return self._shelf.disk.copy_of(repository, digest) is not None
        response = self._ask("HEAD", repository, f"blobs/{digest}")
        discard(response)
        if response.status == _NOT_FOUND:
            return False
        self._expect(response, repository, {200})
        return True

    @contextmanager
    def read(self, repository: str, digest: Digest) -> Iterator[Iterator[bytes]]:
        """Read a blob back; what breaks off ends early."""
        response = self._ask("GET", repository, f"blobs/{digest}")
        if response.status == _NOT_FOUND:
            discard(response)
            yield iter(())
            return
        self._expect(response, repository, {200})
        try:
            yield _body(response)
        finally:
            discard(response)

    def mount(self, repository: str, digest: Digest, *, origin: str) -> bool:
        """Try to take a blob over from repository `origin`."""
        query = urlencode({"mount": digest, "from": self._prefix + origin})
        response = self._ask("POST", repository, f"blobs/uploads/?{query}", headers={"Content-Length": "0"})
        discard(response)
        self._expect(response, repository, {201, 202})
        if response.status == 201:  # noqa: PLR2004 -- Created
            return True
        self.cancel(Upload(self._location(response), 0))
        return False

    def begin(self, repository: str) -> Upload:
        """Open an upload."""
        response = self._ask("POST", repository, "blobs/uploads/", headers={"Content-Length": "0"})
        discard(response)
        self._expect(response, repository, {202})
        return Upload(self._location(response), 0)

    def resume(self, location: str) -> Upload | None:
        """Find an open upload again, or None where it is gone or holds nothing."""
        response = self._send("GET", location)
        discard(response)
        held = _RANGE.match(response.headers.get("Range", ""))
        # "0-0" is what registries say of no byte and of one: such an upload is not worth the doubt.
        if response.status != 204 or not held or held[1] == "0":  # noqa: PLR2004 -- No Content
            return None
        return Upload(self._location(response, otherwise=location), int(held[1]) + 1)

    def append(self, upload: Upload, segment: memoryview) -> Upload:
        """Send the next bytes in one request."""
        end = upload.offset + segment.nbytes
        span = {"Content-Range": f"{upload.offset}-{end - 1}", "Content-Length": str(segment.nbytes)}
        response = self._send("PATCH", upload.location, headers={**_OCTETS, **span}, body=segment)
        discard(response)
        self._expect_upload(response, {202, 204})
        return Upload(self._location(response, otherwise=upload.location), end)

    def stream(self, upload: Upload, chunks: Iterator[bytes], *, size_bytes: int) -> Upload:
        """Send the next `size_bytes` bytes in one request as they come."""
        end = upload.offset + size_bytes
        span = {"Content-Range": f"{upload.offset}-{end - 1}", "Content-Length": str(size_bytes)}
        response = self._send("PATCH", upload.location, headers={**_OCTETS, **span}, body=chunks)
        discard(response)
        self._expect_upload(response, {202, 204})
        return Upload(self._location(response, otherwise=upload.location), end)

    def cancel(self, upload: Upload) -> None:
        """Drop an upload and its bytes."""
        response = self._send("DELETE", upload.location)
        discard(response)
        if response.status == 416:  # noqa: PLR2004 -- it holds more than we know of: ask where it stands
            asked = self._send("GET", upload.location)
            discard(asked)
            discard(self._send("DELETE", self._location(asked, otherwise=upload.location)))

    def finish(self, upload: Upload, digest: Digest) -> None:
        """Close the upload as `digest`; the registry checks it."""
        self._put(upload, digest, b"")

    def put_blob(self, repository: str, digest: Digest, content: bytes | memoryview) -> None:
        """Send a small blob whole."""
        if not self._capabilities.takes_whole:
            self._put(self.begin(repository), digest, content)
            return
        path = f"blobs/uploads/?{urlencode({'digest': digest})}"
        response = self._ask("POST", repository, path, headers=_OCTETS, body=content)
        self._expect_whole(response, digest)

    def put_manifest(self, repository: str, reference: str, manifest: RawManifest) -> None:
        """Publish a manifest, raw, under a digest or a tag."""
        headers = {"Content-Type": manifest.media_type}
        response = self._ask("PUT", repository, f"manifests/{reference}", headers=headers, body=manifest.raw)
        if response.status in {400, 404, 413, 422}:
            detail = read_at_most(response, 1024).decode(errors="replace")
            discard(response)
            text = "the site's registry refuses a manifest"
            raise malformed("MANIFEST_REFUSED", text, subject=f"{repository}@{manifest.digest}", detail=detail)
        self._expect(response, repository, {201})
        discard(response)

    def delete_manifest(self, repository: str, digest: Digest) -> bool:
        """Remove a manifest by digest; False where it was absent.

        Raises:
            FleetError: PRECONDITION `MANIFEST_IN_USE` where the registry keeps what an index names (Zot).
        """
        return self._delete(repository, f"manifests/{digest}", refusals=frozenset())

    def delete_tag(self, repository: str, tag: str) -> bool:
        """Remove one tag and nothing else; False where the registry cannot, or the tag was absent."""
        return self._delete(repository, f"manifests/{tag}", refusals=frozenset({400, 405}))

    def delete_blob(self, repository: str, digest: Digest) -> bool:
        """Unlink a blob from a repository; False where it was absent or the registry cannot."""
        return self._delete(repository, f"blobs/{digest}", refusals=frozenset({400, 405}))

    def room(self) -> int | None:
        """Say how many bytes it can still take, or None where that is not ours to know."""
        room = self._shelf.room()
        return None if room is None else max(0, room - _SPARE_BYTES)

    def repositories(self) -> list[str]:
        """List every repository below our prefix."""
        on_disk = self._shelf.repositories()
        found = on_disk if on_disk is not None else listed(self._client, "/v2/_catalog", "repositories")
        return [name.removeprefix(self._prefix) for name in found if name.startswith(self._prefix)]

    def references(self, repository: str) -> dict[str, Digest]:
        """List what stands in a repository; what has no tag is seen where we own the disk."""
        on_disk = self._shelf.references(self._prefix + repository)
        if on_disk is not None:
            return on_disk
        heads = {tag: self.head(repository, tag) for tag in self.tags(repository)}
        found = {tag: digest for tag, digest in heads.items() if digest}
        return {**{str(digest): digest for digest in found.values()}, **found}

    def known_manifests(self, repository: str) -> set[Digest]:
        """List a repository's manifests, untagged ones too where we own the disk."""
        return set(self.references(repository).values())

    def tags(self, repository: str) -> list[str]:
        """List every tag of a repository; empty where it is unknown."""
        return listed(self._client, f"/v2/{self._prefix}{repository}/tags/list", "tags")

    def _put(self, upload: Upload, digest: Digest, content: bytes | memoryview) -> None:
        joint = "&" if urlsplit(upload.location).query else "?"
        location = f"{upload.location}{joint}{urlencode({'digest': digest})}"
        response = self._send("PUT", location, headers=_OCTETS, body=content)
        if response.status == _BAD_REQUEST:
            self.cancel(upload)
        self._expect_whole(response, digest)

    def _expect_whole(self, response: Answer, digest: Digest) -> None:
        if response.status == _BAD_REQUEST and b"DIGEST_INVALID" in read_at_most(response, 1024):
            text = "what was sent is not what its digest says"
            raise FleetError(Kind.CORRUPT, "DIGEST_MISMATCH", text, subject=digest)
        self._expect_upload(response, {201})
        discard(response)

    def _delete(self, repository: str, rest: str, *, refusals: frozenset[int]) -> bool:
        response = self._ask("DELETE", repository, rest)
        discard(response)
        if response.status in {200, 202, 204}:
            return True
        if response.status == _NOT_FOUND or response.status in refusals:
            return False
        # Zot answers 400 for a repository that it does not know.
        asked = self._ask("HEAD", repository, rest, headers={"Accept": ACCEPT})
        discard(asked)
        if asked.status == _NOT_FOUND:
            return False
        if response.status == _NOT_ALLOWED:
            text = "the registry removes no manifest that an index names"
            raise FleetError(Kind.PRECONDITION, "MANIFEST_IN_USE", text, subject=f"{repository}/{rest}")
        raise failure(self._client, response, repository)

    def _ask(
        self,
        method: str,
        repository: str,
        rest: str,
        *,
        headers: dict[str, str] | None = None,
        body: bytes | memoryview | None = None,
    ) -> Answer:
        path = f"/v2/{self._prefix}{repository}/{rest}"
        return self._client.send(Request(method, path, self._prefix + repository, _WRITE, headers, body))

    def _send(
        self,
        method: str,
        location: str,
        *,
        headers: dict[str, str] | None = None,
        body: bytes | memoryview | Iterator[bytes] | None = None,
    ) -> Answer:
        repository = location.removeprefix("/v2/").partition("/blobs/uploads/")[0]
        return self._client.send(Request(method, location, repository, _WRITE, headers, body))

    def _location(self, response: Answer, *, otherwise: str = "") -> str:
        """Keep path and query: the port is another one after a restart, and a secret stays at its host."""
        parts = urlsplit(urljoin(self._client.origin.url, response.headers.get("Location", otherwise)))
        return f"{parts.path}?{parts.query}" if parts.query else parts.path

    def _is_full(self) -> bool:
        room = self._shelf.room()
        return room is not None and room < _SPARE_BYTES

    def _expect_upload(self, response: Answer, wanted: set[int]) -> None:
        if response.status in {404, 416}:
            discard(response)
            raise FleetError(Kind.CONFLICT, "UPLOAD_LOST", "the site's registry dropped an upload")
        self._expect(response, "", wanted)

    def _expect(self, response: Answer, repository: str, wanted: set[int]) -> None:
        if response.status in wanted:
            return
        error = failure(self._client, response, repository)
        if response.status == 507 or (response.status >= 500 and self._is_full()):  # noqa: PLR2004
            text = "the site's registry has no space left"
            raise FleetError(Kind.UNAVAILABLE, "REGISTRY_FULL", text, subject=repository, detail=error.detail)
        raise error


def _body(answer: Answer) -> Iterator[bytes]:
    with suppress(ExchangeError, OSError):
        while chunk := answer.read(_CHUNK):
            yield chunk
