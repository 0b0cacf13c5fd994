"""What came of a blob and was not sent on yet."""

from __future__ import annotations

import time

SEGMENT_BYTES = 4 * 1024 * 1024
"""The most that is held in memory of one blob: a request costs 1 to 3 ms, whatever its size."""
SEGMENT_S = 0.1
"""The longest that bytes are held: what a kill -9 costs of a transfer, on any link."""


class Segment:
    """One buffer, filled and emptied again and again: fresh memory for each piece costs more than copying."""

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(SEGMENT_BYTES))
        self.size_bytes = 0
        self._since = time.monotonic()

    @property
    def held(self) -> memoryview:
        """Show what is here; it holds until the next is added."""
        return self._buffer[: self.size_bytes]

    def is_due(self, coming: int) -> bool:
        """Say whether to send on what is here before `coming` bytes are added."""
        is_old = self.size_bytes > 0 and time.monotonic() - self._since > SEGMENT_S
        return is_old or self.size_bytes + coming > SEGMENT_BYTES

    def add(self, chunk: bytes) -> None:
        """Take a chunk in; there is room where it was not due."""
        if not self.size_bytes:
            self._since = time.monotonic()
        self._buffer[self.size_bytes : self.size_bytes + len(chunk)] = chunk
        self.size_bytes += len(chunk)

    def clear(self) -> None:
        """Empty it."""
        self.size_bytes = 0
