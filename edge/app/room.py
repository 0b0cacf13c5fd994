"""Who may still bring how much: what is to come of all images together has to fit what the disk has free.

An image that does not fit is refused before its first byte, alone and with the number of bytes that it wants; a
smaller one may still come. A disk that runs full under way hurts everybody on it, and what was brought in vain is not
even free at once: Zot and Distribution hold on to the space of a dropped upload until Go's garbage collector closes
its file (measured): up to two minutes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from edge.app.segment import SEGMENT_BYTES
from fleet.errors import FleetError, Kind
from fleet.reference import Digest

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


@dataclass(slots=True)
class _Claim:
    """One blob's: shared by the images that wait for it, since it comes once."""

    size_bytes: int
    came_bytes: int = 0
    holders: int = 0

    @property
    def left_bytes(self) -> int:
        """What is not on the disk yet: the last that came is still in memory."""
        return self.size_bytes - min(max(self.came_bytes - SEGMENT_BYTES, 0), self.size_bytes)


class Room:
    """Keeps count of claims; usable from many threads.

    Args:
        free: asks how many bytes the registry can still take; None where nobody knows.
        clear: frees what nobody needs, when something does not fit.
    """

    def __init__(self, free: Callable[[], int | None], clear: Callable[[], None]) -> None:
        self._free = free
        self._clear = clear
        self._claims: dict[Digest, _Claim] = {}
        self._lock = threading.Lock()

    @contextmanager
    def claimed(self, most: Mapping[Digest, int], exactly: Callable[[], Mapping[Digest, int]]) -> Iterator[None]:
        """Keep room for blobs until the block ends, or each has `settled`.

        Args:
            most: the bytes of each blob of an image.
            exactly: looks up what of them is really to come; asked where `most` does not fit.

        Raises:
            FleetError: UNAVAILABLE `REGISTRY_FULL`.
        """
        held = self._claim(most)
        if held is None:
            wanted = exactly()
            held = self._claim(wanted)
            if held is None:
                self._clear()
                held = self._claim(wanted)
            if held is None:
                raise self._full(wanted)
        try:
            yield
        finally:
            for digest in held:
                self._release(digest)

    def came(self, digest: Digest, size_bytes: int) -> None:
        """Count bytes of a blob that came: from now on the disk counts them. Less than none are to come again."""
        with self._lock:
            if claim := self._claims.get(digest):
                claim.came_bytes += size_bytes

    def settled(self, digest: Digest) -> None:
        """Take note that a blob is there, whole."""
        with self._lock:
            if claim := self._claims.get(digest):
                claim.size_bytes = 0

    def _claim(self, wanted: Mapping[Digest, int]) -> list[Digest] | None:
        """Claim all of it or nothing."""
        free = self._free()
        if free is None:
            return []
        with self._lock:
            new = {digest: size for digest, size in wanted.items() if digest not in self._claims}
            if new and sum(new.values()) + self._claimed_bytes() > free:
                return None
            for digest in wanted:
                claim = self._claims.setdefault(digest, _Claim(wanted[digest]))
                claim.holders += 1
            return list(wanted)

    def _claimed_bytes(self) -> int:
        return sum(claim.left_bytes for claim in self._claims.values())

    def _release(self, digest: Digest) -> None:
        with self._lock:
            claim = self._claims[digest]
            claim.holders -= 1
            if not claim.holders:
                del self._claims[digest]

    def _full(self, wanted: Mapping[Digest, int]) -> FleetError:
        with self._lock:
            new = sum(size for digest, size in wanted.items() if digest not in self._claims)
            short = new + self._claimed_bytes() - (self._free() or 0)
        text = (
            f"the site's registry has no space left: it wants {_words(max(short, 1))} more; free some, or assign less"
        )
        return FleetError(Kind.UNAVAILABLE, "REGISTRY_FULL", text)


def _words(size_bytes: int) -> str:
    size, unit = float(size_bytes), 0
    while size >= 1024 and unit < len(_UNITS) - 1:  # noqa: PLR2004 -- binary units
        size, unit = size / 1024, unit + 1
    return f"{size:.0f} {_UNITS[unit]}" if unit == 0 else f"{size:.1f} {_UNITS[unit]}"
