"""How far what is on its way is, counted by the threads that judge, move bytes and publish."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from edge.domain.plan import Edition
from edge.domain.progress import Phase, Progress, Rate


@dataclass(slots=True)
class _Entry:
    """One edition's count."""

    edition: Edition
    phase: Phase | None
    total_bytes: int = 0
    done_bytes: int = 0
    before_bytes: int = 0
    """What an interrupted try had: it is there still, but found again blob by blob."""
    movers: int = 0
    """Threads that are bringing one of its blobs."""
    rate: Rate | None = None

    def seen(self, at_s: float) -> Progress:
        phase = Phase.QUEUED if self.phase is Phase.TRANSFERRING and not self.movers else self.phase
        done_bytes = min(max(self.done_bytes, self.before_bytes), self.total_bytes)
        rate = self.rate.at(at_s) if self.rate and phase is Phase.TRANSFERRING else 0
        return Progress(phase, done_bytes, self.total_bytes, rate)


class ProgressBoard:
    """Where each edition on its way stands; usable from many threads.

    What was interrupted keeps its count until it goes on, or is withdrawn.

    Args:
        monotonic: seconds on a clock that nobody sets.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._entries: dict[str, _Entry] = {}
        self._lock = threading.Lock()

    @contextmanager
    def judging(self, edition: Edition) -> Iterator[None]:
        """Show an edition as being judged; what has come of it by now stays counted."""
        with self._lock:
            entry = self._entries.get(edition.name)
            if entry is None or entry.edition != edition:
                entry = self._entries[edition.name] = _Entry(edition, Phase.JUDGING)
            entry.phase = Phase.JUDGING
        try:
            yield
        finally:
            self._rest(entry)

    @contextmanager
    def bringing(self, edition: Edition, total_bytes: int) -> Iterator[None]:
        """Count the bytes of an edition; the count goes when it is there, and stays when it failed."""
        entry = _Entry(edition, Phase.TRANSFERRING, total_bytes)
        with self._lock:
            before = self._entries.get(edition.name)
            if before is not None and before.edition == edition:
                entry.before_bytes = max(before.done_bytes, before.before_bytes)
            self._entries[edition.name] = entry
        try:
            yield
            self.forget(edition)
        finally:
            self._rest(entry)

    @contextmanager
    def moving(self, name: str) -> Iterator[None]:
        """Say that a thread is bringing one of an artifact's blobs: it is no longer queued."""
        at_s = self._monotonic()
        with self._lock:
            entry = self._entries.get(name)
            if entry is not None:
                entry.movers += 1
                entry.rate = entry.rate or Rate(at_s, at_s)
        try:
            yield
        finally:
            with self._lock:
                if entry is not None:
                    entry.movers -= 1

    def came(self, name: str, size_bytes: int) -> None:
        """Count bytes that came over the link."""
        at_s = self._monotonic()
        with self._lock:
            if (entry := self._entries.get(name)) is not None:
                entry.done_bytes += size_bytes
                entry.rate = (entry.rate or Rate(at_s, at_s)).came(size_bytes, at_s)

    def found(self, name: str, size_bytes: int) -> None:
        """Count bytes that need not come: they are there, or came before a restart."""
        with self._lock:
            if (entry := self._entries.get(name)) is not None:
                entry.done_bytes += size_bytes

    def lost(self, name: str, size_bytes: int) -> None:
        """Take back bytes that came and are of no use."""
        with self._lock:
            if (entry := self._entries.get(name)) is not None:
                entry.done_bytes = max(entry.done_bytes - size_bytes, 0)
                entry.before_bytes = max(entry.before_bytes - size_bytes, 0)

    def publishing(self, edition: Edition) -> None:
        """Say that all is there, and is being written."""
        with self._lock:
            if (entry := self._entries.get(edition.name)) is not None and entry.edition == edition:
                entry.phase = Phase.PUBLISHING

    def forget(self, edition: Edition) -> None:
        """Drop what is known of an edition that is there, or that nobody wants."""
        with self._lock:
            if (entry := self._entries.get(edition.name)) is not None and entry.edition == edition:
                del self._entries[edition.name]

    def _rest(self, entry: _Entry) -> None:
        with self._lock:
            entry.phase, entry.rate = None, None
            if not entry.total_bytes and self._entries.get(entry.edition.name) is entry:
                del self._entries[entry.edition.name]

    def snapshot(self) -> Mapping[Edition, Progress]:
        """Say how far everything is."""
        at_s = self._monotonic()
        with self._lock:
            return {entry.edition: entry.seen(at_s) for entry in self._entries.values()}

    @property
    def pending_bytes(self) -> int:
        """Bytes still to come, of what is known to be on its way."""
        return sum(one.total_bytes - one.done_bytes for one in self.snapshot().values())
