"""Publishing an admission: manifests, by digest and raw, once everything below them is there.

The order is what makes an image appear whole or not at all: evidence, children, root, tags. An intent is on
record before each write, so that a crash in between leaves nothing that nobody knows of.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from edge.app.footprint import fallback_indexes
from edge.app.ports import IntentLog, SiteRegistry
from edge.app.preserve import preserved
from edge.domain.admission import Admission
from edge.domain.content import RawManifest
from fleet.errors import FleetError, Kind
from fleet.reference import Digest


class Publisher:
    """Writes manifests and tags; one at a time, its caller sees to that."""

    def __init__(self, site: SiteRegistry, intents: IntentLog) -> None:
        self._site = site
        self._intents = intents

    def publish(self, admission: Admission, *, missing: Collection[Digest] = ()) -> None:
        """Make an admitted image pullable, tags last; `missing` are those of its blobs that the site does not have.

        Raises:
            FleetError: CONFLICT `CLOSURE_INCOMPLETE` where a blob went since it was brought; MALFORMED
                `MANIFEST_REFUSED`; EXISTS `TAG_TAKEN` for somebody else's tag in a registry that we share.
        """
        repository = admission.local_repository
        if missing:
            text = "blobs are missing at the site"
            raise FleetError(Kind.CONFLICT, "CLOSURE_INCOMPLETE", text, subject=min(missing))
        self.put_small_blobs(admission)
        evidence = [manifest for one in admission.evidence for manifest in one.manifests]
        children = [child.manifest for child in admission.children if child.wanted]
        tags = {one.tag: one.manifests[-1] for one in admission.evidence if one.tag}
        tags |= fallback_indexes(admission, self._site.capabilities)
        tags |= dict.fromkeys(admission.tags, admission.root)
        named = {manifest.digest for manifest in tags.values()}
        self.put(repository, [one for one in (*evidence, *children, admission.root) if one.digest not in named])
        self.tag(repository, tags)

    def put(self, repository: str, manifests: Iterable[RawManifest]) -> None:
        """Put manifests by digest, in order, leaving out what is there."""
        absent = [one for one in manifests if not self._is_settled(repository, one.digest, one.digest)]
        self._intents.intend_put(repository, {one.digest: one.digest for one in absent})
        for manifest in absent:
            self._site.put_manifest(repository, manifest.digest, manifest)
        self._intents.put_done(repository, [one.digest for one in absent])

    def tag(self, repository: str, tags: dict[str, RawManifest]) -> None:
        """Put manifests under tags, in order; by their digests they are there from then on as well.

        Raises:
            FleetError: EXISTS `TAG_TAKEN`.
        """
        moved = {tag: to for tag, to in tags.items() if not self._is_settled(repository, tag, to.digest)}
        digests = {to.digest for to in moved.values()}
        ours = {one: one for one in sorted(digests) if not self._is_settled(repository, one, one)}
        intended = ours | {tag: to.digest for tag, to in moved.items()}
        self._intents.intend_put(repository, intended)
        with preserved(self._site, repository, moved, lambda _: True):
            for tag, manifest in moved.items():
                self._site.put_manifest(repository, tag, manifest)
        self._intents.put_done(repository, list(intended))

    def _is_settled(self, repository: str, reference: str, wanted: Digest) -> bool:
        """Say whether nothing is to be written.

        In a registry that we share, what was there before us stays its owner's: it is used, not claimed.
        """
        is_ours = self._intents.is_ours(repository, reference)
        if self._site.capabilities.sole_writer and not is_ours:
            return False  # nobody else put anything there
        found = self._site.head(repository, reference)
        if is_ours:
            return found == wanted
        if found is None:
            return False
        if found != wanted:
            text = "a tag at the site is somebody else's: remove it, or give the source a prefix"
            raise FleetError(Kind.EXISTS, "TAG_TAKEN", text, subject=f"{repository}:{reference}")
        return True

    def put_small_blobs(self, admission: Admission) -> None:
        """Put what is held in memory: evidence, and the bytes of unwanted children where they are asked for.

        To be called before it is anybody's turn to publish, too: then `publish` finds them there.
        """
        repository = admission.local_repository
        small = {blob.digest: content for one in admission.evidence for blob, content in one.blobs}
        if self._site.capabilities.child_blobs:
            unwanted = (child.manifest for child in admission.children if not child.wanted)
            small |= {manifest.digest: manifest.raw for manifest in unwanted}
        for digest, content in small.items():
            if not self._site.has_blob(repository, digest):
                self._site.put_blob(repository, digest, content)
