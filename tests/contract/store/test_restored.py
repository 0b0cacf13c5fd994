"""What failovers and restores do to a running process: no part of a log that is gone stays, and nothing ends it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

import psycopg
import pytest

from controlplane.app.fleet import Fleet
from controlplane.app.roster import RosterKeeper
from controlplane.domain.commands import Command, Upsert
from controlplane.domain.entities import Assignment
from fleet.errors import FleetError
from tests.contract.store.conftest import Clock, Open
from tests.contract.store.words import ADA, D1, D2, do, known, refused, shop
from tests.rig.postgres import Postgres

SHOPS = "group/shops"
LOST = 3

pytestmark = pytest.mark.needs_postgres


@pytest.fixture
def url(postgres: Postgres, template: str) -> str:
    """A database of PostgreSQL's alone: nobody restores SQLite's under a running process."""
    return postgres.make_database(template=template)


class Base:
    """One database, as those see it who run the server."""

    def __init__(self, server: Postgres, url: str) -> None:
        self._server, self._name = server, url.rpartition("/")[2]

    def be_standby(self, *, standby: bool) -> None:
        """Take no writes, as a standby does until it is promoted."""
        self._do(f"ALTER DATABASE {self._name} SET default_transaction_read_only = {'on' if standby else 'off'}")

    def lose_table(self, *, lost: bool) -> None:
        """Have no log, as while a dump is being loaded."""
        with psycopg.connect(self._server.url(self._name), autocommit=True) as connection:
            names = ("log_head", "log_head_away") if lost else ("log_head_away", "log_head")
            connection.execute("ALTER TABLE {} RENAME TO {}".format(*names).encode())

    def copy(self) -> None:
        """Copy it."""
        self._do(f"CREATE DATABASE {self._name}_then TEMPLATE {self._name}")

    def restore(self) -> None:
        """Put the copy in its place."""
        self._do(f"DROP DATABASE {self._name}", f"ALTER DATABASE {self._name}_then RENAME TO {self._name}")

    def _do(self, *statements: str) -> None:
        with psycopg.connect(self._server.url("postgres"), autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS false".encode())
            try:
                while connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (self._name,)
                ).rowcount:
                    pass
                for statement in statements:
                    connection.execute(statement.encode())
            finally:
                connection.execute(f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS true".encode())


async def patiently(fleet: Fleet, command: Command) -> None:
    """Write as somebody who tries again."""
    while True:
        try:
            await do(fleet, command)
        except FleetError as error:
            if error.reason != "STORE_UNAVAILABLE":
                raise
            await asyncio.sleep(0.1)
        else:
            return


async def heard_of(roster: RosterKeeper, other: Fleet) -> None:
    """Wait until a process knows what is."""

    async def does_it() -> bool:
        with suppress(FleetError):
            return await roster.desired("s1") == await other.desired("s1")
        return False

    async with asyncio.timeout(15):
        while not await does_it():  # noqa: ASYNC110 - nothing tells when
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("written", [0, 1, LOST - 1, LOST + 1, LOST + 3])
async def test_nothing_of_the_log_that_is_gone_stays(
    opening: Open, url: str, postgres: Postgres, clock: Clock, written: int
) -> None:
    base = Base(postgres, url)
    async with opening("one") as one, known(one.fleet) as roster:
        await do(one.fleet, *shop())
        await one.fleet.approve(ADA, "s1")
        before = {each.scope: each for each in (await roster.desired("s1")).bindings}[SHOPS]
        await asyncio.to_thread(base.copy)
        for number in range(LOST):
            clock.advance(timedelta(seconds=1))
            await patiently(one.fleet, Upsert(Assignment(f"hub/library/lost-{number}:1@{D1}", SHOPS)))
            lost = {each.scope: each for each in (await roster.desired("s1")).bindings}[SHOPS]
            await one.fleet.delta(SHOPS, before.digest, lost.generation)
        await asyncio.to_thread(base.restore)
        async with opening("two") as two:
            for number in range(written):
                clock.advance(timedelta(seconds=1))
                await patiently(two.fleet, Upsert(Assignment(f"hub/library/new-{number}:1@{D2}", SHOPS)))
            await heard_of(roster, two.fleet)
            truth = await two.fleet.desired("s1")
            now = {each.scope: each for each in truth.bindings}[SHOPS]
            for generation in range(before.generation + 1, now.generation + 1):
                step = (SHOPS, before.digest, generation)
                assert await one.fleet.delta(*step) == await two.fleet.delta(*step)


@pytest.mark.parametrize("trouble", [Base.be_standby, Base.lose_table])
async def test_a_database_that_does_not_answer_as_it_should_for_a_while_ends_nothing(
    opening: Open, url: str, postgres: Postgres, trouble: Callable[..., None]
) -> None:
    base, (argument,) = Base(postgres, url), inspect.signature(trouble).parameters.keys() - {"self"}
    async with opening("one") as one, known(one.fleet) as roster:
        await do(one.fleet, *shop())
        await one.fleet.approve(ADA, "s1")
        await asyncio.to_thread(trouble, base, **{argument: True})
        await asyncio.sleep(3)  # polls, beats and surveys come meanwhile
        with refused("STORE_UNAVAILABLE"):
            await do(one.fleet, Upsert(Assignment(f"hub/library/app:1@{D1}", SHOPS)))
        await asyncio.to_thread(trouble, base, **{argument: False})
        async with opening("two") as two:
            await patiently(two.fleet, Upsert(Assignment(f"hub/library/app:1@{D1}", SHOPS)))
            await heard_of(roster, two.fleet)
