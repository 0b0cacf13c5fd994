"""How far the artifacts under way are, counted by the threads that move bytes."""

from __future__ import annotations

import threading

from edge.domain.report import Progress


class ProgressBoard:
    """Bytes that came, by artifact; usable from many threads."""

    def __init__(self) -> None:
        self._done: dict[str, int] = {}
        self._total: dict[str, int] = {}
        self._lock = threading.Lock()

    def begin(self, name: str, total_bytes: int) -> None:
        """Start counting."""
        with self._lock:
            self._done[name], self._total[name] = 0, total_bytes

    def came(self, name: str, size_bytes: int) -> None:
        """Count bytes that came."""
        with self._lock:
            self._done[name] = self._done.get(name, 0) + size_bytes

    def found(self, name: str, size_bytes: int) -> None:
        """Count bytes that need not come."""
        self.came(name, size_bytes)

    def end(self, name: str) -> None:
        """Stop counting."""
        with self._lock:
            self._done.pop(name, None)
            self._total.pop(name, None)

    def snapshot(self) -> Progress:
        """Say how far everything is."""
        with self._lock:
            return Progress(dict(self._done), dict(self._total))

    @property
    def pending_bytes(self) -> int:
        """Bytes still to come."""
        with self._lock:
            return sum(max(0, total - self._done.get(name, 0)) for name, total in self._total.items())
