"""Who is let in, by who it is and by how many there are."""

from __future__ import annotations

import pytest

from controlplane.rpc.turnstile import ARRIVAL_S, BURST, CALLS_PER_S, FORGOTTEN_S, PATIENCE_S, REMEMBERED, Turnstile
from fleet.errors import FleetError


class Clock:
    """Time that a test makes."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def turnstile(clock: Clock) -> Turnstile:
    return Turnstile(clock)


def refused(turnstile: Turnstile, satellite: str) -> FleetError | None:
    try:
        turnstile.call(satellite)
    except FleetError as error:
        return error
    return None


def test_one_that_hammers_is_told_to_wait_and_the_others_behind_its_address_are_not(
    turnstile: Turnstile, clock: Clock
) -> None:
    for _ in range(int(BURST)):
        turnstile.call("shop-1")
    told = refused(turnstile, "shop-1")
    assert told is not None
    assert told.reason == "TOO_MANY_CALLS"
    assert not any(refused(turnstile, f"shop-{number}") for number in range(2, 1002))
    clock.now += told.retry_after.total_seconds() if told.retry_after else 0
    assert refused(turnstile, "shop-1") is None, "who waits as it was told is let in"


def test_hammering_on_does_not_lengthen_the_wait(turnstile: Turnstile, clock: Clock) -> None:
    done = 0
    for _ in range(6000):
        done += refused(turnstile, "shop-1") is None
        clock.now += 0.01
    assert BURST <= done <= BURST + 60 * CALLS_PER_S


def test_who_called_longest_ago_is_forgotten(turnstile: Turnstile) -> None:
    for _ in range(int(BURST)):
        turnstile.call("shop")
    for number in range(REMEMBERED):
        turnstile.call(f"other-{number}")
    assert refused(turnstile, "shop") is None


def fill(turnstile: Turnstile) -> FleetError:
    """Have satellites arrive until one is turned away."""
    for number in range(100_000):
        try:
            turnstile.arrive(f"ship-{number}")
        except FleetError as error:
            return error
    raise AssertionError("nobody was turned away")


def test_who_could_not_be_answered_in_time_is_told_when_and_let_in_once_others_are_answered(
    turnstile: Turnstile,
) -> None:
    told = fill(turnstile)
    assert told.reason == "BUSY"
    assert len(turnstile) * ARRIVAL_S == pytest.approx(PATIENCE_S, rel=0.01)
    assert told.retry_after is not None
    assert told.retry_after.total_seconds() == pytest.approx(PATIENCE_S, rel=0.01)
    turnstile.arrived("ship-0")
    turnstile.arrive("late")


def test_who_asks_twice_takes_one_place(turnstile: Turnstile) -> None:
    turnstile.arrive("ship")
    turnstile.arrive("ship")
    assert len(turnstile) == 1
    turnstile.arrived("ship")
    turnstile.arrived("ship")
    assert len(turnstile) == 0


def test_who_never_opens_its_stream_holds_no_place(turnstile: Turnstile, clock: Clock) -> None:
    fill(turnstile)
    clock.now += FORGOTTEN_S + 1
    turnstile.arrive("late")
    assert len(turnstile) == 1
