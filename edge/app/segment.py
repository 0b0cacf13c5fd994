"""What came of a blob and was not sent on yet."""

from __future__ import annotations

import math
import mmap
import time

from edge.app.ports import Staging

SEGMENT_BYTES = 2 * 1024 * 1024
"""The most that is held in memory of one blob, and as much again while it is sent: a request costs 1 to 3 ms."""
SEGMENT_S = 1.0
"""The longest that bytes are held."""
SLOW_BYTES_PER_S = 10_000_000
"""What a slower stream brings is staged as it comes; a faster one fills a segment, or brings it again, at once."""


class Segment:
    """One buffer, used for one blob after the other: fresh memory for each piece costs more than copying."""

    def __init__(self, staging: Staging) -> None:
        self._staging = staging
        # Pages of their own: those that are never used take no memory, and all go back with the thread's end.
        self._buffer, self._other = (memoryview(mmap.mmap(-1, SEGMENT_BYTES)) for _ in range(2))
        self._key = ""
        self._offset = 0
        self._staged = 0
        self.size_bytes = 0
        self._since = self._added_at = time.monotonic()
        self._speed = float(SLOW_BYTES_PER_S)
        """Bytes of the last second or so, those of it that are longer ago counted less; across blobs."""

    @property
    def held(self) -> memoryview:
        """Show what is here; it holds until the next is added."""
        return self._buffer[: self.size_bytes]

    def begin(self, key: str, offset: int) -> None:
        """Use it for the blob `key` from `offset` on, and find again what was held there when we were killed."""
        self._key, self._offset, self.size_bytes = key, offset, 0
        at, content = self._staging.load(key)
        self._staged = len(content)
        if at == offset and len(content) <= SEGMENT_BYTES:
            self._buffer[: len(content)] = content
            self.size_bytes = len(content)
        else:
            self.clear(offset)
        self._since = time.monotonic()

    def is_due(self, coming: int) -> bool:
        """Say whether to send on what is here before `coming` bytes are added."""
        is_old = self.size_bytes > 0 and time.monotonic() - self._since > SEGMENT_S
        return is_old or self.size_bytes + coming > SEGMENT_BYTES

    def add(self, chunk: bytes) -> None:
        """Take a chunk in; there is room where it was not due."""
        now = time.monotonic()
        if not self.size_bytes:
            self._since = now
        self._buffer[self.size_bytes : self.size_bytes + len(chunk)] = chunk
        self.size_bytes += len(chunk)
        self._speed = self._speed * math.exp(self._added_at - now) + len(chunk)
        self._added_at = now
        if self._speed < SLOW_BYTES_PER_S:
            self._stage()

    def _stage(self) -> None:
        content = self._buffer[self._staged : self.size_bytes]
        is_there = self._staging.append(self._key, self._offset, content, after=self._staged)
        self._staged = self.size_bytes if is_there else 0

    @property
    def is_staged(self) -> bool:
        """Say whether some of it lies in the staging file: what comes is slow."""
        return self._staged > 0

    def turn(self) -> memoryview:
        """Go on with the other buffer: `→ what was held`, which stays as it is until the next turn."""
        held = self.held
        self._buffer, self._other = self._other, self._buffer
        self._offset, self.size_bytes = self._offset + len(held), 0
        return held

    def turn_back(self, held: memoryview) -> None:
        """Hold again what was held before the last turn, instead of what came since."""
        self.clear(self._offset - len(held))
        self._buffer, self._other = self._other, self._buffer
        self.size_bytes = len(held)

    def clear(self, offset: int) -> None:
        """Empty it: the blob goes on at `offset`."""
        if self._staged:
            self._staging.clear(self._key)
        self._offset, self._staged, self.size_bytes = offset, 0, 0
