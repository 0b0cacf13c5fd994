"""Finding what somebody removed or damaged at the site, and taking damaged bytes out so that they come again.

Every few minutes each file of what is published is looked at where the disk is ours: its size, and of manifests,
which are small, the bytes. That finds what is gone or cut short. Flipped bits in layers take a scrub, which reads
everything (`edge.app.scrub`). In a registry that is not ours manifests are asked for each time, and blobs once a day.

What to do about damage is the same for all of these: the bytes go from every repository at once, for a pull that
fails falls through to another registry, and one that gets wrong bytes does not; the editions that need them are
published again, which asks the source for what is missing and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

import structlog

from edge.app.disk import SiteDisk
from edge.app.footprint import Footprint, sizes
from edge.app.journal import EditionStore
from edge.app.ports import SiteRegistry
from edge.app.replicate import Replicator
from edge.domain.admission import Dossier
from edge.domain.plan import Edition
from fleet.reference import Digest, hash_of

_log = structlog.get_logger(__name__)

_SCANS_A_DAY = 144


@dataclass(slots=True)
class _Scan:
    """What one scan has found so far."""

    standing: dict[str, Mapping[str, Digest]] = field(default_factory=dict)
    lacking: set[Edition] = field(default_factory=set)
    damaged: set[Digest] = field(default_factory=set)


class Drift:
    """Compares what is published with what is there; one scan at a time, its caller sees to that.

    Args:
        site: the registry.
        editions: the journal.
        replicator: removes damaged bytes, and knows what an edition is made of.
    """

    def __init__(self, site: Callable[[], SiteRegistry], editions: EditionStore, replicator: Replicator) -> None:
        self._site = site
        self._editions = editions
        self._replicator = replicator
        self._scans = 0
        self._odd: set[tuple[Digest, int]] = set()

    def mend(self, *, idle_s: float) -> None:
        """Remove what the registry chokes on: unreadable links, and manifests that are not what they are called.

        It answers 500 for those, to workloads and to us, and would neither delete nor replace them.
        """
        disk = self._site().disk
        if disk is None:
            return
        for repository in self._site().repositories():
            for path in disk.clear(repository, idle_s=idle_s):
                _log.error("registry.link_damaged", path=path)
            manifests = set(disk.references(repository).values())
            self.discard({one for one in manifests if _is_damaged(disk, repository, one)})

    def discard(self, damaged: Collection[Digest]) -> None:
        """Take damaged bytes out of the registry."""
        for digest in sorted(damaged):
            _log.error("content.damaged", digest=digest)
        if damaged:
            self._replicator.discard(damaged)

    def lacking(self) -> set[Edition]:
        """Find the published editions of which something is gone or damaged; what is damaged is gone after this."""
        self._scans += 1
        scan = _Scan()
        for edition in sorted(self._editions.site().published):
            self._look_at(edition, scan)
        self.discard(scan.damaged)
        return scan.lacking | set(self.holders(scan.damaged))

    def holders(self, digests: Collection[Digest]) -> Iterator[Edition]:
        """List the published editions that need any of these."""
        for edition in sorted(self._editions.site().published) if digests else ():
            dossier = self._editions.dossier(edition)
            if dossier is not None and not sizes(dossier, self._site().capabilities).keys().isdisjoint(digests):
                yield edition

    def manifests_of(self, dossier: Dossier) -> frozenset[Digest]:
        """List the manifests that publishing a dossier puts."""
        return self._replicator.footprint(dossier).manifests

    def _look_at(self, edition: Edition, scan: _Scan) -> None:
        dossier = self._editions.dossier(edition)
        if dossier is None:
            return
        footprint = self._replicator.footprint(dossier)
        wanted = {str(digest): digest for digest in footprint.manifests} | dict(footprint.tags)
        disk, repository = self._site().disk, edition.local_repository
        if disk is None:
            if not self._is_whole_by_api(edition, wanted, footprint):
                scan.lacking.add(edition)
            return
        standing = scan.standing.setdefault(repository, disk.references(repository))
        if any(standing.get(reference) != digest for reference, digest in wanted.items()):
            scan.lacking.add(edition)
        made_of = sizes(dossier, self._site().capabilities)
        copies = {digest: disk.copy_of(repository, digest) for digest in made_of}
        absent = {digest for digest, copy in copies.items() if copy is None}
        if absent:
            scan.lacking.add(edition)
            self._replicator.miss(repository, absent)
        for digest, size in made_of.items():
            copy = copies[digest]
            if copy and copy.size_bytes != size and not self._is_odd(disk, repository, digest, copy.size_bytes):
                scan.damaged.add(digest)

    def _is_odd(self, disk: SiteDisk, repository: str, digest: Digest, size: int) -> bool:
        """Say whether the bytes are right and the manifest's word on their number wrong; remembered once found out."""
        if (digest, size) not in self._odd and is_sound(disk, repository, digest):
            self._odd.add((digest, size))
        return (digest, size) in self._odd

    def _is_whole_by_api(self, edition: Edition, wanted: Mapping[str, Digest], footprint: Footprint) -> bool:
        if not self.stand(edition.local_repository, wanted):
            return False
        is_due = (int(edition.digest[-8:], 16) + self._scans) % _SCANS_A_DAY == 0
        return not is_due or all(self._site().has_blob(edition.local_repository, blob) for blob in footprint.blobs)

    def stand(self, repository: str, references: Mapping[str, Digest]) -> bool:
        """Say whether each is there; what somebody turned in a registry that we share is theirs to have turned."""
        registry = self._site()
        if registry.disk:
            standing = registry.disk.references(repository)
            return all(standing.get(reference) == digest for reference, digest in references.items())
        found = ((registry.head(repository, reference), digest) for reference, digest in references.items())
        if registry.capabilities.sole_writer:
            return all(there == digest for there, digest in found)
        return all(there is not None for there, _ in found)


def is_sound(disk: SiteDisk, repository: str, digest: Digest) -> bool:
    """Read a blob or manifest and say whether its bytes are what its digest says."""
    with disk.read(repository, digest) as chunks:
        return hash_of(chunks) == digest


def _is_damaged(disk: SiteDisk, repository: str, digest: Digest) -> bool:
    """Say whether a copy is wrong, read twice; one that was withdrawn meanwhile reads as empty, and is none."""
    is_wrong = not is_sound(disk, repository, digest) and not is_sound(disk, repository, digest)
    return is_wrong and disk.copy_of(repository, digest) is not None
