"""Whoever is beyond the burst and the rate waits, or is refused; whoever keeps to them never is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controlplane.rpc.bucket import Bucket

BURST, PER_S = 100.0, 10.0


def test_a_burst_goes_through_and_what_is_beyond_waits_its_turn() -> None:
    bucket = Bucket(BURST, PER_S)
    waits = [bucket.spend(0.0) for _ in range(int(BURST) + 2)]
    assert waits[: int(BURST)] == [0.0] * int(BURST)
    assert waits[int(BURST) :] == [1 / PER_S, 2 / PER_S]


@given(st.lists(st.floats(0, 2), min_size=1, max_size=400))
def test_nobody_gets_more_than_the_burst_and_the_rate_for_the_time(gaps: list[float]) -> None:
    bucket, now = Bucket(BURST, PER_S), 0.0
    for passed, gap in enumerate(gaps, start=1):
        now += gap
        now += bucket.spend(now)
        assert passed <= BURST + now * PER_S + 1e-6


def test_who_speaks_at_the_rate_never_waits() -> None:
    bucket = Bucket(BURST, PER_S)
    assert all(bucket.spend(number / PER_S) == 0.0 for number in range(5000))


def test_what_is_refused_takes_nothing() -> None:
    bucket = Bucket(1.0, PER_S)
    assert bucket.take(0.0) == 0.0
    assert [bucket.take(0.0) for _ in range(3)] == [1 / PER_S] * 3
    assert bucket.take(1 / PER_S) == 0.0
