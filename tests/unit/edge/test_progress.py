"""The count of what is under way: what came and what was there, a smooth rate, and the phase that it is in."""

from __future__ import annotations

import pytest

from edge.app.progress import ProgressBoard
from edge.domain.plan import Edition
from edge.domain.progress import MEMORY_S, Phase, Progress, Rate, time_left
from fleet.reference import Digest

MIB = 1 << 20
NGINX = Edition("hub/nginx:1", "hub", "nginx", "nginx", Digest("sha256:" + "a" * 64))
NEXT = Edition("hub/nginx:1", "hub", "nginx", "nginx", Digest("sha256:" + "b" * 64))


class Seconds:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def board(seconds: Seconds) -> ProgressBoard:
    return ProgressBoard(seconds)


def test_a_steady_stream_shows_its_rate_from_the_first_seconds_on(board: ProgressBoard, seconds: Seconds) -> None:
    with board.bringing(NGINX, 100 * MIB), board.moving(NGINX.name):
        for passed in range(1, 60):
            seconds.now += 1.0
            board.came(NGINX.name, MIB)
            rate = board.snapshot()[NGINX].rate_bytes_per_s
            assert 0.9 * MIB < rate < 1.15 * MIB, passed


def test_a_rate_follows_a_change_and_forgets_a_stall(board: ProgressBoard, seconds: Seconds) -> None:
    with board.bringing(NGINX, 1000 * MIB), board.moving(NGINX.name):
        for size in (MIB,) * 60 + (10 * MIB,) * 20:
            seconds.now += 1.0
            board.came(NGINX.name, size)
        fast = board.snapshot()[NGINX].rate_bytes_per_s
        assert fast > 9 * MIB
        seconds.now += MEMORY_S
        slower = board.snapshot()[NGINX].rate_bytes_per_s
        assert slower < fast / 2
        seconds.now += 5 * MEMORY_S
        assert board.snapshot()[NGINX].rate_bytes_per_s == 0


def test_one_large_piece_at_once_is_no_wild_rate() -> None:
    assert Rate(100.0, 100.0).came(MIB, 100.0).at(100.0) < 1.2 * MIB


def test_what_need_not_come_counts_as_done_and_not_towards_the_rate(board: ProgressBoard, seconds: Seconds) -> None:
    with board.bringing(NGINX, 10 * MIB), board.moving(NGINX.name):
        board.found(NGINX.name, 4 * MIB)
        seconds.now += 1.0
        board.found(NGINX.name, 2 * MIB)
        assert board.snapshot()[NGINX] == Progress(Phase.TRANSFERRING, 6 * MIB, 10 * MIB, 0)
        assert board.pending_bytes == 4 * MIB
        board.came(NGINX.name, MIB)
        assert board.snapshot()[NGINX].done_bytes == 7 * MIB
        board.lost(NGINX.name, 3 * MIB)
        assert board.snapshot()[NGINX].done_bytes == 4 * MIB


def test_an_edition_is_judged_then_queued_then_it_comes_and_is_published(board: ProgressBoard) -> None:
    phases: list[Phase | None] = []

    def look() -> None:
        phases.append(board.snapshot()[NGINX].phase)

    with board.judging(NGINX):
        look()
    assert board.snapshot() == {}
    with board.bringing(NGINX, MIB):
        look()
        with board.moving(NGINX.name):
            look()
        board.publishing(NGINX)
        look()
    assert phases == [Phase.JUDGING, Phase.QUEUED, Phase.TRANSFERRING, Phase.PUBLISHING]
    assert board.snapshot() == {}


def test_what_broke_off_keeps_its_count_and_goes_on_from_there(board: ProgressBoard) -> None:
    def breaks_off() -> None:
        with board.bringing(NGINX, 4 * MIB), board.moving(NGINX.name):
            board.came(NGINX.name, 3 * MIB)
            raise ConnectionError

    with pytest.raises(ConnectionError):
        breaks_off()
    assert board.snapshot()[NGINX] == Progress(None, 3 * MIB, 4 * MIB, 0)
    with board.judging(NGINX):
        assert board.snapshot()[NGINX] == Progress(Phase.JUDGING, 3 * MIB, 4 * MIB, 0)
    with board.bringing(NGINX, 4 * MIB), board.moving(NGINX.name):
        assert board.snapshot()[NGINX].done_bytes == 3 * MIB
        board.found(NGINX.name, 3 * MIB)
        board.came(NGINX.name, MIB // 2)
        assert board.snapshot()[NGINX].done_bytes == 3 * MIB + MIB // 2


def test_another_digest_of_the_same_name_is_another_count(board: ProgressBoard) -> None:
    with board.bringing(NGINX, 4 * MIB):
        board.came(NGINX.name, 3 * MIB)
        with board.bringing(NEXT, 8 * MIB):
            board.came(NEXT.name, MIB)
            assert board.snapshot() == {NEXT: Progress(Phase.QUEUED, MIB, 8 * MIB, 0)}
            board.forget(NGINX)
            assert board.snapshot()[NEXT].done_bytes == MIB


def test_more_than_expected_is_not_more_than_all(board: ProgressBoard) -> None:
    with board.bringing(NGINX, MIB):
        board.came(NGINX.name, 3 * MIB)
        assert board.snapshot()[NGINX].done_bytes == MIB
        assert board.pending_bytes == 0


def test_there_is_no_telling_the_time_left_while_nothing_comes() -> None:
    assert time_left(MIB, 3 * MIB, 0) is None
    left = time_left(MIB, 3 * MIB, MIB)
    assert left is not None
    assert left.total_seconds() == 2.0
