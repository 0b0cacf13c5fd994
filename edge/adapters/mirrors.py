"""A source and its mirrors as one: whoever does not answer rests for a while, and the next is asked meanwhile.

The source's own address is asked first whenever it is well, and its word counts where it gives one. A mirror is
asked without the source's credential, and what it lacks is looked for elsewhere; digests keep all of them honest.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from edge.app.ports import Upstream
from edge.domain.content import Descriptor, RawManifest
from fleet.errors import FleetError, Kind
from fleet.reference import Digest

T = TypeVar("T")

FIRST_REST = timedelta(seconds=5)
LONGEST_REST = timedelta(minutes=2)
"""The longest before an address is tried again, which costs one request a connect timeout; of one that serves other
bytes than it should, the first too."""
_NO_REFERRERS = "REFERRERS_ABSENT"
_AWAY = frozenset({Kind.UNAVAILABLE, Kind.EXHAUSTED})
_SILENT = 2
"""Failures in a row after which a tag or a referrer that the mirrors do not have is no reason to ask once more, which
would cost each image a connect timeout. One failure may be a hiccup, and a missing signature is a verdict."""
_GOES_ON = _AWAY | {Kind.CORRUPT}
"""Failures of the source's own address after which a mirror may do; otherwise its word counts."""


@dataclass(slots=True)
class _Address:
    upstream: Upstream
    place: int
    """0 for the source's own."""
    failures: int = 0
    """In a row."""
    rests_until: float = 0.0
    failure: FleetError | None = None
    """The last one, until it is well again."""

    @property
    def is_silent(self) -> bool:
        """Say whether it is away for longer than a hiccup."""
        return self.failures >= _SILENT

    def rest(self) -> timedelta:
        """Say how long to leave it alone after what happened last."""
        if self.failure and self.failure.kind is Kind.CORRUPT:
            return LONGEST_REST
        rest = min(FIRST_REST * (1 << min(self.failures - 1, 10)), LONGEST_REST)
        return max(rest, self.failure.retry_after or rest) if self.failure else rest


class Mirrored:
    """Implements `edge.app.ports.Upstream` over several; safe to use from many threads.

    Args:
        upstreams: the source's own, then its mirrors in the order in which they are preferred.
        monotonic: seconds that never go back.
    """

    def __init__(self, upstreams: Sequence[Upstream], *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._addresses = [_Address(upstream, place) for place, upstream in enumerate(upstreams)]
        self._monotonic = monotonic
        self._lock = threading.Lock()

    def manifest(self, repository: str, reference: str) -> RawManifest:
        """Fetch a manifest; a tag that mirrors do not have is absent while the source is away."""
        return self._ask(lambda one: one.upstream.manifest(repository, reference), by_tag=":" not in reference)

    def referrers(self, repository: str, digest: Digest) -> list[Descriptor]:
        """List referrers; a mirror that has none is believed only where nobody else has any."""

        def ask(one: _Address) -> list[Descriptor]:
            found = one.upstream.referrers(repository, digest)
            if not found and one.place:
                raise FleetError(Kind.UNKNOWN, _NO_REFERRERS, "the mirror has none")
            return found

        try:
            return self._ask(ask, by_tag=True)
        except FleetError as error:
            if error.reason == _NO_REFERRERS:
                return []
            raise

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
        """Stream a blob from whoever has it; after a cut the next call asks the next address."""
        with ExitStack() as stack:

            def opened(one: _Address) -> tuple[_Address, Iterator[bytes]]:
                return one, stack.enter_context(
                    one.upstream.blob(repository, digest, offset=offset, size_bytes=size_bytes, dropped=dropped)
                )

            one, chunks = self._ask(opened)
            is_whole = offset == 0 and size_bytes is None
            yield self._watched(one, chunks, digest if is_whole else None)

    def _watched(self, one: _Address, chunks: Iterator[bytes], digest: Digest | None) -> Iterator[bytes]:
        """Pass on what comes; an address that breaks off, or serves a whole blob that is another, rests."""
        try:
            yield from _verified(chunks, digest) if digest else chunks
        except FleetError as error:
            self._heard(one, error)
            raise

    def _ask(self, ask: Callable[[_Address], T], *, by_tag: bool = False) -> T:
        failures: dict[int, FleetError] = {}
        for one in self._order():
            if by_tag and one.is_silent and one.failure and _is_lacking(failures):
                failures[one.place] = one.failure
                continue
            try:
                answer = ask(one)
            except FleetError as error:
                failures[one.place] = error
                self._heard(one, error)
                if one.place == 0 and error.kind not in _GOES_ON:
                    raise
            else:
                self._heard(one)
                return answer
        raise _telling(failures, by_tag=by_tag)

    def _order(self) -> list[_Address]:
        """Put those that rest last, the soonest first; one whose rest is over is tried by one thread at a time."""
        with self._lock:
            now = self._monotonic()
            order = sorted(self._addresses, key=lambda one: (max(one.rests_until - now, 0.0), one.place))
            if order[0].failures:
                order[0].rests_until = now + order[0].rest().total_seconds()
            return order

    def _heard(self, one: _Address, error: FleetError | None = None) -> None:
        """Remember that an address is well, or that it failed; what it does not have, it may well not have."""
        with self._lock:
            if error is None or error.kind is Kind.UNKNOWN or (one.place == 0 and error.kind not in _GOES_ON):
                one.failures, one.rests_until, one.failure = 0, 0.0, None
                return
            one.failures, one.failure = one.failures + 1, error
            one.rests_until = self._monotonic() + one.rest().total_seconds()


def _verified(chunks: Iterator[bytes], digest: Digest) -> Iterator[bytes]:
    """Hash what passes, beside whoever takes it in: only here is it known which address it came from."""
    hashed = hashlib.sha256()
    for chunk in chunks:
        hashed.update(chunk)
        yield chunk
    if "sha256:" + hashed.hexdigest() != digest:
        text = "the source's blob is not what its digest says"
        raise FleetError(Kind.CORRUPT, "DIGEST_MISMATCH", text, subject=digest)


def _is_lacking(failures: dict[int, FleetError]) -> bool:
    return any(error.kind is Kind.UNKNOWN for error in failures.values())


def _telling(failures: dict[int, FleetError], *, by_tag: bool) -> FleetError:
    """Choose which failure to tell: the source's own, unless a mirror's answer about a tag has to do."""
    own = failures[0]
    unknown = [error for error in failures.values() if error.kind is Kind.UNKNOWN]
    return unknown[0] if unknown and by_tag and own.kind in _AWAY else own
