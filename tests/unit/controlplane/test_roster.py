"""What a process remembers of scopes that change."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from controlplane.adapters.feed import PolledFeed
from controlplane.app.roster import RosterKeeper
from controlplane.domain.lifecycle import Standing
from controlplane.domain.roster import LAST, Enrolled, Roster, Survey
from controlplane.domain.state import Binding
from fleet.position import Position


def surveyed(roster: Roster, revision: int, digest: bytes, *, anew: bool = False) -> None:
    binding = Binding("group/trains", revision, digest, 0)
    roster.take(Survey(Position(1, revision), None if anew else (), {}, frozenset(), {binding.scope: binding}))


def digest(number: int) -> bytes:
    return bytes([number]) * 32


def test_the_last_generations_of_a_scope_are_remembered_and_no_others() -> None:
    roster = Roster()
    for number in range(1, LAST + 3):
        surveyed(roster, number, digest(number))
    newest = LAST + 2
    assert [roster.had("group/trains", digest(number)) for number in range(1, newest)] == [False, *[True] * LAST]
    assert not roster.had("group/trains", digest(newest)), "the newest is what it has, not what it had"
    assert not roster.had("group/ships", digest(newest - 1))


def test_reading_the_same_generation_again_is_no_change() -> None:
    roster = Roster()
    for _ in range(3):
        surveyed(roster, 1, digest(1))
    assert not roster.had("group/trains", digest(1))


def test_another_log_has_another_past() -> None:
    roster = Roster()
    surveyed(roster, 1, digest(1))
    surveyed(roster, 2, digest(2))
    surveyed(roster, 1, digest(3), anew=True)
    assert not roster.had("group/trains", digest(1))


class Stepwise:
    """A store whose surveys read one change at a time, as where this process wrote it and others the next."""

    def __init__(self, end: int) -> None:
        self.end = Position(1, end)

    async def survey(self, known: Roster, asked: Collection[str]) -> Survey:
        position = min(known.position.following(), self.end) if known.position.epoch else Position(1, 1)
        enrolled = {name: Enrolled(f"spiffe://fleet.test/{name}", Standing.APPROVED, ()) for name in asked}
        return Survey(position, (), enrolled, frozenset(), {})

    async def position(self) -> Position:
        return Position(1, 1)


async def test_an_answer_is_no_older_than_what_the_asker_has_seen_unless_the_log_is() -> None:
    store = Stepwise(4)
    keeper = RosterKeeper(store, PolledFeed(store.position))
    running = asyncio.create_task(keeper.run())
    assert (await keeper.desired("kiosk-1", Position(1, 4))).position == Position(1, 4)
    assert (await keeper.desired("kiosk-1", Position(1, 9))).position == Position(1, 4)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
