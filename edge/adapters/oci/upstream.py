"""A source registry, read only, over the OCI distribution API.

Source: OCI distribution specification 1.1, sections "Pull", "Listing Referrers" and "Referrers Tag Schema".
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edge.adapters.oci.descriptors import ACCEPT, INDEX, read_descriptors
from edge.adapters.oci.exchange import (
    CHUNK_BYTES,
    Answer,
    Carrier,
    ExchangeError,
    Request,
    discard,
    failure,
    read_at_most,
)
from edge.adapters.oci.listing import next_page
from edge.app.segment import SLOW_BYTES_PER_S
from edge.domain.content import Descriptor, RawManifest
from fleet.errors import FleetError, Kind, malformed
from fleet.reference import Digest, digest_of

MANIFEST_LIMIT_BYTES = 4 * 1024 * 1024
_SCHEMA1 = frozenset(f"application/vnd.docker.distribution.manifest.v1+{suffix}" for suffix in ("json", "prettyjws"))
_PART = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)\Z")
_MAX_PAGES = 16
_STRETCH_BYTES = 1024 * 1024
"""How much is looked at to tell how fast a blob comes: more than a kernel holds of one that comes slowly."""
_MAX_REFERRERS = 1000


class OciUpstream:
    """Implements `edge.app.ports.Upstream`; safe to use from many threads."""

    def __init__(self, client: Carrier) -> None:
        self._client = client

    def manifest(self, repository: str, reference: str) -> RawManifest:
        """Fetch a manifest by tag or digest."""
        path = f"/v2/{repository}/manifests/{reference}"
        response = self._client.send(Request("GET", path, repository, headers={"Accept": ACCEPT}))
        subject = _name(repository, reference)
        if response.status == 404:  # noqa: PLR2004 -- Not Found
            discard(response)
            raise FleetError(Kind.UNKNOWN, "MANIFEST_ABSENT", "the source has no such manifest", subject=subject)
        raw = self._body(response, subject)
        media_type = response.headers.get("Content-Type", "").partition(";")[0].strip()
        if media_type in _SCHEMA1:  # its digest is over a part of it: nobody could check it below
            raise malformed("SCHEMA1_UNSUPPORTED", "Docker schema 1 cannot be verified: push the image again")
        digest = digest_of(raw)
        if ":" in reference and digest != reference:
            raise _corrupt("DIGEST_MISMATCH", "the source's manifest is not what its digest says", subject)
        return RawManifest(raw, media_type, digest)

    def referrers(self, repository: str, digest: Digest) -> list[Descriptor]:
        """List what names `digest` as its subject."""
        found = self._by_api(repository, digest)
        return self._by_tag(repository, digest) if found is None else found

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
        """Stream a blob from `offset`; where the source begins before it, what comes before is read and dropped."""
        found = self._from(repository, digest, offset, size_bytes)
        if found is None:
            yield iter(())
            return
        response, start = found
        try:
            subject = _name(repository, digest)
            chunks = _chunks(response, subject)
            if size_bytes is None:
                chunks = _whole(chunks, response, subject)
            yield _dropping(chunks, offset - start, dropped) if start < offset else chunks
        finally:
            if response.length_remaining:
                response.close()
            else:
                discard(response)

    def _from(self, repository: str, digest: Digest, offset: int, size_bytes: int | None) -> tuple[Answer, int] | None:
        """Ask for a blob from `offset`, or whole where the source cannot: `→ the answer, and where it begins`.

        None where only a part was asked for, and the blob ends before it.
        """
        subject = _name(repository, digest)
        last = "" if size_bytes is None else str(offset + size_bytes - 1)
        headers = {"Range": f"bytes={offset}-{last}"} if offset or last else {}
        response = self._client.send(Request("GET", f"/v2/{repository}/blobs/{digest}", repository, headers=headers))
        if response.status == 404:  # noqa: PLR2004 -- Not Found
            discard(response)
            raise FleetError(Kind.UNKNOWN, "BLOB_ABSENT", "the source has no such blob", subject=subject)
        if size_bytes is not None and response.status == 416:  # noqa: PLR2004 -- Range Not Satisfiable
            discard(response)
            return None
        if response.status not in {200, 206} and not (offset and response.status == 416):  # noqa: PLR2004
            raise failure(self._client, response, subject)
        start = _beginning(response)
        if start is not None and start <= offset:
            return response, start
        response.close()
        if offset:
            return self._from(repository, digest, 0, None)
        raise self._client.voice.failed(subject, "it answers with a part of a blob that nobody asked for")

    def _body(self, response: Answer, subject: str) -> bytes:
        if response.status != 200:  # noqa: PLR2004 -- OK
            raise failure(self._client, response, subject)
        raw = read_at_most(response, MANIFEST_LIMIT_BYTES)
        if len(raw) > MANIFEST_LIMIT_BYTES:
            response.close()
            raise malformed("MANIFEST_TOO_LARGE", "a manifest is at most 4 MiB", subject=subject)
        length = response.headers.get("Content-Length", "")
        discard(response)
        if length.isdecimal() and int(length) != len(raw):
            raise _cut(subject, "a manifest")
        return raw

    def _by_api(self, repository: str, digest: Digest) -> list[Descriptor] | None:
        """Ask the referrers API; None where the registry does not have it."""
        path = f"/v2/{repository}/referrers/{digest}"
        found: list[Descriptor] = []
        for page in range(_MAX_PAGES):
            response = self._client.send(Request("GET", path, repository, headers={"Accept": INDEX}))
            if response.status in {400, 404, 405} and page == 0:
                discard(response)
                return None
            body = self._body(response, _name(repository, digest))
            found += self._descriptors(body, repository, digest)
            following = next_page(self._client, path, response.headers.get("Link", ""))
            if following is None:
                return found
            path = following
        raise _too_many(repository, digest)

    def _by_tag(self, repository: str, digest: Digest) -> list[Descriptor]:
        try:
            index = self.manifest(repository, digest.replace(":", "-"))
        except FleetError as error:
            if error.kind is Kind.UNKNOWN:
                return []
            raise
        return self._descriptors(index.raw, repository, digest)

    def _descriptors(self, body: bytes, repository: str, digest: Digest) -> list[Descriptor]:
        try:
            found = read_descriptors(body)
        except ValueError as error:
            subject = _name(repository, digest)
            raise malformed(
                "REFERRERS_MALFORMED", "the source's list of referrers is no index", subject=subject
            ) from error
        if len(found) > _MAX_REFERRERS:
            raise _too_many(repository, digest)
        return found


def _chunks(response: Answer, subject: str) -> Iterator[bytes]:
    try:
        # On a slow link, what has come is not kept waiting. On a fast one TLS would hand it over in records of 16 KiB,
        # each of which costs as much to pass on as a whole chunk.
        is_fast, since, came = False, time.monotonic(), 0
        while chunk := response.read(CHUNK_BYTES) if is_fast else response.read1(CHUNK_BYTES):
            yield chunk
            came += len(chunk)
            if came >= _STRETCH_BYTES:
                now = time.monotonic()
                is_fast, since, came = came > SLOW_BYTES_PER_S * (now - since), now, 0
    except (ExchangeError, OSError) as error:
        raise _cut(subject, str(error)) from error


def _whole(chunks: Iterator[bytes], response: Answer, subject: str) -> Iterator[bytes]:
    """Call it a cut where an answer ends before the blob does: sources may give a part less than what was asked for."""
    yield from chunks
    part = _PART.match(response.headers.get("Content-Range", ""))
    if part and part[3] != "*" and int(part[2]) + 1 < int(part[3]):
        raise _cut(subject, "the source gave a part of what was asked for")


def _beginning(response: Answer) -> int | None:
    """Say at which byte of the blob an answer begins; None where it does not tell, or has none of them."""
    if response.status == 200:  # noqa: PLR2004 -- OK
        return 0
    part = _PART.match(response.headers.get("Content-Range", ""))
    return int(part[1]) if part and response.status == 206 else None  # noqa: PLR2004 -- Partial Content


def _dropping(chunks: Iterator[bytes], count: int, told: Callable[[int], None] | None) -> Iterator[bytes]:
    """Leave out the first `count` bytes, in empty chunks: whoever reads can stop on the way."""
    for chunk in chunks:
        dropped = min(count, len(chunk))
        count -= dropped
        if dropped and told:
            told(dropped)
        yield chunk[dropped:]


def _name(repository: str, reference: str) -> str:
    return f"{repository}{'@' if ':' in reference else ':'}{reference}"


def _corrupt(reason: str, text: str, subject: str) -> FleetError:
    return FleetError(Kind.CORRUPT, reason, text, subject=subject)


def _cut(subject: str, detail: str) -> FleetError:
    text = "the connection to the source broke on the way"
    return FleetError(Kind.UNAVAILABLE, "SOURCE_CUT", text, subject=subject, detail=detail[:400])


def _too_many(repository: str, digest: Digest) -> FleetError:
    text = f"more than {_MAX_REFERRERS} referrers"
    return malformed("EVIDENCE_LIMIT", text, subject=_name(repository, digest))
