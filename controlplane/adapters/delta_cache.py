"""Serialized deltas kept for the next satellite that makes the same step."""

from __future__ import annotations

import threading
from collections import OrderedDict

LIMIT_BYTES = 32 * 1024 * 1024

Step = tuple[str, bytes | None, int]
"""Scope, digest that it starts from, generation that it leads to: all immutable as long as the log goes on.

A delta outlives here the generation that it starts from: it is right all the same."""


class DeltaCache:
    """The most recently used deltas, up to a number of bytes. Threads share it."""

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._held: OrderedDict[Step, bytes] = OrderedDict()
        self._size_bytes = 0
        self._lock = threading.Lock()

    def get(self, step: Step) -> bytes | None:
        """Find a delta."""
        with self._lock:
            if step not in self._held:
                return None
            self._held.move_to_end(step)
            return self._held[step]

    def clear(self) -> None:
        """Forget all: the log is another one, and counts its generations anew."""
        with self._lock:
            self._held.clear()
            self._size_bytes = 0

    def put(self, step: Step, delta: bytes) -> None:
        """Keep a delta and let go of the longest unused ones; one that is too large is not kept."""
        with self._lock:
            if step in self._held or len(delta) > self._limit_bytes:
                return
            self._held[step] = delta
            self._size_bytes += len(delta)
            while self._size_bytes > self._limit_bytes:
                _, dropped = self._held.popitem(last=False)
                self._size_bytes -= len(dropped)
