"""An event loop that waits for nothing: hours of a story pass in milliseconds, in the right order.

with asyncio.Runner(loop_factory=VirtualLoop) as runner:
    runner.run(story())
"""

from __future__ import annotations

import asyncio
import selectors


class SkippingSelector(selectors.SelectSelector):
    """Waits for nothing: the time that a loop would wait for is over at once."""

    skipped = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.skipped += timeout or 0.0
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop whose clock is what would have been waited for."""

    def __init__(self) -> None:
        self._skipping = SkippingSelector()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.skipped
