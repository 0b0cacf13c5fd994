"""Ground Controls of several versions on one database: who may start, and what goes on."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from tests.rig.ground_control import GroundControl
from tests.rig.postgres import Postgres
from tests.rig.replicas import own_authority, replica
from tests.rig.satctl import Satctl

pytestmark = pytest.mark.needs_postgres


def make_newer(url: str) -> None:
    """Have a newer version been at the database."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v9999'")


async def test_two_that_start_at_once_on_an_empty_database_both_serve(tmp_path: Path, postgres: Postgres) -> None:
    url = postgres.make_database()
    with own_authority(tmp_path / "authority") as authority, ExitStack() as running:
        both = [replica(tmp_path, name, authority, url, workers=1) for name in ("one", "other")]
        for each in both:
            running.callback(each.stop)
        await asyncio.gather(*(asyncio.to_thread(each.start) for each in both))
        for each in both:
            admin = Satctl(tmp_path / f"admin-of-{each.directory.name}")
            await asyncio.to_thread(admin.ok, "login", each.operator_string())
            assert await asyncio.to_thread(admin.json, "status")


async def test_one_of_an_older_version_serves_on_and_is_not_started_again(tmp_path: Path, postgres: Postgres) -> None:
    url = postgres.make_database()
    with GroundControl(tmp_path, {"database_url": url, "workers": "1"}) as older:
        before = older.workers()
        admin = Satctl(tmp_path / "admin")
        await asyncio.to_thread(admin.ok, "login", older.operator_string())
        make_newer(url)
        failed = await asyncio.to_thread(older.run, "reload")
        assert (failed.returncode, "RELOAD_FAILED" in failed.stderr) == (4, True)
        await asyncio.to_thread(admin.ok, "group", "create", "shops")
        assert older.workers() == before
        started = await asyncio.to_thread(older.run, "migrate")
        assert (started.returncode, "DATABASE_NEWER" in started.stderr) == (1, True)
