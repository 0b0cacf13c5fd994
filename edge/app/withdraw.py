"""Taking images out of the site's registry whole, and finding what nobody admitted.

Tags go first, then roots, then what hangs below, then blobs: what is half withdrawn can no longer be named. Only
what has an intent is ever deleted, except in a registry that is ours alone, where everything else is foreign.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from edge.app.footprint import Footprint
from edge.app.ports import IntentLog, SiteRegistry, TransferLog, Upload
from edge.app.preserve import LEAVING, NOTHING, Keeps, forget, preserved, set_aside
from edge.domain.admission import Dossier
from edge.domain.content import Image, read_manifest
from fleet.errors import FleetError, Kind
from fleet.reference import Digest


@dataclass(frozen=True, slots=True)
class Foreign:
    """Something in a registry of our own that was never admitted, and is gone now."""

    repository: str
    reference: str


class Withdrawer:
    """Deletes; one at a time, its caller sees to that."""

    def __init__(self, site: SiteRegistry, intents: IntentLog, log: TransferLog) -> None:
        self._site = site
        self._intents = intents
        self._log = log

    def withdraw(self, dossier: Dossier, going: Footprint, held: Footprint) -> None:
        """Remove an image's `going` footprint, less what others in its repository hold.

        Raises:
            FleetError: as the registry says; a repetition goes on where this one stopped.
        """
        repository = dossier.local_repository
        tags = {tag: to for tag, to in going.tags.items() if tag not in held.tags}
        self.untag(repository, tags, keeps=lambda digest: digest in held.manifests)
        order = [dossier.root.digest, *(child.manifest.digest for child in reversed(dossier.children))]
        manifests = dict.fromkeys(one for one in order if one in going.manifests)
        self._delete(repository, [*manifests, *sorted(going.manifests - manifests.keys())], held.manifests)
        self._cancel(repository, going.blobs - held.blobs)
        bare = [one.manifest for one in dossier.children if one.manifest.digest in held.blobs]
        with set_aside(self._site, repository, bare):
            self._unlink(repository, going.blobs - held.blobs)

    def _cancel(self, repository: str, blobs: Collection[Digest]) -> None:
        """Drop what came of blobs that are not to come any more."""
        for one in self._log.open_uploads():
            if one.repository == repository and one.digest in blobs:
                self._site.cancel(self._site.resume(one.location) or Upload(one.location, 0))
                self._log.upload_closed(repository, one.digest)

    def untag(self, repository: str, tags: Mapping[str, Digest], *, keeps: Keeps) -> None:
        """Remove tags that still stand for what they are thought to; one that was moved since is another's.

        Raises:
            FleetError: PRECONDITION `TAG_STAYS` where the registry cannot remove a tag by itself.
        """
        ours = {
            tag for tag, digest in tags.items()
            if self._is_ours(repository, tag) and self._site.head(repository, tag) == digest
        }  # fmt: skip
        self._intents.intend_delete(repository, ours)
        with preserved(self._site, repository, ours, keeps):
            for tag in ours:
                if not self._site.delete_tag(repository, tag) and self._site.head(repository, tag):
                    text = "the site's registry cannot remove a tag by itself"
                    raise FleetError(Kind.PRECONDITION, "TAG_STAYS", text, subject=f"{repository}:{tag}")
        self._intents.delete_done(repository, ours)

    def sweep(self, expected: Mapping[str, Footprint]) -> list[Foreign]:
        """Remove what is in no footprint: `repository → footprint → what was found and removed`.

        In a registry of our own that is everything else; in one that we share, what is ours by an intent.
        """
        if self._site.capabilities.sole_writer:
            found = {name: self._site.references(name) for name in self._site.repositories()}
        else:
            found = {name: self._standing(name, ours) for name, ours in self._intents.ours().items()}
        return [
            foreign
            for name, standing in found.items()
            for foreign in self._sweep(name, standing, expected.get(name, Footprint()))
        ]

    def _standing(self, repository: str, references: Iterable[str]) -> dict[str, Digest]:
        heads = {one: Digest(one) if ":" in one else self._site.head(repository, one) for one in references}
        return {one: digest for one, digest in heads.items() if digest}

    def _sweep(self, repository: str, standing: Mapping[str, Digest], expected: Footprint) -> list[Foreign]:
        stray_tags = {one: to for one, to in standing.items() if ":" not in one and expected.tags.get(one) != to}
        stray = sorted(set(standing.values()) - expected.manifests)
        blobs = {blob for digest in stray for blob in self._named_by(repository, digest)}
        self.untag(repository, stray_tags, keeps=lambda digest: digest in expected.manifests)
        self._delete(repository, stray, ())
        self._unlink(repository, blobs - expected.blobs)
        return [Foreign(repository, reference) for reference in (*stray_tags, *stray)]

    def _named_by(self, repository: str, digest: Digest) -> set[Digest]:
        """List the blobs of a manifest that is to go; none where it cannot be read."""
        manifest = self._site.manifest(repository, digest)
        try:
            read = read_manifest(manifest.raw, manifest.media_type) if manifest else None
        except FleetError:
            return set()
        return {blob.digest for blob in (read.config, *read.layers)} if isinstance(read, Image) else set()

    def _delete(self, repository: str, digests: Iterable[Digest], held: Collection[Digest]) -> None:
        going = [one for one in digests if one not in held and self._is_ours(repository, one)]
        self._intents.intend_delete(repository, going)
        stuck = self._try_delete(repository, going)
        while stuck and len(rest := self._try_delete(repository, stuck)) < len(stuck):
            stuck = rest  # what named them went after them
        if stuck:
            self._intents.intend_put(repository, {LEAVING: NOTHING.digest, NOTHING.digest: NOTHING.digest})
            forget(self._site, repository, stuck)
            self._intents.delete_done(repository, [LEAVING, NOTHING.digest])
        self._intents.delete_done(repository, going)

    def _try_delete(self, repository: str, digests: Iterable[Digest]) -> list[Digest]:
        """Delete what can be: `→ what the registry keeps, because an index names it`."""
        stuck: list[Digest] = []
        for digest in digests:
            try:
                self._site.delete_manifest(repository, digest)
            except FleetError as error:
                if error.reason != "MANIFEST_IN_USE":
                    raise
                stuck.append(digest)
        return stuck

    def _unlink(self, repository: str, blobs: Iterable[Digest]) -> None:
        """Make blobs unreadable in this repository; where the registry cannot, its garbage collection will."""
        if not self._site.capabilities.sole_writer:
            return
        for digest in sorted(blobs):
            self._log.blob_gone(repository, digest)
            self._site.delete_blob(repository, digest)

    def _is_ours(self, repository: str, reference: str) -> bool:
        return self._site.capabilities.sole_writer or self._intents.is_ours(repository, reference)
