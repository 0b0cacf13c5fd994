"""Bringing all blobs of an admission to the site, several at a time, each at most once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager

from edge.app.landing import Landing
from edge.app.ports import SiteRegistry, TransferLog, Upstream
from edge.domain.admission import Dossier
from edge.domain.content import Descriptor
from fleet.errors import FleetError, Kind
from fleet.reference import Digest

JOBS = 4
"""Blobs at a time: what ties with the fastest copiers on two cores (measured)."""

Progress = Callable[[str, int], None]
"""Told the artifact's name and the number of bytes that came."""


def _untold(name: str, size_bytes: int) -> None:
    pass


class Transfer:
    """The threads that move blobs, shared by all artifacts; usable from many threads itself.

    Args:
        site: where to.
        log: remembers uploads, and which repository has which blob.
        progress: called from the moving threads.
    """

    def __init__(self, site: SiteRegistry, log: TransferLog, *, progress: Progress = _untold) -> None:
        self._site = site
        self._log = log
        self._progress = progress
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(JOBS, thread_name_prefix="transfer")
        self._turns = _Turns()

    def stop(self) -> None:
        """Stop what moves, keeping open uploads for the next start; usable from any thread."""
        self._stop.set()

    def close(self) -> None:
        """Stop what moves and wait for the threads."""
        self.stop()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def bring(self, upstream: Upstream, dossier: Dossier) -> None:
        """Bring every blob that the site does not have, the largest first.

        Raises:
            FleetError: the first failure, when the others of this artifact have come to an end; what came, stays.
        """
        largest_first = sorted(dossier.blobs, key=lambda blob: -blob.size_bytes)
        jobs = [self._pool.submit(self._bring, upstream, dossier, blob) for blob in largest_first]
        try:
            done, rest = wait(jobs, return_when=FIRST_EXCEPTION)
        finally:
            _drop(jobs)
        wait(rest)
        for job in (*done, *rest):
            if not job.cancelled():
                job.result()

    def missing(self, repository: str, blobs: Iterable[Descriptor]) -> list[Digest]:
        """Ask the site which of these blobs it does not have."""
        digests = [blob.digest for blob in blobs]
        found = self._pool.map(lambda digest: self._site.has_blob(repository, digest), digests)
        return [digest for digest, is_there in zip(digests, found, strict=True) if not is_there]

    def _bring(self, upstream: Upstream, dossier: Dossier, blob: Descriptor) -> None:
        repository = dossier.local_repository
        with self._turns.take(blob.digest):
            if self._stop.is_set():
                raise FleetError(Kind.UNAVAILABLE, "TRANSFER_STOPPED", "the satellite is stopping")
            if not self._is_there(repository, blob.digest):
                landing = Landing(
                    self._site,
                    self._log,
                    repository,
                    blob,
                    stop=self._stop,
                    progress=lambda size: self._progress(dossier.name, size),
                )
                landing.bring(upstream, dossier.repository)
            self._log.blob_stored(repository, blob.digest)

    def _is_there(self, repository: str, digest: Digest) -> bool:
        """Say whether the blob is there, or could be taken over from another repository."""
        if self._site.has_blob(repository, digest):
            return True
        origin = self._log.blob_origin(digest)
        return bool(origin) and origin != repository and self._site.mount(repository, digest, origin=origin)


def _drop(jobs: Iterable[Future[None]]) -> None:
    for job in jobs:
        job.cancel()


class _Turns:
    """One thread at a time per blob: the second finds it there, or takes it over, instead of fetching it too."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[Digest, tuple[threading.Lock, int]] = {}

    @contextmanager
    def take(self, digest: Digest) -> Iterator[None]:
        with self._lock:
            turn, waiting = self._held.get(digest, (threading.Lock(), 0))
            self._held[digest] = (turn, waiting + 1)
        try:
            with turn:
                yield
        finally:
            with self._lock:
                turn, waiting = self._held.pop(digest)
                if waiting > 1:
                    self._held[digest] = (turn, waiting - 1)
