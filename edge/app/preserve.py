"""Keeping a manifest that its last tag is taken from.

Zot forgets a manifest, and the children of an index, with its last tag (measured with 2.1.20), while an image may
be held by its digest alone: because it was asked for so, or because another artifact won its tag. What goes along
with a tag is put again at once, from the registry's own bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from edge.app.ports import SiteRegistry
from edge.domain.content import MAX_INDEX_DEPTH, Index, RawManifest, read_manifest
from fleet.errors import FleetError
from fleet.reference import Digest

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
