"""Whose blob is brought next: urgent before the rest, groups alike, and of a group the image that is done soonest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Urgency:
    """What one image's claim rests on."""

    priority: int = 0
    """Higher goes first, whatever else."""
    group: str = ""
    """The scope that wants it: those of the same priority get the same share of the link."""


@dataclass(frozen=True, slots=True)
class Load:
    """What is still to be brought of one image."""

    urgency: Urgency
    source: str
    left_bytes: int
    arrived: int
    """Counts the images in the order in which they came."""


def in_order(
    loads: Iterable[Load], served: Mapping[str, int], busy: Mapping[str, int], *, per_source: int
) -> list[Load]:
    """Sort images by whose turn it is; one whose source is at its bound has none.

    Args:
        loads: what waits.
        served: bytes that each group has had.
        busy: blobs that are coming, by source.
        per_source: the most of those at a time.
    """
    free = (load for load in loads if busy.get(load.source, 0) < per_source)
    return sorted(
        free,
        key=lambda one: (-one.urgency.priority, served.get(one.urgency.group, 0), one.left_bytes, one.arrived),
    )


def joined(served: Mapping[str, int], group: str, active: Iterable[str]) -> int:
    """Say with how many bytes served a group joins the others: what it did not take while it was idle is gone."""
    others = [served.get(one, 0) for one in active if one != group]
    return max(served.get(group, 0), min(others, default=0))
