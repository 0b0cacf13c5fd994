"""A roster that is kept current by what changes says what a fresh reading of the whole says, whatever happens."""

from __future__ import annotations

import asyncio
import random

import pytest

from controlplane.adapters.sql import survey
from controlplane.app.fleet import Fleet
from controlplane.app.roster import RosterKeeper
from controlplane.domain.commands import Command, Delete, DeletePair, EntityKind, Upsert
from controlplane.domain.entities import Assignment, Group, Lifecycle, Membership, Operator, Role, Satellite
from controlplane.domain.lifecycle import Standing
from controlplane.domain.roster import Moved
from controlplane.domain.state import Desired
from fleet.errors import FleetError
from fleet.position import Position
from tests.contract.store.conftest import Open
from tests.contract.store.words import ADA, D1, do, known, shop

BOB = "spiffe://example.org/operator/bob"
NAMES = [f"s{number}" for number in range(1, 6)]
GROUPS = ["shops", "ships", "trains"]
ROUNDS = 30
RARE = 0.2


def some_change(chance: random.Random) -> Command:
    name, group = chance.choice(NAMES), chance.choice(GROUPS)
    scope = chance.choice(["fleet", *(f"group/{each}" for each in GROUPS), f"satellite/{name}"])
    held = Assignment(f"hub/library/app-{chance.randrange(3)}:1@{D1}", scope)
    often: list[Command] = [
        Upsert(Group(group, chance.randrange(4))),
        Upsert(Membership(name, group)),
        DeletePair(Membership(name, group)),
        Upsert(held),
        Upsert(held),
        DeletePair(Assignment(f"hub/library/app-{chance.randrange(3)}:1", scope)),
    ]
    rarely: list[Command] = [
        Upsert(Satellite(name, chance.choice(["default", "north"]))),
        Delete(EntityKind.SATELLITE, name),
        Delete(EntityKind.GROUP, group),
    ]
    return chance.choice(often * 3 + rarely)


async def happens(fleet: Fleet, chance: random.Random) -> str:
    """Do something at random: `→ what came of it`."""
    name = chance.choice(NAMES)
    try:
        match chance.randrange(12):
            case 0 | 1:
                await fleet.approve(ADA, name)
            case 2 if chance.random() < RARE:
                await fleet.revoke(ADA, name, reason="stolen")
            case 3 | 4:
                await fleet.reinstate(ADA, name)
            case 5 if chance.random() < RARE:
                await fleet.recover(ADA)
            case _:
                await do(fleet, *(some_change(chance) for _ in range(chance.randrange(1, 3))))
    except FleetError as error:
        return error.reason
    return "done"


async def as_read(fleet: Fleet, name: str) -> Desired | str:
    try:
        return await fleet.desired(name)
    except FleetError as error:
        return error.reason


async def as_kept(roster: RosterKeeper, name: str, position: Position) -> Desired | str:
    try:
        return await roster.desired(name, position)
    except FleetError as error:
        return error.reason


@pytest.mark.parametrize("most", [2000, 1], ids=["change by change", "all anew"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("whose", ["another's", "the writer's own"])
async def test_it_is_what_a_fresh_reading_is(
    opening: Open, whose: str, seed: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey, "MAX_MOVED", most)
    chance = random.Random(seed)
    async with (
        opening("one") as one,
        opening("two") as two,
        known({"another's": two, "the writer's own": one}[whose].fleet) as roster,
    ):
        await do(one.fleet, *shop(), *(Upsert(Group(group)) for group in GROUPS))
        await do(one.fleet, *(Upsert(Satellite(name)) for name in NAMES))
        for name in NAMES:
            await one.fleet.approve(ADA, name)
        done, states = 0, set[bytes]()
        for _ in range(ROUNDS):
            done += [await happens(one.fleet, chance) for _ in range(chance.randrange(1, 4))].count("done")
            position = await one.fleet.position()
            for name in NAMES:
                kept, read = await as_kept(roster, name, position), await as_read(one.fleet, name)
                assert kept == read
                states |= {kept.state_digest} if isinstance(kept, Desired) else set()
        assert done > ROUNDS, "most of what was tried has happened"
        assert len(states) > ROUNDS / 3, "and it mattered"


async def test_who_listens_hears_of_each_change_once_and_finds_it_there(opening: Open) -> None:
    async with opening("one") as one, opening("two") as two, known(two.fleet) as roster:
        await do(one.fleet, *shop())
        await one.fleet.approve(ADA, "s1")
        assert (await roster.desired("s1")).lifecycle is Lifecycle.ONLINE
        heard: list[Moved] = []
        seen: list[Standing | None] = []
        told = asyncio.Event()

        def listener(moved: tuple[Moved, ...] | None) -> None:
            heard.extend(moved or ())
            known = roster.known("s1")
            seen.append(known.standing if known else None)
            told.set()

        roster.listen(listener)
        _, position = await one.fleet.revoke(ADA, "s1", reason="stolen")
        async with asyncio.timeout(20):
            await told.wait()  # nobody asks: the log alone brings it
        await roster.desired("s1", position)
        assert [(each.position, each.concerned.satellites) for each in heard] == [(position, frozenset({"s1"}))]
        assert seen == [Standing.REVOKED]
        assert await roster.find("nobody") is None


async def test_a_role_is_known_wherever_it_was_given_or_taken(opening: Open) -> None:
    async with opening("one") as one, opening("two") as two, known(one.fleet) as here, known(two.fleet) as there:
        await one.fleet.init("ada")
        assert await here.role_of(ADA) is Role.ADMIN
        for role in (Role.VIEWER, Role.EDITOR):
            await do(one.fleet, Upsert(Operator("bob", role)))
            assert await here.role_of(BOB) is role, "who wrote it knows it at once"
            await becomes(there, role)
        await do(one.fleet, *shop())  # what is not about operators takes nothing from them
        assert await here.role_of(BOB) is Role.EDITOR
        await do(one.fleet, Delete(EntityKind.OPERATOR, "bob"))
        assert await here.role_of(BOB) is None
        await becomes(there, None)
        assert await there.role_of(ADA) is Role.ADMIN


async def becomes(roster: RosterKeeper, role: Role | None) -> None:
    """Wait until another process knows of Bob's role: nobody tells it but the log."""
    async with asyncio.timeout(5):
        while await roster.role_of(BOB) is not role:  # noqa: ASYNC110 asks a database, with a deadline
            await asyncio.sleep(0.01)
