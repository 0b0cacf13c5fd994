"""What a process remembers of scopes that change."""

from __future__ import annotations

from controlplane.domain.roster import LAST, Roster, Survey
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
