"""Keeping a manifest that its last tag is taken from, or that names another one that goes.

Zot forgets a manifest, and the children of an index, with its last tag (measured with 2.1.20), while an image may
be held by its digest alone: because it was asked for so, or because another artifact won its tag. What goes along
with a tag is put again at once, from the registry's own bytes. Neither does Zot remove a manifest that an index
names (measured likewise): the index goes for a moment, with its tags, and is put again.
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


@contextmanager
def released(site: SiteRegistry, repository: str, going: Collection[Digest]) -> Iterator[None]:
    """Take indexes that stay out of the way of manifests that they name and that go; put them again at the end."""
    above = _above(site, repository, going)
    families = {index.digest: list(_family(site, repository, index.digest, MAX_INDEX_DEPTH)) for index in above}
    tags = {tag: digest for tag in site.tags(repository) if (digest := site.head(repository, tag)) in families}
    for index in reversed(above):
        site.delete_manifest(repository, index.digest)
    yield
    for manifest in (manifest for family in families.values() for manifest in family):
        if manifest.digest in going:
            site.put_blob(repository, manifest.digest, manifest.raw)  # Zot wants the bytes of every child
        elif site.head(repository, manifest.digest) is None:
            site.put_manifest(repository, manifest.digest, manifest)
    for tag, digest in tags.items():
        site.put_manifest(repository, tag, families[digest][-1])


def _above(site: SiteRegistry, repository: str, going: Collection[Digest]) -> list[RawManifest]:
    """List the indexes that stay and name what goes, and those that name them, each after what it names."""
    known = [site.manifest(repository, digest) for digest in sorted(site.known_manifests(repository) - set(going))]
    found: list[RawManifest] = []
    named = set(going)
    while rising := [one for one in known if one and one.digest not in named and _names(one, named)]:
        found += rising
        named |= {one.digest for one in rising}
    return found


def _names(index: RawManifest, digests: Collection[Digest]) -> bool:
    try:
        read = read_manifest(index.raw, index.media_type)
    except FleetError:
        return False
    return isinstance(read, Index) and any(child.digest in digests for child in read.children)


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
