"""Reading everything that is published and hashing it: the only way to find bits that turned on the disk.

On demand, for it costs a read of all of it; beside everything else, at a bounded rate, so that workloads go on
pulling. What is damaged goes the way of all damage (`edge.app.drift`): taken out, and fetched again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime

from edge.app.drift import Drift
from edge.app.footprint import sizes
from edge.app.journal import EditionStore
from edge.app.ports import SiteRegistry
from edge.domain.plan import Edition
from fleet.errors import FleetError, Kind
from fleet.reference import Digest, digest_of, hash_of

DEFAULT_BYTES_PER_S = 64 << 20
_LONGEST_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class ScrubRequest:
    """What somebody at the site asked for."""

    id: str
    bytes_per_s: int = DEFAULT_BYTES_PER_S
    """How fast to read; 0 for no bound."""


@dataclass(frozen=True, slots=True)
class ScrubState:
    """How far a scrub is, or what came of it."""

    id: str
    began: datetime
    ended: datetime | None = None
    """When the reading ended; repairs take as long as the source does."""
    total_bytes: int = 0
    done_bytes: int = 0
    contents: int = 0
    """Blobs and manifests, each once however many repositories share it."""
    damaged: tuple[Digest, ...] = ()
    lacking: tuple[Edition, ...] = ()
    """Editions of which something was damaged or gone."""
    reason: str = ""
    """Why it could not be done, or what it cannot mend; empty where all is well or will be."""
    text: str = ""


class ScrubBoard:
    """The state of the newest scrub, written by its thread and read by all."""

    def __init__(self) -> None:
        self._state: ScrubState | None = None
        self._lock = threading.Lock()

    @property
    def state(self) -> ScrubState | None:
        """How far it is; None before the first since the start."""
        with self._lock:
            return self._state

    def begin(self, request: ScrubRequest, *, at: datetime) -> None:
        """Start a new one."""
        with self._lock:
            self._state = ScrubState(request.id, at)

    def change(self, **facts: object) -> None:
        """Note facts of the one that is under way."""
        with self._lock:
            if self._state is not None:
                self._state = replace(self._state, **facts)  # type: ignore[arg-type] # by the names of its fields


@dataclass(frozen=True, slots=True)
class _Content:
    """One blob or manifest to read, in one of the repositories that have it."""

    repository: str
    digest: Digest
    size_bytes: int
    is_manifest: bool


class Scrubber:
    """Reads what is published, in its caller's thread.

    Args:
        site: the registry.
        editions: the journal.
        drift: finds what is gone, and takes out what is damaged.
        board: told how far it is.
        stop: set to end it soon.
        clock: seconds, for the rate.
    """

    def __init__(
        self,
        site: Callable[[], SiteRegistry],
        editions: EditionStore,
        drift: Drift,
        *,
        board: ScrubBoard,
        stop: threading.Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._site = site
        self._editions = editions
        self._drift = drift
        self._board = board
        self._stop = stop
        self._clock = clock
        self._done_bytes = 0
        self._began = 0.0
        self._bytes_per_s = 0

    def run(self, request: ScrubRequest) -> set[Edition]:
        """Read all of it once: `→ the editions that lack something now`.

        Raises:
            FleetError: UNAVAILABLE `SCRUB_STOPPED`; as the registry says.
        """
        lacking = self._drift.lacking()
        contents = list(self._contents())
        self._done_bytes, self._began, self._bytes_per_s = 0, self._clock(), request.bytes_per_s
        self._board.change(total_bytes=sum(one.size_bytes for one in contents), contents=len(contents))
        gone = set[Digest]()
        damaged = {one.digest for one in contents if not self._is_sound(one, gone)}
        self._board.change(damaged=tuple(sorted(damaged)), done_bytes=self._done_bytes)
        self._drift.discard(damaged)
        lacking |= set(self._drift.holders(damaged | gone))
        self._board.change(lacking=tuple(sorted(lacking)), **self._beyond_us(damaged))
        return lacking

    def _beyond_us(self, damaged: set[Digest]) -> dict[str, object]:
        if not damaged or self._site().disk:
            return {}
        text = "the registry is not ours: have its owner remove the damaged blobs, and they are sent again"
        return {"reason": "DAMAGE_STAYS", "text": text}

    def _contents(self) -> Iterator[_Content]:
        """List what is to be read, each file once."""
        disk, seen = self._site().disk, set[object]()
        for edition in sorted(self._editions.site().published):
            dossier = self._editions.dossier(edition)
            if dossier is None:
                continue
            repository, site = edition.local_repository, self._site()
            manifests = self._drift.manifests_of(dossier)
            for digest, size in sizes(dossier, site.capabilities).items():
                copy = disk.copy_of(repository, digest) if disk else None
                key = copy.identity if copy else (repository, digest)
                if key not in seen and (copy or not disk):
                    seen.add(key)
                    yield _Content(repository, digest, size, digest in manifests)

    def _is_sound(self, content: _Content, gone: set[Digest]) -> bool:
        """Say whether it is what its digest says; twice wrong is wrong, and what is not there is gone."""
        if self._hash(content) == content.digest:
            return True
        if self._is_gone(content):
            gone.add(content.digest)
            return True
        return self._hash(content) == content.digest

    def _is_gone(self, content: _Content) -> bool:
        disk = self._site().disk
        if disk:
            return disk.copy_of(content.repository, content.digest) is None
        if content.is_manifest:
            return self._site().head(content.repository, content.digest) is None
        return not self._site().has_blob(content.repository, content.digest)

    def _hash(self, content: _Content) -> Digest:
        if content.is_manifest and not self._site().disk:
            manifest = self._site().manifest(content.repository, content.digest)
            return digest_of(manifest.raw if manifest else b"")
        with self._opened(content) as chunks:
            return hash_of(self._paced(chunks))

    def _opened(self, content: _Content) -> AbstractContextManager[Iterator[bytes]]:
        site = self._site()
        return (site.disk.read if site.disk else site.read)(content.repository, content.digest)

    def _paced(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            yield chunk
            self._done_bytes += len(chunk)
            self._board.change(done_bytes=self._done_bytes)
            if self._stop.wait(self._ahead_s()):
                raise FleetError(Kind.UNAVAILABLE, "SCRUB_STOPPED", "the satellite is stopping")

    def _ahead_s(self) -> float:
        """Say how long to wait for the clock to catch up with what was read."""
        if not self._bytes_per_s:
            return 0.0
        ahead = self._done_bytes / self._bytes_per_s - (self._clock() - self._began)
        return min(max(ahead, 0.0), _LONGEST_PAUSE_S)
