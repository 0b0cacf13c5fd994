"""Tags at the site: what they stand for by the journal's word, and which of them the registry has lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from edge.app.journal import EditionStore
from edge.domain.plan import Edition, LocalTag, Site
from fleet.reference import Digest

Stand = Callable[[str, Mapping[str, Digest]], bool]
"""Says whether references are in a repository of the registry, each for its digest."""


def lost_tags(editions: EditionStore, stand: Stand) -> Iterator[tuple[LocalTag, Edition]]:
    """Find the tags that went, as with what was foreign, and what is published for them: the last-known-good's too.

    Withdrawals and moves of tags go on beside this: what it found is looked up once more before it is told.
    """
    for key, digest in sorted(editions.site().tags.items()):
        if stand(key[0], {key[1]: digest}):
            continue
        edition = stands_for(editions.site(), key, digest)
        if edition is not None:
            yield key, edition


def stands_for(site: Site, key: LocalTag, digest: Digest) -> Edition | None:
    """Find the published edition that a tag stands for; None where it is another one's, or nobody's, by now."""
    return published_at(site, key[0], digest) if site.tags.get(key) == digest else None


def published_at(site: Site, repository: str, digest: Digest) -> Edition | None:
    """Find a published edition by its place."""
    return next((one for one in site.published if (one.local_repository, one.digest) == (repository, digest)), None)


def own_tags(site: Site, edition: Edition) -> tuple[str, ...]:
    """List the tags that stand for this edition and for no other with the same digest."""
    place = (edition.local_repository, edition.digest)
    if any((one.local_repository, one.digest) == place for one in site.begun - {edition}):
        return ()
    return tuple(sorted(tag for (repository, tag), to in site.tags.items() if (repository, to) == place))
