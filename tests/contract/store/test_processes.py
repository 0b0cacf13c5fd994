"""Several processes on one database, and a database that goes away."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import event, text

from controlplane.adapters.opening import open_fleet
from controlplane.adapters.sql.engine import Database, database_url, make_engine
from controlplane.adapters.sql.migrate import migrate
from controlplane.adapters.sql.store import SqlStore
from controlplane.app.fleet import Fleet
from controlplane.app.ports import Context
from controlplane.domain.commands import Upsert
from controlplane.domain.entities import Group, Position
from controlplane.domain.status import SessionKey
from fleet.errors import FleetError, Kind
from tests.contract.store.conftest import Clock, Open, Tags
from tests.contract.store.words import ADA, do, refused, shop
from tests.rig.postgres import Postgres, running_postgres

SOON = timedelta(seconds=10)


async def test_concurrent_writers_never_reuse_or_skip_a_revision(opening: Open) -> None:
    async with opening("one") as one, opening("two") as two:
        writes = [
            do(made.fleet, Upsert(Group(f"{name}{n}"))) for n in range(15) for name, made in (("a", one), ("b", two))
        ]
        applied = await asyncio.gather(*writes)
        assert sorted(each.position.revision for each in applied) == list(range(1, 31))
        records = (await one.fleet.changes(None, 100)).records
        assert [record.position for record in records] == [Position(1, number) for number in range(1, 31)]


async def test_one_request_sent_twice_at_once_is_done_once(opening: Open) -> None:
    async with opening("one") as one, opening("two") as two:
        answers = await asyncio.gather(
            *(made.fleet.apply(ADA, shop(), request_id="r") for made in (one, two, one, two))
        )
        assert len({answer.position for answer in answers}) == 1
        assert len(set(answers)) == 1
        assert await one.fleet.position() == Position(1, 1)


async def test_a_reader_sees_position_and_state_of_one_moment(opening: Open) -> None:
    async with opening("one") as one, opening("two") as two:
        await do(one.fleet, *shop())
        await one.fleet.approve(ADA, "s1")
        seen: dict[Position, set[bytes]] = {}

        async def watch() -> None:
            for _ in range(30):
                desired = await two.fleet.desired("s1")
                seen.setdefault(desired.position, set()).add(desired.state_digest)

        async def change() -> None:
            for number in range(1, 8):
                await do(one.fleet, *shop()[:3], Upsert(Group("shops", number)))
                await one.fleet.set_source_credential(ADA, "hub", f"u{number}" if number % 2 else "", "p")

        await asyncio.gather(watch(), change())
        assert all(len(digests) == 1 for digests in seen.values())


async def test_a_change_wakes_the_other_process(opening: Open) -> None:
    async with opening("one") as one, opening("two") as two:
        running = [asyncio.ensure_future(made.fleet.run()) for made in (one, two)]
        start = await two.fleet.feed.wait_beyond(Position(0, 0), SOON)
        waiting = asyncio.ensure_future(two.fleet.feed.wait_beyond(start, SOON))
        applied = await do(one.fleet, Upsert(Group("g")))
        assert await waiting == applied.position
        assert await one.fleet.feed.wait_beyond(start, SOON) == applied.position
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def test_waiting_ends_after_its_time(fleet: Fleet) -> None:
    applied = await do(fleet, Upsert(Group("g")))
    assert await fleet.feed.wait_beyond(applied.position, timedelta(milliseconds=10)) == applied.position


async def test_recovery_begins_an_epoch_and_the_log_goes_on(fleet: Fleet) -> None:
    before = (await do(fleet, Upsert(Group("g")))).position
    lost = Position(before.epoch, before.revision + 30)
    assert lost > await fleet.position()
    after = await fleet.recover(ADA)
    assert after == Position(2, 2)
    assert after > lost
    assert (await do(fleet, Upsert(Group("h")))).position == Position(2, 3)
    records = (await fleet.changes(before)).records
    assert [record.position for record in records] == [Position(2, 2), Position(2, 3)]


@pytest.mark.needs_postgres
@pytest.mark.parametrize("url", ["postgres"], indirect=True)  # SQLite has one process
async def test_a_session_taken_over_by_another_process_is_told_to_the_first(opening: Open, url: str) -> None:
    async with opening("one") as one, opening("two") as two:
        await do(one.fleet, *shop())
        await one.fleet.open_session("s1", b"a" * 16, 1)
        await two.fleet.open_session("s1", b"a" * 16, 2)
        lost = (SessionKey("s1", b"a" * 16, 1),)
        assert await one.fleet.lost_sessions() == lost
        assert await one.fleet.lost_sessions() == lost, "an answer may have been lost"
        await two.fleet.forget_lost(lost)
        await one.fleet.open_session("s1", b"a" * 16, 3)
        await two.fleet.open_session("s1", b"a" * 16, 4)
        await one.fleet.forget_lost(lost)
        assert await one.fleet.lost_sessions() == (SessionKey("s1", b"a" * 16, 3),)
        assert await two.fleet.lost_sessions() == (SessionKey("s1", b"a" * 16, 2),)


@pytest.mark.needs_postgres
@pytest.mark.parametrize("url", ["postgres"], indirect=True)
async def test_a_process_that_missed_its_beats_is_told_what_was_taken_over_meanwhile(
    opening: Open, clock: Clock, url: str
) -> None:
    async with opening("one") as one, opening("two") as two:
        await do(one.fleet, *shop())
        await one.fleet.open_session("s1", b"a" * 16, 1)
        clock.advance(timedelta(minutes=1))
        assert (await two.fleet.open_session("s1", b"a" * 16, 2)).superseded is None
        await two.fleet._store.beat(clock())
        await one.fleet._store.beat(clock())
        assert await one.fleet.lost_sessions() == (SessionKey("s1", b"a" * 16, 1),)


async def test_migrating_twice_at_once_is_migrating_once(url: str) -> None:
    await asyncio.gather(*(asyncio.to_thread(migrate, url) for _ in range(3)))


async def test_a_database_of_a_newer_version_is_left_alone(url: str) -> None:
    engine = make_engine(database_url(url))
    newer, known = text("UPDATE alembic_version SET version_num = 'v9999'"), text("SELECT * FROM alembic_version")
    with engine.begin() as connection:
        connection.execute(newer)
    with pytest.raises(FleetError) as refused:
        migrate(url)
    assert (refused.value.kind, refused.value.reason) == (Kind.PRECONDITION, "DATABASE_NEWER")
    with engine.begin() as connection:
        assert connection.execute(known).all() == [("v9999",)]
    engine.dispose()


@pytest.mark.needs_postgres
async def test_migrations_from_empty_at_once_on_postgres(postgres: Postgres) -> None:
    url = postgres.make_database()
    await asyncio.gather(*(asyncio.to_thread(migrate, url) for _ in range(3)))
    store = SqlStore(database := Database(make_engine(database_url(url))), trust_domain="example.org", worker="w")
    assert await store.position() == Position(1, 0)
    database.close()


async def test_migrations_from_empty_at_once_on_sqlite(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new' / 'fleet.db'}"
    await asyncio.gather(*(asyncio.to_thread(migrate, url) for _ in range(3)))
    with sqlite3.connect(tmp_path / "new" / "fleet.db") as connection:
        assert connection.execute("SELECT epoch, revision FROM log_head").fetchall() == [(1, 0)]
        assert connection.execute("PRAGMA journal_mode").fetchall() == [("wal",)]
    connection.close()


@asynccontextmanager
async def private_server(tmp_path: Path, clock: Clock, tags: Tags) -> AsyncIterator[tuple[Postgres, Fleet]]:
    with running_postgres(durable=True) as server:
        url = server.make_database()
        migrate(url)
        async with open_fleet(
            url, private=tmp_path / "p", trust_domain="example.org", resolver=tags, clock=clock
        ) as made:
            yield server, made.fleet


@pytest.mark.needs_postgres
async def test_a_restart_of_postgres_is_survived(tmp_path: Path, clock: Clock, tags: Tags) -> None:
    async with private_server(tmp_path, clock, tags) as (server, fleet):
        await do(fleet, *shop())
        running = asyncio.ensure_future(fleet.run())
        first = await fleet.feed.wait_beyond(Position(0, 0), SOON)
        server.stop()
        for _ in range(3):
            with pytest.raises(FleetError) as caught:
                await do(fleet, Upsert(Group("while-away")))
            assert (caught.value.kind, caught.value.reason) == (Kind.UNAVAILABLE, "STORE_UNAVAILABLE")
        with refused("STORE_UNAVAILABLE"):
            await fleet.desired("s1")
        with refused("STORE_UNAVAILABLE"):
            await fleet.open_session("s1", b"a" * 16, 1)
        server.start()
        applied = await do(fleet, Upsert(Group("after")))
        assert applied.position == Position(1, 2)
        assert await fleet.feed.wait_beyond(first, SOON) == applied.position
        await fleet.open_session("s1", b"a" * 16, 1)
        assert not running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.mark.needs_postgres
async def test_a_restart_between_two_calls_is_noticed_by_neither(tmp_path: Path, clock: Clock, tags: Tags) -> None:
    async with private_server(tmp_path, clock, tags) as (server, fleet):
        await do(fleet, *shop())
        await asyncio.gather(*(fleet.get_satellite("s1") for _ in range(8)))  # several connections are open
        server.stop()
        server.start()
        await asyncio.gather(*(fleet.get_satellite("s1") for _ in range(8)))
        await do(fleet, Upsert(Group("after")))


async def test_a_full_disk_is_said_and_nothing_is_lost(tmp_path: Path, clock: Clock) -> None:
    url = f"sqlite:///{tmp_path / 'fleet.db'}"
    migrate(url)
    engine = make_engine(database_url(url))
    full = 0

    def limit(connection: sqlite3.Connection, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {full}")

    pages = engine.raw_connection()
    full = pages.cursor().execute("PRAGMA page_count").fetchone()[0] + 2  # SQLite itself then says that it is full
    pages.close()
    engine.dispose()
    event.listen(engine, "connect", limit)
    store = SqlStore(database := Database(engine), trust_domain="example.org", worker="w")
    context = Context(ADA, clock())
    written = await store.position()

    async def fill() -> None:
        nonlocal written
        for number in range(200):
            group = Upsert(Group(f"g{number}", description="x" * 500))
            written = (await store.apply(context, [group], dry_run=False)).position

    with pytest.raises(FleetError) as caught:
        await fill()
    assert (caught.value.kind, caught.value.reason) == (Kind.UNAVAILABLE, "STORE_FULL")
    assert await store.position() == written
    database.close()
