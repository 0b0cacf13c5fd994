"""A source, read no faster, no earlier and no further than the link allows.

Nothing limited, a blob is one request, as without this. Limited, it is one for each range that is granted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from functools import partial
from itertools import chain

from edge.app.govern import Governor, Grant, Priority
from edge.app.ports import Upstream
from edge.domain.content import Descriptor, RawManifest
from fleet.reference import Digest

_DESCRIPTOR_BYTES = 300
_SMALL_BYTES = 4096
"""Asked for with a manifest or a list of referrers; settled with what came."""


class GovernedUpstream:
    """Implements `edge.app.ports.Upstream` over another one, on behalf of one artifact."""

    def __init__(self, upstream: Upstream, governor: Governor, priority: Priority) -> None:
        self._upstream = upstream
        self._governor = governor
        self._priority = priority

    def manifest(self, repository: str, reference: str) -> RawManifest:
        """Fetch a manifest."""
        with self._small() as count:
            manifest = self._upstream.manifest(repository, reference)
            count(len(manifest.raw))
        return manifest

    def referrers(self, repository: str, digest: Digest) -> list[Descriptor]:
        """List referrers."""
        with self._small() as count:
            found = self._upstream.referrers(repository, digest)
            count(_DESCRIPTOR_BYTES * len(found))
        return found

    @contextmanager
    def _small(self) -> Iterator[Callable[[int], None]]:
        """Ask for leave, and settle whatever the answer is; what is beyond it was no less needed."""
        grant = self._governor.grant(self._priority, _SMALL_BYTES)
        try:
            yield lambda size_bytes: self._governor.came(grant.count(size_bytes))
        finally:
            grant.settle()

    @contextmanager
    def blob(
        self,
        repository: str,
        digest: Digest,
        *,
        offset: int = 0,
        size_bytes: int | None = None,
        dropped: Callable[[int], None] | None = None,
    ) -> Iterator[Iterator[bytes]]:
        """Stream a blob from `offset`."""
        if size_bytes is not None or dropped is not None:
            raise AssertionError("who is governed leaves it to the governor what is asked for")
        with closing(self._chunks(repository, digest, offset)) as chunks:
            first = next(chunks, None)  # who may not begin hears so before anything is opened for what comes
            yield chain(() if first is None else (first,), chunks)

    def _chunks(self, repository: str, digest: Digest, offset: int) -> Generator[bytes, None, None]:
        """Send one request after another until one brings less than it asked for."""
        goes_on = True
        while goes_on:
            grant = self._governor.grant(self._priority)
            asked, beyond = grant.size_bytes or None, partial(self._beyond, grant)
            began_s = time.monotonic()
            try:
                with self._upstream.blob(repository, digest, offset=offset, size_bytes=asked, dropped=beyond) as chunks:
                    answered_s = time.monotonic() - began_s
                    came = yield from self._counted(chunks, grant)
            finally:
                grant.settle()
            goes_on = came == asked or (asked is None and self._governor.limits(self._priority))
            if came == asked:
                self._governor.observe(answered_s=answered_s, size_bytes=came, took_s=time.monotonic() - began_s)
            offset += came

    def _counted(self, chunks: Iterator[bytes], grant: Grant) -> Generator[bytes, None, int]:
        """Pass on what comes: `→ bytes in all`. It ends early where a limit comes to hold on a request for everything.

        A source that knows no ranges sends beyond what was granted: then it is read as fast as the link allows.
        """
        came = 0
        for chunk in chunks:
            came += len(chunk)
            beyond = grant.count(len(chunk))
            yield chunk
            if beyond:
                self._beyond(grant, beyond)
            if not grant.size_bytes and self._governor.limits(self._priority):
                break
        return came

    def _beyond(self, grant: Grant, size_bytes: int) -> None:
        """Pay for what came without having been asked for."""
        grant.settle()
        self._governor.pay(self._priority, size_bytes)
