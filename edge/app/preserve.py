"""Keeping a manifest that its last tag is taken from, or that names another one that goes.

Zot forgets a manifest, and the children of an index, with its last tag (measured with 2.1.20), while an image may
be held by its digest alone: because it was asked for so, or because another artifact won its tag. What goes along
with a tag is put again at once, from the registry's own bytes. Neither does Zot remove a manifest that an index
names (measured likewise): the index goes for a moment, with its tags, and is put again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from edge.app.ports import SiteRegistry
from edge.domain.content import MAX_INDEX_DEPTH, OCI_INDEX, Index, RawManifest, raw_manifest, read_manifest
from fleet.errors import FleetError, Kind
from fleet.reference import Digest

LEAVING = "harbor-satellite.leaving"
"""The tag that takes manifests along; it stands for one at a time, and for a moment."""
NOTHING = raw_manifest(json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).encode(), OCI_INDEX)
"""What it moves to in the end: the smallest manifest, which needs no blob."""
Keeps = Callable[[Digest], bool]
"""Says whether a manifest is to outlive the tag."""


@contextmanager
def preserved(site: SiteRegistry, repository: str, tags: Collection[str], keeps: Keeps) -> Iterator[None]:
    """Put again, at the end, what tags that move or go take along from a repository."""
    if site.capabilities.keeps_untagged:
        yield
        return
    heads = {digest for tag in tags if (digest := site.head(repository, tag))}
    families = [list(_family(site, repository, digest, MAX_INDEX_DEPTH)) for digest in sorted(heads)]
    yield
    for manifest in (manifest for family in families for manifest in family):
        if keeps(manifest.digest) and site.head(repository, manifest.digest) is None:
            site.put_manifest(repository, manifest.digest, manifest)


def forget(site: SiteRegistry, repository: str, going: Collection[Digest]) -> None:
    """Have a registry forget manifests that it does not remove, because an index that stays names them.

    The index is there all the while: pulls of it, and of what stays of it, do not notice.

    Raises:
        FleetError: PRECONDITION `MANIFEST_IN_USE` where it does not forget.
    """
    leaving = [found for digest in going if (found := site.manifest(repository, digest))]
    for manifest in (*leaving, NOTHING):
        site.put_manifest(repository, LEAVING, manifest)
    site.delete_tag(repository, LEAVING)
    site.delete_manifest(repository, NOTHING.digest)
    for manifest in leaving:
        if site.head(repository, manifest.digest):
            text = "the registry neither removes nor forgets a manifest that an index names"
            raise FleetError(Kind.PRECONDITION, "MANIFEST_IN_USE", text, subject=f"{repository}@{manifest.digest}")


@contextmanager
def set_aside(site: SiteRegistry, repository: str, kept: Collection[RawManifest]) -> Iterator[None]:
    """Let blobs be deleted that are named by manifests of which only the bytes are kept, for an index's sake.

    Zot keeps what those name, too: so their bytes go for a moment, and are put again.
    """
    if site.disk:
        for manifest in kept:
            site.disk.set_aside(repository, manifest.digest)
    yield
    if site.disk:
        for manifest in kept:
            site.put_blob(repository, manifest.digest, manifest.raw)


def _family(site: SiteRegistry, repository: str, digest: Digest, depth: int) -> Iterator[RawManifest]:
    """Read a manifest and those below it that are there, each before what names it."""
    manifest = site.manifest(repository, digest)
    if manifest is None:
        return
    try:
        read = read_manifest(manifest.raw, manifest.media_type)
    except FleetError:
        return
    if isinstance(read, Index) and depth:
        for child in read.children:
            yield from _family(site, repository, child.digest, depth - 1)
    yield manifest
