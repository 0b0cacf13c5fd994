"""Claims on a disk: all that is to come fits, or is refused before its first byte; nothing is counted twice."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack

import pytest

from edge.app.room import Room
from edge.app.segment import SEGMENT_BYTES
from fleet.errors import FleetError, Kind
from fleet.reference import Digest, digest_of

MIB = 1 << 20
A, B, C = (digest_of(name) for name in (b"a", b"b", b"c"))


class Disk:
    def __init__(self, free: int | None) -> None:
        self.free = free
        self.cleared = 0
        self.litter = 0
        self.room = Room(lambda: self.free, self._clear)

    def _clear(self) -> None:
        self.cleared += 1
        assert self.free is not None
        self.free, self.litter = self.free + self.litter, 0

    def claim(self, most: Mapping[Digest, int], exactly: Mapping[Digest, int] | None = None) -> ExitStack:
        """Claim until the stack is closed."""
        stack = ExitStack()
        stack.enter_context(self.room.claimed(most, lambda: most if exactly is None else exactly))
        return stack

    def refusal(self, most: Mapping[Digest, int], exactly: Mapping[Digest, int] | None = None) -> FleetError:
        with pytest.raises(FleetError) as caught:
            self.claim(most, exactly)
        assert (caught.value.kind, caught.value.reason) == (Kind.UNAVAILABLE, "REGISTRY_FULL")
        return caught.value


def test_what_does_not_fit_is_refused_with_what_it_wants_and_a_smaller_one_still_comes() -> None:
    disk = Disk(10 * MIB)
    assert "wants 2.0 MiB more" in disk.refusal({A: 7 * MIB, B: 5 * MIB}).public
    with disk.claim({C: 9 * MIB}):
        assert "wants 1 bytes more" in disk.refusal({A: MIB + 1}).public
        disk.claim({B: MIB}).close()
    disk.claim({A: 10 * MIB}).close()


def test_what_two_images_share_comes_once() -> None:
    disk = Disk(10 * MIB)
    with disk.claim({A: 9 * MIB}), disk.claim({A: 9 * MIB, B: MIB}):
        disk.refusal({C: 1})
    with disk.claim({A: 9 * MIB}) as first, disk.claim({A: 9 * MIB}):
        first.close()
        disk.refusal({B: 2 * MIB})


def test_bytes_that_landed_are_the_disk_s_to_count() -> None:
    disk = Disk(20 * MIB)
    with disk.claim({A: 16 * MIB}):
        disk.refusal({B: 8 * MIB})
        disk.room.came(A, 12 * MIB)
        disk.free = 20 * MIB - (12 * MIB - SEGMENT_BYTES)  # the last of it is still in memory
        disk.refusal({B: 5 * MIB})
        disk.claim({B: 4 * MIB}).close()
        disk.room.settled(A)
        disk.free = 4 * MIB
        disk.claim({B: 4 * MIB}).close()


def test_what_is_there_already_needs_no_room() -> None:
    disk = Disk(MIB)
    disk.claim({A: 100 * MIB, B: MIB}, exactly={B: MIB}).close()
    disk.claim({A: 100 * MIB}, exactly={}).close()
    assert disk.cleared == 0


def test_what_nobody_needs_goes_before_anything_is_refused() -> None:
    disk = Disk(MIB)
    disk.litter = 4 * MIB
    with disk.claim({A: 5 * MIB}):
        assert disk.cleared == 1


def test_a_registry_of_which_nothing_is_known_takes_everything() -> None:
    with Disk(None).claim({A: 1 << 50}):
        pass
