from __future__ import annotations

import random
from datetime import timedelta

import pytest
from sqlmodel import Session, select

from controlplane.adapters.sql.engine import database_url, make_engine
from controlplane.adapters.sql.tables import TakeoverRow
from controlplane.app.fleet import Fleet
from controlplane.domain.commands import Command, Delete, DeletePair, EntityKind, Upsert
from controlplane.domain.compaction import KEPT, Dropped
from controlplane.domain.entities import Artifact, Assignment, Group, Membership
from controlplane.domain.roster import Roster
from controlplane.domain.specs import ArtifactSpec, ResourceKind
from controlplane.domain.state import Key
from tests.contract.store.conftest import Clock, Open
from tests.contract.store.words import ADA, D1, applied_to, digest, do, refused, shop

WEEK = timedelta(days=7)
GROUP = "group/shops"
NGINX = "hub/library/nginx:1"


def pinned(number: int) -> Command:
    """The artifact at another digest."""
    return Upsert(Artifact(ArtifactSpec("hub", "library/nginx", "1", f"sha256:{number:064x}")))


async def held(fleet: Fleet, scope: str = GROUP) -> tuple[int, bytes]:
    """What a satellite that connects now would come to hold of a scope."""
    return next((b.generation, b.digest) for b in (await fleet.desired("s1")).bindings if b.scope == scope)


async def begun(fleet: Fleet) -> None:
    await do(fleet, *shop())
    await fleet.approve(ADA, "s1")


async def test_who_was_away_for_a_month_gets_a_delta_and_who_was_for_longer_is_unknown(
    fleet: Fleet, clock: Clock
) -> None:
    await begun(fleet)
    left: list[tuple[bytes, dict[Key, bytes]]] = []
    for week in range(10):
        await do(fleet, pinned(week))
        generation, mark = await held(fleet)
        left.append((mark, applied_to({}, await fleet.delta(GROUP, None, generation))))
        clock.advance(WEEK)
    assert await fleet.compact()
    generation, newest = await held(fleet)
    # Five weeks are kept, and what was held when they began.
    assert [await fleet.knows(GROUP, mark) for mark, _ in left] == [False] * 5 + [True] * 5
    for mark, content in left[5:]:
        assert digest(applied_to(content, await fleet.delta(GROUP, mark, generation))) == newest
    assert digest(applied_to({}, await fleet.delta(GROUP, None, generation))) == newest
    _, content = left[0]
    exact = await fleet.exact(GROUP, content, generation)
    assert digest(applied_to(content, exact)) == newest


async def test_a_compacted_digest_is_refused_where_no_delta_from_it_is_at_hand(opening: Open, clock: Clock) -> None:
    async with opening("first") as one, opening("second") as two:
        await begun(one.fleet)
        _, before = await held(one.fleet)
        await do(one.fleet, pinned(1))
        clock.advance(KEPT + WEEK)
        await do(one.fleet, pinned(2))
        await one.fleet.compact()
        generation, _ = await held(two.fleet)
        with refused("DIGEST_UNKNOWN"):
            await two.fleet.delta(GROUP, before, generation)


async def test_the_log_ends_where_it_ended_and_begins_later(fleet: Fleet, clock: Clock) -> None:
    await begun(fleet)
    first = await fleet.position()
    for number in range(5):
        await do(fleet, pinned(number))
    end = await fleet.position()
    clock.advance(KEPT + WEEK)
    assert (await fleet.compact()).changes == end.revision - 1
    kept = await fleet.changes(None, 10)
    assert [record.position for record in kept.records] == [end], "an idle fleet's log is never empty"
    assert not (await fleet.changes(end, 10)).records
    with refused("POSITION_COMPACTED"):
        await fleet.changes(first, 10)
    await do(fleet, pinned(9))
    assert [record.position.revision for record in (await fleet.changes(end, 10)).records] == [end.revision + 1]
    assert not await fleet.compact(), "the second time there is nothing left"


async def test_a_recovered_log_is_compacted_over_its_epochs(fleet: Fleet, clock: Clock) -> None:
    await begun(fleet)
    await fleet.recover(ADA)
    await do(fleet, pinned(1))
    clock.advance(KEPT + WEEK)
    await do(fleet, pinned(2))
    await fleet.compact()
    assert [record.position.epoch for record in (await fleet.changes(None, 10)).records] == [2, 2]
    generation, newest = await held(fleet)
    assert digest(applied_to({}, await fleet.delta(GROUP, None, generation))) == newest


async def test_payloads_go_when_nothing_names_them_and_come_again(fleet: Fleet, clock: Clock) -> None:
    await begun(fleet)
    await do(fleet, Upsert(Artifact(ArtifactSpec("hub", "unassigned", "1", D1))))
    for number in (1, 2, 3):
        await do(fleet, pinned(number))
    clock.advance(KEPT + WEEK)
    dropped = await fleet.compact()
    # Of nginx at its first three digests; the source, the newest nginx and the unassigned artifact stay.
    assert (dropped.generations, dropped.intervals, dropped.bodies) == (3, 3, 3)
    await do(fleet, pinned(1))
    await do(fleet, Upsert(Assignment("hub/unassigned:1", GROUP)))
    generation, newest = await held(fleet)
    content = applied_to({}, await fleet.delta(GROUP, None, generation))
    assert digest(content) == newest
    assert (int(ResourceKind.ARTIFACT), "hub/unassigned:1") in content


