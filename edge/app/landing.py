"""Bringing one blob from a source to the site's registry, and going on where it was cut.

Nothing is spooled: the registry's own open upload keeps what has come. A registry that keeps an upload when a
request to it breaks off gets the bytes as they come; Zot drops it with all that it had, and gets them in segments
that are held in memory, for a cut at the source must cost no more than the cut. What was hashed before a restart
cannot be hashed again, so the last word on the digest is the registry's, which checks it in `finish`; within one
run we check it too, before.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator

from edge.app.ports import SiteRegistry, TransferLog, Upload, Upstream
from edge.app.segment import Segment
from edge.domain.content import Descriptor
from fleet.errors import FleetError, Kind
from fleet.reference import digest_of

WHOLE_BYTES = 1024 * 1024
"""Up to here a blob is sent in one request, and begun anew when it is cut."""
_ATTEMPTS = 5
"""Failures in a row, without a byte gained, before an image is put off to another time."""
_FIRST_PAUSE_S = 0.2
_SETTLE_S = 2.0
_POLL_S = 0.02
_WORTH_ANOTHER = frozenset({"SOURCE_CUT", "SOURCE_UNREACHABLE", "RANGE_IGNORED", "UPLOAD_LOST"})
_AFRESH = frozenset({"RANGE_IGNORED", "UPLOAD_LOST"})
_POINTLESS = frozenset({"DIGEST_MISMATCH", "BODY_TRUNCATED", "REGISTRY_FULL"})


class Landing:
    """One blob on its way; used by one thread, once.

    Args:
        site: where to.
        log: remembers the open upload across a restart.
        repository: at the site.
        blob: what is to come; its size and digest are part of what was admitted.
        stop: set to end it soon; the upload stays open.
        progress: told the number of bytes that came.
    """

    def __init__(
        self,
        site: SiteRegistry,
        log: TransferLog,
        repository: str,
        blob: Descriptor,
        *,
        stop: threading.Event,
        progress: Callable[[int], None],
    ) -> None:
        self._site = site
        self._log = log
        self._repository = repository
        self._blob = blob
        self._stop = stop
        self._progress = progress
        self._upload: Upload | None = None
        self._hash: hashlib._Hash | None = None

    def bring(self, upstream: Upstream, repository: str) -> None:
        """Bring the blob from `repository` of a source.

        Raises:
            FleetError: CORRUPT `DIGEST_MISMATCH`, `BODY_TRUNCATED`, with the upload cancelled; UNAVAILABLE
                `REGISTRY_FULL`, likewise; UNAVAILABLE `TRANSFER_STOPPED`; whatever the source or the registry
                says, with the upload left open to go on later.
        """
        failures = 0
        while True:
            before = self._upload.offset if self._upload else 0
            try:
                return self._attempt(upstream, repository)
            except FleetError as error:
                if error.reason in _POINTLESS | _AFRESH:
                    self._abandon()
                gained = self._upload is not None and self._upload.offset > before
                failures = 1 if gained else failures + 1
                if error.reason not in _WORTH_ANOTHER or failures >= _ATTEMPTS:
                    raise
            if self._stop.wait(_FIRST_PAUSE_S * 2 ** (failures - 1)):
                raise _stopped()

    def _attempt(self, upstream: Upstream, repository: str) -> None:
        if self._blob.size_bytes <= WHOLE_BYTES:
            return self._bring_whole(upstream, repository)
        upload = self._upload or self._open()
        if upload.offset < self._blob.size_bytes:
            self._pump(upstream, repository, upload)
        self._finish()
        return None

    def _bring_whole(self, upstream: Upstream, repository: str) -> None:
        """Send a small blob in one request."""
        content = bytearray()
        if self._blob.size_bytes:
            with upstream.blob(repository, self._blob.digest) as chunks:
                for chunk in self._checked(chunks, 0):
                    content += chunk
        whole = bytes(content)
        if digest_of(whole) != self._blob.digest:
            raise self._mismatch()
        self._site.put_blob(self._repository, self._blob.digest, whole)

    def _open(self) -> Upload:
        """Find the upload that a former run left, or begin one."""
        self._check_room()
        location = self._log.upload(self._repository, self._blob.digest)
        upload = self._site.resume(location) if location else None
        if upload is None or upload.offset > self._blob.size_bytes:
            upload = self._site.begin(self._repository)
            self._log.upload_opened(self._repository, self._blob.digest, upload.location)
            self._hash = hashlib.sha256()
        self._upload = upload
        return upload

    def _pump(self, upstream: Upstream, repository: str, upload: Upload) -> None:
        """Move bytes until the end, or until the source breaks off: what came by then is kept."""
        with upstream.blob(repository, self._blob.digest, offset=upload.offset) as chunks:
            checked = self._checked(chunks, upload.offset)
            if self._site.capabilities.keeps_cut_uploads:
                self._pour(checked, upload)
            else:
                self._ladle(checked)

    def _checked(self, chunks: Iterator[bytes], at: int) -> Iterator[bytes]:
        """Pass on what comes, as long as it is no more and in the end no less than the manifest says."""
        for chunk in chunks:
            at += len(chunk)
            if at > self._blob.size_bytes:
                raise self._mismatch()
            self._count(chunk)
            yield chunk
        if at < self._blob.size_bytes:
            raise self._truncated(at)

    def _pour(self, chunks: Iterator[bytes], upload: Upload) -> None:
        """Send in one request as it comes: each request costs Distribution a write through to the disk."""
        sent = upload.offset

        def hashed() -> Iterator[bytes]:
            nonlocal sent
            for chunk in chunks:
                if self._hash:
                    self._hash.update(chunk)
                sent += len(chunk)
                yield chunk

        try:
            self._upload = self._site.stream(upload, hashed(), size_bytes=self._blob.size_bytes - sent)
        except FleetError as error:
            if error.reason != "TRANSFER_STOPPED":
                self._settle(upload, sent)
            raise

    def _settle(self, upload: Upload, sent: int) -> None:
        """Wait until the registry has noticed that a request broke off and put away what came with it."""
        deadline = time.monotonic() + _SETTLE_S
        found = self._site.resume(upload.location)
        while found and found.offset != sent and time.monotonic() < deadline and not self._stop.wait(_POLL_S):
            found = self._site.resume(upload.location)
        if found is None:
            self._abandon()
        elif found.offset != sent:
            self._hash = None  # what was hashed is not what is there: the registry's check has to do
        self._upload = found

    def _ladle(self, chunks: Iterator[bytes]) -> None:
        """Send in segments, each a request of its own that no cut at the source can break off."""
        segment = Segment()
        try:
            for chunk in chunks:
                if segment.is_due(len(chunk)):
                    self._append(segment.taken())
                segment.add(chunk)
        except FleetError as error:
            if error.reason not in _POINTLESS:
                self._append(segment.taken())
            raise
        self._append(segment.taken())

    def _append(self, segment: memoryview) -> None:
        if not segment:
            return
        if self._upload is None:
            raise AssertionError("a segment without an upload")
        if self._hash:
            self._hash.update(segment)
        self._upload = self._site.append(self._upload, segment)

    def _finish(self) -> None:
        if self._upload is None:
            raise AssertionError("an end without an upload")
        if self._hash and "sha256:" + self._hash.hexdigest() != self._blob.digest:
            raise self._mismatch()
        self._site.finish(self._upload, self._blob.digest)
        self._log.upload_closed(self._repository, self._blob.digest)

    def _abandon(self) -> None:
        upload, self._upload, self._hash = self._upload, None, None
        self._log.upload_closed(self._repository, self._blob.digest)
        if upload:
            self._site.cancel(upload)

    def _check_room(self) -> None:
        """Refuse before the first byte what cannot fit: a disk that runs full hurts everybody on it.

        Zot and Distribution besides hold on to the space of a dropped upload until Go's garbage collector closes
        its file (measured): up to two minutes.
        """
        room = self._site.room()
        if room is not None and room < self._blob.size_bytes:
            text = "the site's registry has no space left"
            raise FleetError(Kind.UNAVAILABLE, "REGISTRY_FULL", text, subject=self._blob.digest)

    def _count(self, chunk: bytes) -> None:
        if self._stop.is_set():
            raise _stopped()
        self._progress(len(chunk))

    def _mismatch(self) -> FleetError:
        text = "the source's blob is not what its digest says"
        return FleetError(Kind.CORRUPT, "DIGEST_MISMATCH", text, subject=self._blob.digest)

    def _truncated(self, length: int) -> FleetError:
        detail = f"{length} of {self._blob.size_bytes} bytes"
        text = "the source's blob is shorter than its manifest says"
        return FleetError(Kind.CORRUPT, "BODY_TRUNCATED", text, subject=self._blob.digest, detail=detail)


def _stopped() -> FleetError:
    return FleetError(Kind.UNAVAILABLE, "TRANSFER_STOPPED", "the transfer was stopped; it goes on later")
