"""What came of a blob and was not sent on yet."""

from __future__ import annotations

import time

SEGMENT_BYTES = 8 * 1024 * 1024
"""The most that is held in memory of one blob: a request costs 1 to 3 ms, whatever its size."""
SEGMENT_S = 0.1
"""The longest that bytes are held: what a kill -9 costs of a transfer, on any link."""


class Segment:
    """What came and was not sent on yet, in one buffer: fresh memory for each piece costs more than copying."""

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(SEGMENT_BYTES))
        self._filled = 0
        self._since = time.monotonic()

    def is_due(self, coming: int) -> bool:
        """Say whether to send on what is here before `coming` bytes are added."""
        is_old = self._filled > 0 and time.monotonic() - self._since > SEGMENT_S
        return is_old or self._filled + coming > SEGMENT_BYTES

    def add(self, chunk: bytes) -> None:
        """Take a chunk in; there is room where it was not due."""
        self._buffer[self._filled : self._filled + len(chunk)] = chunk
        self._filled += len(chunk)

    def taken(self) -> memoryview:
        """Take what is here; it holds until the next is added."""
        taken = self._buffer[: self._filled]
        self._filled = 0
        self._since = time.monotonic()
        return taken
