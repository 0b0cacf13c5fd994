"""Bringing all blobs of an admission to the site, several at a time, each at most once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Protocol

from edge.app.landing import Landing
from edge.app.ports import SiteRegistry, Staging, TransferLog, Upstream
from edge.app.room import Room
from edge.app.segment import Segment
from edge.app.workers import Task, Workers, Yields
from edge.domain.admission import Dossier
from edge.domain.content import Descriptor
from edge.domain.turns import Urgency
from fleet.reference import Digest


class Progress(Protocol):
    """Told how an artifact comes along, by name, from the threads that bring it."""

    def moving(self, name: str) -> AbstractContextManager[None]:
        """Enter while a thread brings one of its blobs."""

    def came(self, name: str, size_bytes: int) -> None:
        """Count bytes that came over the link."""

    def found(self, name: str, size_bytes: int) -> None:
        """Count bytes that need not come: they are there, or came before a restart."""

    def lost(self, name: str, size_bytes: int) -> None:
        """Take back bytes that were counted and are of no use."""


class Untold:
    """Implements `Progress` for whoever does not ask."""

    def moving(self, name: str) -> AbstractContextManager[None]:  # noqa: ARG002 - the protocol's
        """Tell nobody."""
        return nullcontext()

    def came(self, name: str, size_bytes: int) -> None:
        """Tell nobody."""

    def found(self, name: str, size_bytes: int) -> None:
        """Tell nobody."""

    def lost(self, name: str, size_bytes: int) -> None:
        """Tell nobody."""


class Transfer:
    """Moves blobs, for all artifacts; usable from many threads.

    Args:
        site: where to.
        log: remembers uploads, and which repository has which blob.
        staging: keeps what is in memory for the case that we are killed.
        progress: called from the moving threads.
        clear: frees what nobody needs at the site, when something does not fit.
        rested: called when nothing has moved for a while.
    """

    def __init__(
        self,
        site: SiteRegistry,
        log: TransferLog,
        staging: Staging,
        *,
        progress: Progress,
        clear: Callable[[], None] = lambda: None,
        rested: Callable[[], None] = lambda: None,
    ) -> None:
        self._site = site
        self._log = log
        self._staging = staging
        self._progress = progress
        self._room = Room(site.room, clear)
        self._stop = threading.Event()
        self._workers = Workers(rested=rested)
        self._own = threading.local()
        self._stored: dict[Digest, str] = {}
        """Which repository has what came for images that are not complete: journaled when they are."""

    def stop(self) -> None:
        """Stop what moves, keeping open uploads for the next start; usable from any thread."""
        self._stop.set()
        self._workers.stop()

    def close(self) -> None:
        """Stop what moves and wait for the threads."""
        self.stop()
        self._workers.close()

    def bring(
        self, upstream: Upstream, dossier: Dossier, urgency: Urgency, goes_on: Callable[[], bool] = lambda: True
    ) -> None:
        """Bring every blob that the site does not have, as long as `goes_on`.

        Raises:
            FleetError: the first failure, when the others of this artifact have come to an end; what came, stays.
        """
        tasks = [self._task(upstream, dossier, blob, goes_on) for blob in dossier.blobs]
        most = {blob.digest: blob.size_bytes for blob in dossier.blobs}
        try:
            with self._room.claimed(most, partial(self._to_come, dossier)):
                self._workers.run(urgency, dossier.source, tasks)
        finally:
            stored = [one for one in most if self._stored.get(one) == dossier.local_repository]
            self._log.blobs_stored(dossier.local_repository, stored)
            for digest in stored:
                self._stored.pop(digest, None)

    def _origin(self, digest: Digest) -> str:
        return self._stored.get(digest) or self._log.blob_origin(digest)

    def _to_come(self, dossier: Dossier) -> dict[Digest, int]:
        """Say how many bytes of which blobs the registry's disk has to take for an image."""
        return {
            blob.digest: blob.size_bytes - self._begun_bytes(dossier.local_repository, blob.digest)
            for blob in dossier.blobs
            if not self._site.has_blob(dossier.local_repository, blob.digest) and not self._origin(blob.digest)
        }

    def _begun_bytes(self, repository: str, digest: Digest) -> int:
        location = self._log.upload(repository, digest)
        upload = self._site.resume(location) if location else None
        return upload.offset if upload else 0

    def missing(self, repository: str, blobs: Iterable[Descriptor]) -> list[Digest]:
        """Ask the site which of these blobs it does not have."""
        return [blob.digest for blob in blobs if not self._site.has_blob(repository, blob.digest)]

    @contextmanager
    def turns_of(self, digests: Iterable[Digest]) -> Iterator[set[Digest]]:
        """Keep transfers off these blobs for a moment: `→ those that none is moving or about to`."""
        with self._workers.held(digests) as held:
            yield held

    def _task(self, upstream: Upstream, dossier: Dossier, blob: Descriptor, goes_on: Callable[[], bool]) -> Task:
        repository = dossier.local_repository

        def came(size_bytes: int) -> None:
            self._progress.came(dossier.name, size_bytes)
            self._room.came(blob.digest, size_bytes)

        def lost(size_bytes: int) -> None:
            self._progress.lost(dossier.name, size_bytes)
            self._room.came(blob.digest, -size_bytes)

        landing = Landing(
            self._site,
            self._log,
            repository,
            blob,
            stop=self._stop,
            goes_on=goes_on,
            came=came,
            found=partial(self._progress.found, dossier.name),
            lost=lost,
            is_alone=self._workers.is_alone,
        )

        def bring(yields: Yields) -> bool:
            with self._progress.moving(dossier.name):
                if not landing.is_begun and self._is_there(repository, blob.digest):
                    self._progress.found(dossier.name, blob.size_bytes)
                elif not landing.bring(upstream, dossier.repository, self._segment(), yields):
                    return False
            self._room.settled(blob.digest)
            self._stored[blob.digest] = repository
            return True

        return Task(blob.digest, blob.size_bytes, bring)

    def _segment(self) -> Segment:
        """Lend the thread's buffer, the same for all that it brings: fresh memory costs more than copying."""
        segment: Segment | None = getattr(self._own, "segment", None)
        if segment is None:
            segment = self._own.segment = Segment(self._staging)
        return segment

    def _is_there(self, repository: str, digest: Digest) -> bool:
        """Say whether the blob is there, or could be taken over from another repository."""
        if self._site.has_blob(repository, digest):
            return True
        origin = self._origin(digest)
        return bool(origin) and origin != repository and self._site.mount(repository, digest, origin=origin)
