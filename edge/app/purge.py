"""Freeing what a registry keeps on its disk and nobody can pull: content without a link, uploads without an owner.

Distribution frees nothing by itself, and its own garbage collection wants the writer stopped and takes along the
layers of an image that is just coming (decision 8). Here the writer is we: manifests and links of evidence are
written under the lock that our caller holds, and whatever a transfer brings or takes over is skipped by its turn.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge.app.ports import SiteRegistry, TransferLog
from edge.app.transfer import Transfer

STALE_S = 3600.0
"""An upload that nobody remembers may be a small one on its way: those are sent in one go."""


@dataclass(frozen=True, slots=True)
class Purged:
    """What came of it."""

    blobs: int = 0
    size_bytes: int = 0
    uploads: int = 0


class Purger:
    """Sweeps a disk of ours; one at a time, under the writing lock."""

    def __init__(self, site: SiteRegistry, log: TransferLog, transfer: Transfer) -> None:
        self._site = site
        self._log = log
        self._transfer = transfer

    def run(self, *, idle_s: float) -> Purged:
        """Free unlinked content, and uploads that the journal does not know once nothing came for `idle_s`."""
        disk = self._site.disk
        if disk is None:
            return Purged()
        with self._transfer.turns_of(disk.litter()) as ours:
            size_bytes = disk.free(ours)
        known = {location.partition("?")[0] for one in self._log.open_uploads() if (location := one.location)}
        stale = [
            one for one in disk.uploads(idle_s=idle_s) if f"/v2/{one.repository}/blobs/uploads/{one.name}" not in known
        ]
        for upload in stale:
            disk.drop_upload(upload)
        return Purged(len(ours), size_bytes, len(stale))
