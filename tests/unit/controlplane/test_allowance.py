"""A stream that talks too much is held up, and one that talks as it should never is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controlplane.rpc.allowance import BURST, PER_S, Allowance


def test_a_burst_goes_through_and_what_is_beyond_waits_its_turn() -> None:
    allowance = Allowance()
    waits = [allowance.spend(0.0) for _ in range(int(BURST) + 2)]
    assert waits[: int(BURST)] == [0.0] * int(BURST)
    assert waits[int(BURST) :] == [1 / PER_S, 2 / PER_S]


@given(st.lists(st.floats(0, 2), min_size=1, max_size=400))
def test_nobody_gets_more_than_the_burst_and_the_rate_for_the_time(gaps: list[float]) -> None:
    allowance, now = Allowance(), 0.0
    for passed, gap in enumerate(gaps, start=1):
        now += gap
        now += allowance.spend(now)
        assert passed <= BURST + now * PER_S + 1e-6


def test_who_speaks_at_the_rate_never_waits() -> None:
    allowance = Allowance()
    assert all(allowance.spend(number / PER_S) == 0.0 for number in range(5000))