async def test_a_group_that_comes_again_goes_on_counting(fleet: Fleet, clock: Clock) -> None:
    await begun(fleet)
    before, _ = await held(fleet)
    await do(fleet, Delete(EntityKind.GROUP, "shops"))
    clock.advance(KEPT + WEEK)
    await do(fleet, pinned(5))
    await fleet.compact()
    again = (Upsert(Group("shops")), Upsert(Membership("s1", "shops")), Upsert(Assignment(NGINX, GROUP)))
    await do(fleet, *again)
    generation, newest = await held(fleet)
    assert generation == before + 2, "a number that a satellite may have seen is not used for other content"
    assert digest(applied_to({}, await fleet.delta(GROUP, None, generation))) == newest


async def test_a_roster_from_before_what_was_compacted_is_read_anew(opening: Open, clock: Clock) -> None:
    async with opening("first") as one:
        await begun(one.fleet)
        store = one.fleet._store
        known = Roster()
        known.take(await store.survey(known, ["s1"]))
        for number in range(3):
            await do(one.fleet, pinned(number))
        clock.advance(KEPT + WEEK)
        await do(one.fleet, pinned(7))
        assert (await store.survey(known, [])).moved, "as long as all of it is there, it is read change by change"
        await one.fleet.compact()
        survey = await store.survey(known, [])
        assert survey.moved is None
        known.take(survey)
        assert known.desired("s1") == await one.fleet.desired("s1")


async def test_tokens_go_long_after_their_end(fleet: Fleet, clock: Clock) -> None:
    await do(fleet, *shop())
    for ttl in (timedelta(hours=1), timedelta(days=30)):
        await fleet.mint_token(ADA, EntityKind.SATELLITE, "s1", ttl=ttl)
    clock.advance(KEPT + timedelta(days=1))
    assert (await fleet.compact()).tokens == 1
    assert len((await fleet.list_tokens()).items) == 1


@pytest.mark.needs_postgres
async def test_one_of_the_processes_compacts_and_another_goes_on_when_it_is_gone(opening: Open, clock: Clock) -> None:
    async with opening("a") as one, opening("b") as two:
        await begun(one.fleet)
        for each in (one, two):
            await each.fleet._store.beat(clock())
        clock.advance(KEPT + WEEK)
        for each in (one, two):
            await each.fleet._store.beat(clock())
        assert not await two.fleet.compact()
        clock.advance(timedelta(minutes=1))
        await two.fleet._store.beat(clock())
        assert await two.fleet.compact()


async def test_the_note_for_a_process_that_is_gone_goes_with_it(opening: Open, clock: Clock, url: str) -> None:
    async with opening("a") as one, opening("b") as two:
        await begun(one.fleet)
        await one.fleet.open_session("s1", bytes(16), 1, clock())
        await two.fleet.open_session("s1", bytes(16), 2, clock())
        engine = make_engine(database_url(url))
        with Session(engine) as reading:
            assert len(reading.exec(select(TakeoverRow)).all()) == 1
            reading.rollback()
            clock.advance(timedelta(days=2))
            await two.fleet._store.beat(clock())
            assert not reading.exec(select(TakeoverRow)).all()
        engine.dispose()


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_happened_what_is_kept_leads_to_what_is_wanted(fleet: Fleet, clock: Clock, seed: int) -> None:
    chance = random.Random(seed)
    await begun(fleet)
    seen: list[tuple[int, str, bytes, dict[Key, bytes]]] = []
    day, total = 0, Dropped()
    for _ in range(40):
        match chance.randrange(5):
            case 0:
                await do(fleet, Upsert(Assignment(NGINX, chance.choice([GROUP, "fleet", "satellite/s1"]))))
            case 1:
                await do(fleet, DeletePair(Assignment(NGINX, chance.choice([GROUP, "fleet", "satellite/s1"]))))
            case 2:
                clock.advance(timedelta(days=(days := chance.randrange(1, 20))))
                day += days
            case 3:
                total += await fleet.compact()
            case _:
                await do(fleet, pinned(chance.randrange(4)))
        for binding in (await fleet.desired("s1")).bindings:
            content = applied_to({}, await fleet.delta(binding.scope, None, binding.generation))
            assert digest(content) == binding.digest
            seen.append((day, binding.scope, binding.digest, content))
            for left, scope, mark, then in seen:
                if scope == binding.scope and day - left < KEPT.days:
                    delta = await fleet.delta(scope, mark, binding.generation)
                    assert digest(applied_to(then, delta)) == binding.digest
    assert total, "and something was let go"
