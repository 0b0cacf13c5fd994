"""Long lists of values, in as many statements as they take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

BATCH = 500
"""Values in one IN list."""


def batches(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """Cut values into what one IN list may hold."""
    return (values[start : start + BATCH] for start in range(0, len(values), BATCH))
