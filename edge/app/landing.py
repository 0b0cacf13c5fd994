"""Bringing one blob from a source to the site's registry, and going on where it was cut.

Nothing is spooled: the registry's own open upload keeps what has come. A registry that keeps an upload when a
request to it breaks off gets the bytes as they come; Zot drops it with all that it had, and gets them in segments
that are held in memory, for a cut at the source must cost no more than the cut. A blob that is whole within one
segment is sent in one request, whatever the registry.

The last word on the digest is the registry's, which checks it in `finish`: what was hashed before a restart cannot be
hashed again. Where it is known to do so, hashing here as well would only double the cost of a copy.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

from edge.app.ports import SiteRegistry, TransferLog, Upload, Upstream
from edge.app.segment import Segment
from edge.domain.content import Descriptor
from fleet.errors import FleetError, Kind

POURED_BYTES = 1024 * 1024
"""From here on a blob is poured: the size of a request costs Distribution nothing, each request a write to the disk."""
_ATTEMPTS = 5
"""Failures in a row, without a byte gained, before an image is put off to another time."""
_FIRST_PAUSE_S = 0.2
_SETTLE_S = 2.0
_POLL_S = 0.02
_WORTH_ANOTHER = frozenset({"SOURCE_CUT", "SOURCE_UNREACHABLE", "SOURCE_FAILED", "UPLOAD_LOST"})
_AFRESH = frozenset({"UPLOAD_LOST"})
_POINTLESS = frozenset({"DIGEST_MISMATCH", "BODY_TRUNCATED", "REGISTRY_FULL"})
_YIELDED = "TRANSFER_YIELDED"


class Landing:
    """One blob on its way; used by one thread at a time.

    Args:
        site: where to.
        log: remembers the open upload across a restart.
        repository: at the site.
        blob: what is to come; its size and digest are part of what was admitted.
        stop: set to end it soon; the upload stays open.
        goes_on: asked for each piece; where it says no, somebody else is to clean up.
        came: told the number of bytes that came.
        found: told the number of bytes that a former run left.
        lost: told the number of bytes that were counted and are of no use.
        is_alone: asked whether no other blob is on its way: then one is sent while the next comes.
    """

    def __init__(
        self,
        site: SiteRegistry,
        log: TransferLog,
        repository: str,
        blob: Descriptor,
        *,
        stop: threading.Event,
        goes_on: Callable[[], bool],
        came: Callable[[int], None],
        found: Callable[[int], None],
        lost: Callable[[int], None],
        is_alone: Callable[[], bool],
    ) -> None:
        self._site = site
        self._log = log
        self._repository = repository
        self._blob = blob
        self._stop = stop
        self._goes_on = goes_on
        self._came = came
        self._found = found
        self._lost = lost
        self._is_alone = is_alone
        self._upload: Upload | None = None
        self._hash: hashlib._Hash | None = None
        self.is_begun = False
        """Some of it may be here."""

    def bring(self, upstream: Upstream, repository: str, segment: Segment, yields: Callable[[], bool]) -> bool:
        """Bring the blob from `repository` of a source; False where it gave way and is to be called again.

        Args:
            upstream: the source.
            repository: there.
            segment: the thread's own.
            yields: asked on the way whether something more urgent waits.

        Raises:
            FleetError: CORRUPT `DIGEST_MISMATCH`, `BODY_TRUNCATED`, with the upload cancelled; UNAVAILABLE
                `REGISTRY_FULL`, likewise; UNAVAILABLE `TRANSFER_STOPPED`; whatever the source or the registry
                says, with the upload left open to go on later.
        """
        if not self.is_begun:
            self._look_up()
        segment.begin(f"{self._repository}@{self._blob.digest}", self._offset)
        self._recall(segment)
        failures = 0
        while True:
            before = self._position(segment)
            try:
                self._attempt(upstream, repository, segment, yields)
            except FleetError as error:
                if error.reason in _POINTLESS | _AFRESH:
                    self._abandon(segment)
                failures = 1 if self._position(segment) > before else failures + 1
                if error.reason == _YIELDED:
                    self._append(segment)
                    return False
                if error.reason not in _WORTH_ANOTHER or error.retry_after or failures >= _ATTEMPTS:
                    self._leave(segment)
                    raise
            else:
                return True
            if self._stop.wait(_FIRST_PAUSE_S * 2 ** (failures - 1)):
                self._leave(segment)
                raise _stopped()

    @property
    def _offset(self) -> int:
        return self._upload.offset if self._upload else 0

    def _position(self, segment: Segment) -> int:
        return self._offset + segment.size_bytes

    def _attempt(self, upstream: Upstream, repository: str, segment: Segment, yields: Callable[[], bool]) -> None:
        at = self._position(segment)
        if at < self._blob.size_bytes:
            pours = self._site.capabilities.keeps_cut_uploads and self._blob.size_bytes >= POURED_BYTES
            upload = (self._upload or self._open()) if pours else None
            with upstream.blob(repository, self._blob.digest, offset=at) as chunks:
                checked = self._checked(chunks, at, yields)
                if upload:
                    self._pour(checked, upload)
                else:
                    self._ladle(checked, segment)
        self._finish(segment)

    def _look_up(self) -> None:
        """Find the upload that a former run left."""
        location = self._log.upload(self._repository, self._blob.digest)
        upload = self._site.resume(location) if location else None
        if upload is not None and upload.offset <= self._blob.size_bytes:
            self._upload = upload
            self._found(upload.offset)
        else:
            self._hash = self._fresh_hash()
        self.is_begun = True

    def _recall(self, segment: Segment) -> None:
        """Count what was held in memory when we were killed."""
        if self._position(segment) > self._blob.size_bytes:
            segment.clear(self._offset)
        if segment.size_bytes:
            self._found(segment.size_bytes)

    def _fresh_hash(self) -> hashlib._Hash | None:
        return None if self._site.capabilities.checks_digests else hashlib.sha256()

    def _open(self) -> Upload:
        self._upload = upload = self._site.begin(self._repository)
        self._log.upload_opened(self._repository, self._blob.digest, upload.location)
        return upload

    def _checked(self, chunks: Iterator[bytes], at: int, yields: Callable[[], bool]) -> Iterator[bytes]:
        """Pass on what comes, as long as it is no more and in the end no less than the manifest says."""
        for chunk in chunks:
            at += len(chunk)
            if at > self._blob.size_bytes:
                raise self._mismatch()
            if self._stop.is_set():
                raise _stopped()
            if not self._goes_on():
                raise FleetError(Kind.PRECONDITION, "NO_LONGER_WANTED", "desired state no longer has it")
            self._came(len(chunk))
            yield chunk
            if at < self._blob.size_bytes and yields():
                raise FleetError(Kind.UNAVAILABLE, _YIELDED, "something more urgent goes first")
        if at < self._blob.size_bytes:
            raise self._truncated(at)

    def _pour(self, chunks: Iterator[bytes], upload: Upload) -> None:
        """Send in one request as it comes."""
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
        # An upload of which nothing has been put away yet looks like one that is gone.
        while (found.offset if found else 0) != sent and time.monotonic() < deadline and not self._stop.wait(_POLL_S):
            found = self._site.resume(upload.location)
        if found is None:
            self._lost(sent)
            self._forget()
        else:
            if found.offset != sent:
                self._lost(sent - found.offset)
                self._hash = None  # what was hashed is not what is there: the registry's check has to do
            self._upload = found

    def _ladle(self, chunks: Iterator[bytes], segment: Segment) -> None:
        """Send in segments, each a request of its own that no cut at the source can break off."""
        sending: _Sending | None = None
        try:
            for chunk in chunks:
                if segment.is_due(len(chunk)):
                    sending = self._send_on(segment, sending)
                segment.add(chunk)
        finally:
            self._sent(segment, sending)

    def _send_on(self, segment: Segment, sending: _Sending | None) -> _Sending | None:
        """Send what is held; where the source is fast and nothing else uses the time, while more of it comes."""
        self._sent(segment, sending)
        if segment.is_staged or not self._is_alone():
            self._append(segment)
            return None
        return _Sending(self._site, self._upload or self._open(), segment.turn())

    def _sent(self, segment: Segment, sending: _Sending | None) -> None:
        """Wait until the registry has what is being sent; what it does not take is held again."""
        if sending is None or sending.is_settled:
            return
        try:
            self._upload = sending.wait()
        except FleetError:
            self._lost(segment.size_bytes)
            segment.turn_back(sending.held)
            raise
        if self._hash:
            self._hash.update(sending.held)

    def _append(self, segment: Segment) -> None:
        if not segment.size_bytes:
            return
        upload = self._upload or self._open()
        self._upload = self._site.append(upload, segment.held)
        if self._hash:
            self._hash.update(segment.held)
        segment.clear(self._offset)

    def _finish(self, segment: Segment) -> None:
        if self._upload is None:
            self._put_whole(segment)
            return
        self._append(segment)
        if self._hash and "sha256:" + self._hash.hexdigest() != self._blob.digest:
            raise self._mismatch()
        self._site.finish(self._upload, self._blob.digest)
        self._log.upload_closed(self._repository, self._blob.digest)

    def _put_whole(self, segment: Segment) -> None:
        """Send in one request what is whole within one segment."""
        if self._hash:
            self._hash.update(segment.held)
            if "sha256:" + self._hash.hexdigest() != self._blob.digest:
                raise self._mismatch()
        self._site.put_blob(self._repository, self._blob.digest, segment.held)
        segment.clear(0)

    def _leave(self, segment: Segment) -> None:
        """Put away what is held in memory: a later try goes on from there."""
        with suppress(FleetError):  # what it is left for has been told already; what is staged stays
            self._append(segment)

    def _abandon(self, segment: Segment) -> None:
        """Begin anew: what came is of no use."""
        upload = self._upload
        self._lost(self._position(segment))
        self._forget()
        segment.clear(0)
        if upload:
            self._site.cancel(upload)

    def _forget(self) -> None:
        self._upload, self._hash = None, self._fresh_hash()
        self._log.upload_closed(self._repository, self._blob.digest)

    def _mismatch(self) -> FleetError:
        text = "the source's blob is not what its digest says"
        return FleetError(Kind.CORRUPT, "DIGEST_MISMATCH", text, subject=self._blob.digest)

    def _truncated(self, length: int) -> FleetError:
        detail = f"{length} of {self._blob.size_bytes} bytes"
        text = "the source's blob is shorter than its manifest says"
        return FleetError(Kind.CORRUPT, "BODY_TRUNCATED", text, subject=self._blob.digest, detail=detail)


class _Sending:
    """One segment on its way to the registry, in a thread of its own: 0.1 ms beside 2 ms of a request."""

    def __init__(self, site: SiteRegistry, upload: Upload, held: memoryview) -> None:
        self.held = held
        self.is_settled = False
        self._site = site
        self._upload = upload
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._send, name="transfer-send")
        self._thread.start()

    def _send(self) -> None:
        try:
            self._upload = self._site.append(self._upload, self.held)
        except BaseException as error:  # noqa: BLE001 -- whoever waits gets it
            self._error = error

    def wait(self) -> Upload:
        """Say how far the upload is now.

        Raises:
            FleetError: as `SiteRegistry.append`.
        """
        self._thread.join()
        self.is_settled = True
        if self._error is not None:
            raise self._error
        return self._upload


def _stopped() -> FleetError:
    return FleetError(Kind.UNAVAILABLE, "TRANSFER_STOPPED", "the transfer was stopped; it goes on later")
