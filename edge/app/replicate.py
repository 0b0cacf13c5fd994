"""The data plane as the rest of the satellite sees it: bring, publish, retag, withdraw, sweep.

Blobs move side by side and any time; manifests, tags and deletions are written by one at a time, under one lock,
so that nothing is deleted from below an image that is just being published.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from edge.app.footprint import Footprint, footprint
from edge.app.ports import IntentLog, SiteRegistry, TransferLog, Upstream
from edge.app.publish import Publisher
from edge.app.transfer import Progress, Transfer
from edge.app.withdraw import Foreign, Withdrawer
from edge.domain.admission import Admission, Dossier
from fleet.errors import FleetError
from fleet.reference import Digest

Confirm = Callable[[Admission], Admission]
"""Says that an admission still stands, or returns the new one; raises the FleetError why it does not."""

Held = Callable[[], Footprint]
"""Says what else is held in a repository, asked under the lock."""

_TRIES = 3


class Replicator:
    """Writes the site's registry; usable from many threads.

    Args:
        site: the registry.
        intents: records what is about to be written.
        log: records uploads and where blobs are.
        progress: told the bytes that came, from other threads.
    """

    def __init__(
        self, site: SiteRegistry, intents: IntentLog, log: TransferLog, *, progress: Progress | None = None
    ) -> None:
        self._site = site
        self._transfer = Transfer(site, log, progress=progress) if progress else Transfer(site, log)
        self._publisher = Publisher(site, intents, self._transfer)
        self._withdrawer = Withdrawer(site, intents, log)
        self._writing = threading.Lock()

    def stop(self) -> None:
        """Stop what moves; open uploads go on at the next start."""
        self._transfer.stop()

    def close(self) -> None:
        """Stop what moves and wait for the threads."""
        self._transfer.close()

    def replicate(self, admission: Admission, upstream: Upstream, confirm: Confirm) -> Admission:
        """Bring an admitted image and publish it: `→ the admission under which it was published`.

        `confirm` is asked under the lock, before the first manifest is written: policies, trust and blocks may
        have changed while layers came.

        Raises:
            FleetError: as `Transfer.bring`, `Publisher.publish` and `confirm`.
        """
        for tries_left in reversed(range(_TRIES)):
            self._transfer.bring(upstream, admission)
            with self._writing:
                confirmed = confirm(admission)
                try:
                    self._publisher.publish(confirmed)
                except FleetError as error:
                    if error.reason != "CLOSURE_INCOMPLETE" or not tries_left:
                        raise
                else:
                    return confirmed
        raise AssertionError("the last try returns or raises")

    def tag(self, admission: Admission, tag: str) -> None:
        """Let a tag stand for an image that is published."""
        with self._writing:
            self._publisher.tag(admission.local_repository, {tag: admission.root})

    def untag(self, repository: str, tag: str, digest: Digest) -> None:
        """Remove a tag that stands for `digest`."""
        with self._writing:
            self._withdrawer.untag(repository, {tag: digest}, keeps=lambda _: True)

    def withdraw(self, dossier: Dossier, held: Held) -> None:
        """Remove all of an image that nothing else in its repository holds."""
        with self._writing:
            self._withdrawer.withdraw(dossier, self.footprint(dossier), held())

    def sweep(self, expected: Mapping[str, Footprint]) -> list[Foreign]:
        """Remove what is in no footprint; before the registry opens, and whenever in doubt."""
        with self._writing:
            return self._withdrawer.sweep(expected)

    def footprint(self, dossier: Dossier) -> Footprint:
        """Say what this dossier puts into its local repository of this registry."""
        return footprint(dossier, self._site.capabilities)
