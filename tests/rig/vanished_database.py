"""`python -m tests.rig.vanished_database`: a database whose packets are lost from one moment on, and come again later.

Run in a network namespace of its own, as root. It prints what became of a read that was being answered, of one that
was asked afterwards, and of one once packets come again:
{"waiting": reason, "asking": reason, "again": no reason}. It ends only once the connection that listens was given up.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import text
from sqlmodel import Session

from controlplane.adapters.feed import ListeningFeed
from controlplane.adapters.sql.engine import Database, conninfo, database_url, make_engine
from controlplane.app.catalog import FEED_HINTS, FEED_LOST
from controlplane.app.meter import Meter
from fleet.errors import FleetError
from fleet.position import Position
from tests.rig.identity import eventually
from tests.rig.postgres import running_postgres


@contextmanager
def lost(port: int) -> Iterator[None]:
    """Lose what goes to a port of this namespace, and what comes from it."""
    rules = [["INPUT", "-p", "tcp", way, str(port), "-j", "DROP"] for way in ("--dport", "--sport")]
    for rule in rules:
        subprocess.run(["iptables", "-A", *rule], check=True)
    try:
        yield
    finally:
        for rule in rules:
            subprocess.run(["iptables", "-D", *rule], check=True)


def ask(session: Session, question: str) -> object:
    return session.connection().execute(text(question)).scalar()


async def reason(database: Database, question: str) -> str:
    try:
        await database.read(lambda session: ask(session, question))
    except FleetError as error:
        return error.reason
    return ""


async def position() -> Position:
    return Position(1, 1)


async def main() -> None:
    """Lose the database once, and say what came of it."""
    meter = Meter()
    with running_postgres() as postgres:
        url = database_url(postgres.make_database())
        database = Database(make_engine(url))
        feed = ListeningFeed(position, conninfo(url), meter=meter)
        following = asyncio.create_task(feed.run())
        waiting = asyncio.create_task(reason(database, "SELECT pg_sleep(600)"))
        await eventually(lambda: meter.counts(FEED_HINTS)[()] > 0)  # it listens
        await asyncio.sleep(1)  # until the read is asked
        with lost(url.port or 0):
            said = {"asking": await reason(database, "SELECT 1"), "waiting": await waiting}
            await eventually(lambda: meter.counts(FEED_LOST)[()] > 0)
        print(json.dumps({**said, "again": await reason(database, "SELECT 1")}))
        following.cancel()
        await asyncio.wait([following])
        database.close()


asyncio.run(main())
