"""A source, read no faster, no earlier and no further than the link allows.

Nothing limited, a blob is one request, as without this. Limited, it is one for each range that is granted.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from itertools import chain

from edge.app.govern import Governor, Grant
from edge.app.ports import Upstream
from edge.domain.content import Descriptor, RawManifest
from fleet.reference import Digest

_DESCRIPTOR_BYTES = 300
_SMALL_BYTES = 4096
"""Asked for with a manifest or a list of referrers; settled with what came."""


class GovernedUpstream:
    """Implements `edge.app.ports.Upstream` over another one, on behalf of one artifact."""

    def __init__(self, upstream: Upstream, governor: Governor, priority: int) -> None:
        self._upstream = upstream
        self._governor = governor
        self._priority = priority

    def manifest(self, repository: str, reference: str) -> RawManifest:
        """Fetch a manifest."""
        with self._small() as grant:
            manifest = self._upstream.manifest(repository, reference)
            grant.count(len(manifest.raw))
        return manifest

    def referrers(self, repository: str, digest: Digest) -> list[Descriptor]:
        """List referrers."""
        with self._small() as grant:
            found = self._upstream.referrers(repository, digest)
            grant.count(_DESCRIPTOR_BYTES * len(found))
        return found

    @contextmanager
    def _small(self) -> Iterator[Grant]:
        """Ask for leave; whatever the answer is, its headers count."""
        grant = self._governor.grant(self._priority, _SMALL_BYTES)
        try:
            yield grant
        finally:
            self._governor.answered()
            grant.settle()

    @contextmanager
    def blob(
        self, repository: str, digest: Digest, *, offset: int = 0, size_bytes: int | None = None
    ) -> Iterator[Iterator[bytes]]:
        """Stream a blob from `offset`."""
        with closing(self._chunks(repository, digest, offset, size_bytes)) as chunks:
            first = next(chunks, None)  # who may not begin hears so before anything is opened for what comes
            yield chain(() if first is None else (first,), chunks)

    def _chunks(self, repository: str, digest: Digest, offset: int, left: int | None) -> Generator[bytes, None, None]:
        """Send one request after another until one brings less than it asked for."""
        goes_on = True
        while goes_on and left != 0:
            grant = self._governor.grant(self._priority)
            asked = min(filter(None, (grant.size_bytes, left)), default=None)
            began_s = time.monotonic()
            try:
                with self._upstream.blob(repository, digest, offset=offset, size_bytes=asked) as chunks:
                    answered_s = time.monotonic() - began_s
                    self._governor.answered()
                    yield from self._counted(chunks, grant)
            finally:
                grant.settle()
            came = grant.came_bytes
            goes_on = came == asked or (asked is None and self._governor.limits(self._priority))
            if came == asked:
                self._governor.observe(answered_s=answered_s, size_bytes=came, took_s=time.monotonic() - began_s)
            offset, left = offset + came, None if left is None else left - came

    def _counted(self, chunks: Iterator[bytes], grant: Grant) -> Iterator[bytes]:
        """Pass on what comes. A request for everything ends early where a limit comes to hold meanwhile."""
        for chunk in chunks:
            grant.count(len(chunk))
            yield chunk
            if not grant.size_bytes and self._governor.limits(self._priority):
                return
            if grant.size_bytes:
                self._ask_beyond(grant)

    def _ask_beyond(self, grant: Grant) -> None:
        """Ask for leave for what a source sends beyond the range that it was asked for: it knows no ranges."""
        beyond = grant.came_bytes - grant.size_bytes
        if beyond > 0:
            more = self._governor.grant(self._priority, beyond)
            self._governor.give_back(0, reserved=more.size_bytes)
            grant.size_bytes += more.size_bytes
