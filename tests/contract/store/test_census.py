"""The census says of every satellite what its status says, in one reading."""

from __future__ import annotations

from datetime import timedelta

import pytest

from controlplane.adapters.sql.census import read_census
from controlplane.adapters.sql.engine import Database, database_url, make_engine
from controlplane.app.census import Census
from controlplane.app.fleet import Fleet
from controlplane.domain.commands import Upsert
from controlplane.domain.entities import Assignment, Group, Lifecycle, Membership, Satellite
from controlplane.domain.status import Report
from tests.contract.store.conftest import Clock
from tests.contract.store.words import ADA, D2, do, shop

A = b"a" * 16


async def census(url: str, clock: Clock) -> Census:
    database = Database(make_engine(database_url(url)))
    try:
        return await database.read(lambda session: read_census(session, clock()))
    finally:
        database.close()


def report(enforced: bytes) -> Report:
    return Report(
        sequence=1,
        position=None,
        held_digest=enforced,
        enforced_digest=enforced,
        desired=7,
        published=4,
        waiting=1,
        refused=2,
        failed=0,
    )


@pytest.fixture
async def fleet(fleet: Fleet, clock: Clock) -> Fleet:
    """Five satellites, each standing differently."""
    await do(fleet, *shop(), Upsert(Group("bars", precedence=3)))
    for name in ("s2", "s3", "s4", "s5"):
        await do(fleet, Upsert(Satellite(name)), Upsert(Membership(name, "bars")))
    for name in ("s1", "s2", "s3", "s4"):
        await fleet.approve(ADA, name)
    await do(fleet, Upsert(Membership("s1", "bars")), Upsert(Assignment(f"hub/redis:7@{D2}", "satellite/s3")))
    await fleet.revoke(ADA, "s4")
    for name in ("s1", "s2"):
        await fleet.open_session(name, A, 1)
    status, _ = await fleet.satellite_status("s1")
    await fleet.record_report("s1", A, 1, report(status.desired_digest))
    await fleet.record_report("s2", A, 1, report(b"o" * 32))
    return fleet


async def test_it_agrees_with_the_status_of_each_satellite(fleet: Fleet, url: str, clock: Clock) -> None:
    taken = await census(url, clock)
    assert {stand.satellite for stand in taken.stands} == {"s1", "s2", "s3", "s4", "s5"}
    for stand in taken.stands:
        status, _ = await fleet.satellite_status(stand.satellite)
        assert stand.lifecycle is status.lifecycle
        if stand.lifecycle in {Lifecycle.ONLINE, Lifecycle.STALE}:
            assert stand.desired == status.desired_digest
            assert stand.is_behind is not status.converged
    assert taken.position == await fleet.position()


async def test_it_counts_as_the_fleets_status_does(fleet: Fleet, url: str, clock: Clock) -> None:
    taken, status = await census(url, clock), await fleet.fleet_status()
    by_lifecycle = [sum(stand.lifecycle is each for stand in taken.stands) for each in Lifecycle]
    assert by_lifecycle == [status.pending, status.online, status.stale, status.revoked]
    online = [stand for stand in taken.stands if stand.lifecycle is Lifecycle.ONLINE]
    assert [stand.is_behind for stand in online].count(False) == status.converged == 1
    assert (online[0].published, online[0].waiting, online[0].refused, online[0].failed) == (4, 1, 2, 0)


async def test_it_says_when_a_satellite_or_what_it_should_hold_moved_last(fleet: Fleet, url: str, clock: Clock) -> None:
    before = clock()
    clock.advance(timedelta(minutes=5))
    await do(fleet, Upsert(Assignment(f"hub/redis:8@{D2}", "group/shops")))
    moved = {stand.satellite: stand.moved_at for stand in (await census(url, clock)).stands}
    assert moved["s1"] == clock()
    assert moved["s2"] == before
