"""The journal's file: opened whole or set aside, written durably, usable from many threads.

WAL with synchronous=FULL: a commit that returned is on disk. One connection under one lock: transactions are short,
and SQLite has one writer anyway.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from fleet.errors import FleetError, Kind

_log = structlog.get_logger(__name__)

_UPGRADES = (
    # 2: what came over the link, for budgets of bytes.
    "CREATE TABLE traffic (quarter INTEGER PRIMARY KEY, size_bytes INTEGER NOT NULL);",
    # 3: since when an edition is admitted, and what policies only warn of.
    "ALTER TABLE edition ADD COLUMN admitted_at TEXT; ALTER TABLE edition ADD COLUMN warnings TEXT;",
    # 4: who signed what was last good.
    "ALTER TABLE last_good ADD COLUMN signatures TEXT NOT NULL DEFAULT '[]';",
    # 5: which editions were whole and lack something.
    "ALTER TABLE edition ADD COLUMN mending INTEGER NOT NULL DEFAULT 0;",
)
"""What leads from each version of the schema to the next, beginning with the first."""
SCHEMA_VERSION = 1 + len(_UPGRADES)
_SCHEMA = """
CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE scope (
    name TEXT PRIMARY KEY, digest BLOB NOT NULL, generation INTEGER NOT NULL, precedence INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE resource (
    scope TEXT NOT NULL, kind INTEGER NOT NULL, name TEXT NOT NULL, version BLOB NOT NULL, payload BLOB NOT NULL,
    signatures TEXT NOT NULL, PRIMARY KEY (scope, kind, name)
) WITHOUT ROWID;
CREATE TABLE last_good (
    scope TEXT NOT NULL, kind INTEGER NOT NULL, name TEXT NOT NULL, payload BLOB NOT NULL,
    PRIMARY KEY (scope, kind, name)
) WITHOUT ROWID;
CREATE TABLE staged (
    scope TEXT PRIMARY KEY, generation INTEGER NOT NULL, digest BLOB NOT NULL, precedence INTEGER NOT NULL,
    from_digest BLOB NOT NULL, delta_digest BLOB NOT NULL, size_bytes INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE staged_chunk (
    scope TEXT NOT NULL, offset INTEGER NOT NULL, chunk BLOB NOT NULL, PRIMARY KEY (scope, offset)
);
CREATE TABLE edition (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, source TEXT NOT NULL, repository TEXT NOT NULL,
    local_repository TEXT NOT NULL, digest TEXT NOT NULL, platforms TEXT NOT NULL,
    policy BLOB, trust BLOB, block BLOB, dossier BLOB NOT NULL, size_bytes INTEGER NOT NULL,
    begun INTEGER NOT NULL DEFAULT 0, published INTEGER NOT NULL DEFAULT 0,
    UNIQUE (name, source, repository, local_repository, digest, platforms)
);
CREATE TABLE tag (
    repository TEXT NOT NULL, tag TEXT NOT NULL, digest TEXT NOT NULL, PRIMARY KEY (repository, tag)
) WITHOUT ROWID;
CREATE TABLE intent (
    repository TEXT NOT NULL, reference TEXT NOT NULL, digest TEXT NOT NULL, state TEXT NOT NULL,
    PRIMARY KEY (repository, reference)
) WITHOUT ROWID;
CREATE TABLE upload (
    repository TEXT NOT NULL, digest TEXT NOT NULL, location TEXT NOT NULL, PRIMARY KEY (repository, digest)
) WITHOUT ROWID;
CREATE TABLE blob (
    digest TEXT NOT NULL, repository TEXT NOT NULL, PRIMARY KEY (digest, repository)
) WITHOUT ROWID;
"""


class Database:
    """One SQLite file behind one lock."""

    def __init__(self, path: Path) -> None:
        """Open or make the file.

        Raises:
            FleetError: CORRUPT `JOURNAL_CORRUPT`; PRECONDITION `JOURNAL_NEWER`; UNAVAILABLE `JOURNAL_FULL`.
        """
        self._path = path
        self._lock = threading.RLock()
        path.touch(mode=0o600)
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        try:
            with translated(path):
                self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self) -> None:
        run = self._connection.execute
        run("PRAGMA journal_mode=WAL")
        run("PRAGMA synchronous=FULL")
        run("PRAGMA cache_size=-1024")
        version = int(run("PRAGMA user_version").fetchone()[0])
        if version > SCHEMA_VERSION:
            text = "the journal was written by a newer satellite: upgrade this one"
            raise FleetError(Kind.PRECONDITION, "JOURNAL_NEWER", text, subject=str(self._path))
        if version < SCHEMA_VERSION:
            steps = "".join(_UPGRADES[max(version, 1) - 1 :])
            begin = "" if version else _SCHEMA
            self._connection.executescript(f"BEGIN; {begin} {steps} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;")
        found = run("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise corrupt(self._path, str(found))

    def close(self) -> None:
        """Close the file; what was committed stays."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write several rows at once or none; durable when the block ends.

        Raises:
            FleetError: CORRUPT `JOURNAL_CORRUPT`; UNAVAILABLE `JOURNAL_FULL`.
        """
        with self._lock, translated(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                self._connection.rollback()  # a commit that found the disk full leaves its transaction open
                raise

    def write(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        """Run one statement for each row in one transaction; without rows nothing is written."""
        if rows:
            with self.transaction() as connection:
                connection.executemany(statement, rows)

    def write_soon(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        """Write as `write` does, without waiting for the disk: kept when we are killed, perhaps not when power fails.

        For hints. What is written durably later takes along what was written so before.
        """
        with self._lock:
            self._connection.execute("PRAGMA synchronous=NORMAL")
            try:
                self.write(statement, rows)
            finally:
                self._connection.execute("PRAGMA synchronous=FULL")

    def rows(self, query: str, arguments: Sequence[object] = ()) -> list[Any]:
        """Read all rows of a query."""
        with self._lock, translated(self._path):
            return self._connection.execute(query, arguments).fetchall()


def corrupt(path: Path, detail: str) -> FleetError:
    """Make the error for a journal that cannot be relied on."""
    text = "the journal is damaged: it is set aside, and the satellite starts from nothing"
    return FleetError(Kind.CORRUPT, "JOURNAL_CORRUPT", text, subject=str(path), detail=detail[:400])


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into ours."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if "full" in str(error) or "disk I/O" in str(error):
            text = "the journal cannot be written: free some space"
            raise FleetError(Kind.UNAVAILABLE, "JOURNAL_FULL", text, subject=str(path), detail=str(error)) from error
        raise
    except sqlite3.DatabaseError as error:
        raise corrupt(path, str(error)) from error


def set_aside(path: Path) -> Path:
    """Move a damaged journal away for a person to look at: `path → its new name`."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    for suffix in ("-wal", "-shm"):
        side = path.with_name(path.name + suffix)
        if side.exists():
            side.replace(aside.with_name(aside.name + suffix))
    path.replace(aside)
    _log.error("journal.set_aside", reason="JOURNAL_CORRUPT", path=str(aside))
    return aside
