"""A rate kept: a bucket that fills with time and may be overdrawn once by what one request takes. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Bucket:
    """Bytes that may be asked for at a monotonic second; below zero, what was asked for ahead of its time."""

    level: float = 0.0
    at_s: float = 0.0

    def filled(self, rate: float, at_s: float, *, most: float) -> Bucket:
        """Let time pass: what nobody asked for is kept up to `most` bytes."""
        return Bucket(min(most, self.level + rate * max(0.0, at_s - self.at_s)), at_s)

    def wait_s(self, rate: float) -> float:
        """Say how long until the next request may be sent."""
        return max(0.0, -self.level / rate)

    def taken(self, size_bytes: float) -> Bucket:
        """Take bytes out; a negative number gives them back."""
        return replace(self, level=self.level - size_bytes)
