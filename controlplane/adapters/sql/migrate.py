"""Bring a database to this version's tables: once, before anything is served, under a lock.

Importable without grpc, so that the supervisor can do it before it starts its processes.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.engine import URL

from controlplane.adapters.sql.engine import database_url, make_engine, translated
from fleet.errors import FleetError, Kind

_LOCK = 0x666C656574  # "fleet": PostgreSQL's advisory lock of all migrations of this product


def migrate(url: str) -> None:
    """Upgrade the database; nothing where it is up to date already.

    Raises:
        FleetError: MALFORMED `DATABASE_URL_MALFORMED`; PRECONDITION `DATABASE_NEWER` where a newer version has been
            at it; UNAVAILABLE `STORE_UNAVAILABLE`, `STORE_FULL`.
    """
    parsed = database_url(url)
    with translated(), _file_lock(parsed):
        engine = make_engine(parsed)
        try:
            with engine.execution_options(fleet_writing=True).begin() as connection:
                if connection.dialect.name == "postgresql":
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
                _upgrade(connection)
        finally:
            engine.dispose()


def _upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    _check_known(config, connection)
    command.upgrade(config, "head")


def _check_known(config: Config, connection: Connection) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    found = set(MigrationContext.configure(connection).get_current_heads())
    if found - known:
        text_ = "a newer version has been at this database: start that version, or restore a backup from before it"
        raise FleetError(Kind.PRECONDITION, "DATABASE_NEWER", text_, subject=", ".join(sorted(found - known)))


@contextmanager
def _file_lock(url: URL) -> Iterator[None]:
    """Hold a lock beside a SQLite file: two that start at once must not both find it empty."""
    if url.get_backend_name() != "sqlite" or not url.database:
        yield
        return
    path = Path(url.database)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(path.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
