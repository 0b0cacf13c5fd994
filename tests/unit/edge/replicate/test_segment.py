"""What is held of a blob in memory, and what of it outlives us."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from edge.adapters.journal import staging as staging_module
from edge.adapters.journal.staging import StagingFiles
from edge.app import segment as segment_module
from edge.app.segment import SEGMENT_BYTES, Segment


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every link be a slow one."""
    monkeypatch.setattr(segment_module, "SLOW_BYTES_PER_S", 1e12)


def begun(directory: Path, key: str = "a@1", offset: int = 0) -> Segment:
    segment = Segment(StagingFiles(directory))
    segment.begin(key, offset)
    return segment


@pytest.mark.usefixtures("slow")
def test_what_is_held_is_found_again_by_whoever_comes_after(tmp_path: Path) -> None:
    first = begun(tmp_path, offset=700)
    first.add(b"one")
    first.add(b"two")
    assert bytes(begun(tmp_path, offset=700).held) == b"onetwo"


@pytest.mark.usefixtures("slow")
def test_what_the_registry_took_meanwhile_is_not_sent_twice(tmp_path: Path) -> None:
    begun(tmp_path).add(b"one")
    assert begun(tmp_path, offset=3).size_bytes == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("slow")
def test_an_emptied_segment_leaves_nothing_and_goes_on_at_its_new_place(tmp_path: Path) -> None:
    segment = begun(tmp_path)
    segment.add(b"one")
    segment.clear(3)
    assert list(tmp_path.iterdir()) == []
    segment.add(b"two")
    assert bytes(begun(tmp_path, offset=3).held) == b"two"


@pytest.mark.usefixtures("slow")
def test_blobs_do_not_find_each_others_bytes(tmp_path: Path) -> None:
    begun(tmp_path, "a@1").add(b"one")
    assert begun(tmp_path, "b@1").size_bytes == 0
    assert bytes(begun(tmp_path, "a@1").held) == b"one"


def test_a_fast_link_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment_module, "SLOW_BYTES_PER_S", 0)
    segment = begun(tmp_path)
    segment.add(os.urandom(1000))
    segment.clear(1000)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("slow")
def test_what_was_staged_before_the_machine_started_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(tmp_path / "staged").add(b"one")
    (tmp_path / "boot_id").write_text("another\n")
    monkeypatch.setattr(staging_module, "_BOOT_ID", tmp_path / "boot_id")
    assert begun(tmp_path / "staged").size_bytes == 0


@pytest.mark.usefixtures("slow")
def test_damage_and_full_disks_cost_bytes_and_nothing_else(tmp_path: Path) -> None:
    segment = begun(tmp_path)
    segment.add(b"one")
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"\xff\xfe no head")
    assert begun(tmp_path).size_bytes == 0
    file.unlink(missing_ok=True)
    file.mkdir()
    segment.add(b"two")
    assert bytes(segment.held) == b"onetwo"


class FullDisk(StagingFiles):
    """Takes so many bytes of the next ones, and all of what comes then."""

    def __init__(self, directory: Path, room: int) -> None:
        super().__init__(directory)
        self.room: int | None = room

    def append(self, key: str, offset: int, content: memoryview, *, after: int) -> bool:
        room, self.room = self.room, None
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        if room is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (room, limit[1]))
        try:
            return super().append(key, offset, content, after=after)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("room", [0, 10, 41, 60])
def test_a_disk_that_is_full_for_a_moment_leaves_no_gap_in_what_is_found_again(tmp_path: Path, room: int) -> None:
    segment = Segment(FullDisk(tmp_path, room))
    segment.begin("a@1", 0)
    segment.add(b"A" * 100)
    assert not segment.is_staged
    assert begun(tmp_path).size_bytes == 0
    segment.add(b"B" * 100)
    assert bytes(begun(tmp_path).held) == b"A" * 100 + b"B" * 100


@pytest.mark.usefixtures("slow")
def test_what_was_cut_short_later_is_staged_again_as_a_whole(tmp_path: Path) -> None:
    staging = FullDisk(tmp_path, 0)
    staging.room = None
    segment = Segment(staging)
    segment.begin("a@1", 7)
    segment.add(b"A" * 100)
    staging.room = 200
    segment.add(b"B" * 100)
    segment.add(b"C" * 100)
    assert bytes(begun(tmp_path, offset=7).held) == b"A" * 100 + b"B" * 100 + b"C" * 100


@pytest.mark.usefixtures("slow")
def test_a_file_that_somebody_removed_is_staged_again_as_a_whole(tmp_path: Path) -> None:
    segment = begun(tmp_path)
    segment.add(b"one")
    (file,) = tmp_path.iterdir()
    file.unlink()
    segment.add(b"two")
    segment.add(b"three")
    assert bytes(begun(tmp_path).held) == b"onetwothree"


def test_what_is_held_again_takes_no_bytes_along_that_came_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment = begun(tmp_path)
    monkeypatch.setattr(segment_module, "SLOW_BYTES_PER_S", 0)
    segment.add(b"A" * 10)
    held = segment.turn()
    monkeypatch.setattr(segment_module, "SLOW_BYTES_PER_S", 1e12)
    segment.add(b"later")
    segment.turn_back(held)
    assert begun(tmp_path, offset=10).size_bytes == 0
    segment.add(b"B" * 10)
    assert bytes(begun(tmp_path).held) == b"A" * 10 + b"B" * 10


@pytest.mark.usefixtures("slow")
def test_what_lies_there_for_a_week_goes(tmp_path: Path) -> None:
    begun(tmp_path).add(b"one")
    (file,) = tmp_path.iterdir()
    os.utime(file, (0, 0))
    StagingFiles(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_it_is_due_when_the_next_chunk_would_not_fit(tmp_path: Path) -> None:
    segment = begun(tmp_path)
    assert not segment.is_due(SEGMENT_BYTES)
    segment.add(bytes(SEGMENT_BYTES - 1))
    assert not segment.is_due(1)
    assert segment.is_due(2)
