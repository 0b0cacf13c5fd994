"""The data plane as the rest of the satellite sees it: bring, publish, retag, withdraw, sweep.

Blobs move side by side and any time; manifests, tags and deletions are written by one at a time, under one lock,
so that nothing is deleted from below an image that is just being published.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager

from edge.app.footprint import Footprint, footprint
from edge.app.ports import IntentLog, SiteRegistry, Staging, TransferLog, Upstream
from edge.app.publish import Publisher
from edge.app.purge import STALE_S, Purged, Purger
from edge.app.transfer import Progress, Transfer, Untold
from edge.app.withdraw import Foreign, Withdrawer
from edge.domain.admission import Admission, Dossier
from edge.domain.turns import Urgency
from fleet.errors import FleetError
from fleet.reference import Digest

Confirm = Callable[[Admission], Admission]
"""Says that an admission still stands, or returns the new one; raises the FleetError why it does not."""

Held = Callable[[], Footprint]
"""Says what else is held in a repository, asked under the lock."""

_TRIES = 3
_ORDINARY = Urgency()


class Replicator:
    """Writes the site's registry; usable from many threads.

    Args:
        site: the registry.
        intents: records what is about to be written.
        log: records uploads and where blobs are.
        staging: keeps what is in memory for the case that we are killed.
        progress: told how artifacts come along, from other threads.
        rested: called when nothing has moved for a while.
    """

    def __init__(
        self,
        site: SiteRegistry,
        intents: IntentLog,
        log: TransferLog,
        *,
        staging: Staging,
        progress: Progress | None = None,
        rested: Callable[[], None] = lambda: None,
    ) -> None:
        self._site = site
        self._log = log
        self._transfer = Transfer(site, log, staging, progress=progress or Untold(), clear=self._clear, rested=rested)
        self._publisher = Publisher(site, intents)
        self._withdrawer = Withdrawer(site, intents, log)
        self._purger = Purger(site, log, self._transfer)
        self._writing = threading.Lock()
        self._removals = 0
        self._is_alone = site.capabilities.sole_writer

    def stop(self) -> None:
        """Stop what moves; open uploads go on at the next start."""
        self._transfer.stop()

    def close(self) -> None:
        """Stop what moves and wait for the threads."""
        self._transfer.close()

    def replicate(
        self,
        admission: Admission,
        upstream: Upstream,
        confirm: Confirm,
        urgency: Urgency = _ORDINARY,
        *,
        goes_on: Callable[[], bool] = lambda: True,
    ) -> Admission:
        """Bring an admitted image and publish it: `→ the admission under which it was published`.

        `confirm` is asked under the lock, before the first manifest is written: policies, trust and blocks may
        have changed while layers came. `goes_on` is asked for each piece that comes.

        Raises:
            FleetError: as `Transfer.bring`, `Publisher.publish` and `confirm`.
        """
        for tries_left in reversed(range(_TRIES)):
            removals = self._removals
            self._transfer.bring(upstream, admission, urgency, goes_on)
            self._publisher.put_small_blobs(admission)
            with self._writing:
                confirmed = confirm(admission)
                # A question for each of 60 blobs takes a tenth of the time of a copy: where nobody else writes and
                # nothing was removed meanwhile, what was brought is there.
                is_whole = self._is_alone and removals == self._removals and confirmed.blobs == admission.blobs
                try:
                    self._publisher.publish(confirmed, missing=() if is_whole else self._missing(confirmed))
                except FleetError as error:
                    if not tries_left or not self._is_for_want_of_blobs(error, confirmed):
                        raise
                else:
                    return confirmed
        raise AssertionError("the last try returns or raises")

    def _is_for_want_of_blobs(self, error: FleetError, admission: Admission) -> bool:
        if error.reason == "MANIFEST_REFUSED":
            return bool(self._missing(admission))
        return error.reason == "CLOSURE_INCOMPLETE"

    def _missing(self, admission: Admission) -> Collection[Digest]:
        return self._transfer.missing(admission.local_repository, admission.blobs)

    def tag(self, admission: Admission, tag: str) -> None:
        """Let a tag stand for an image that is published."""
        with self._writing:
            self._publisher.tag(admission.local_repository, {tag: admission.root})

    def untag(self, repository: str, tag: str, digest: Digest) -> None:
        """Remove a tag that stands for `digest`."""
        with self._removing():
            self._withdrawer.untag(repository, {tag: digest}, keeps=lambda _: True)

    def withdraw(self, dossier: Dossier, held: Held) -> None:
        """Remove all of an image that nothing else in its repository holds."""
        with self._removing():
            self._withdrawer.withdraw(dossier, self.footprint(dossier), held())

    def sweep(self, expected: Mapping[str, Footprint]) -> list[Foreign]:
        """Remove what is in no footprint; before the registry opens, and whenever in doubt."""
        with self._removing():
            return self._withdrawer.sweep(expected)

    def discard(self, damaged: Collection[Digest]) -> None:
        """Remove damaged bytes from every repository of a registry whose disk is ours, to be sent again."""
        disk = self._site.disk
        if disk is not None:
            with self._removing():
                for digest in damaged:
                    self._log.blob_lost(digest)
                    disk.discard(digest)

    def miss(self, repository: str, blobs: Iterable[Digest]) -> None:
        """Take note that a repository no longer has blobs: it is not asked for them on behalf of another."""
        for digest in blobs:
            self._log.blob_gone(repository, digest)

    def purge(self, *, idle_s: float) -> Purged:
        """Free what the registry keeps and nobody needs, where its disk is ours."""
        with self._writing:
            return self._purger.run(idle_s=idle_s)

    def _clear(self) -> None:
        """Free what can be freed, since something does not fit."""
        self.purge(idle_s=STALE_S)

    @contextmanager
    def _removing(self) -> Iterator[None]:
        """Write alone; counted at the end, so that a copy which begins on the way hears of it too."""
        with self._writing:
            try:
                yield
            finally:
                self._removals += 1

    def footprint(self, dossier: Dossier) -> Footprint:
        """Say what this dossier puts into its local repository of this registry."""
        return footprint(dossier, self._site.capabilities)
