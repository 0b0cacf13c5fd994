"""Editions in the journal: what was admitted and by which rules, what may be in the registry, and the tags."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime

import structlog

from edge.adapters.journal.database import Database
from edge.adapters.journal.dossiers import read_dossier, write_dossier
from edge.domain.admission import Dossier, Warned
from edge.domain.plan import Edition, LocalTag, RuleVersions, Site
from fleet.errors import FleetError
from fleet.reference import Digest

_log = structlog.get_logger(__name__)

_COLUMNS = "name, source, repository, local_repository, digest, platforms"
_IS = "name = ? AND source = ? AND repository = ? AND local_repository = ? AND digest = ? AND platforms = ?"


def _key(edition: Edition) -> tuple[str, ...]:
    return (
        edition.name,
        edition.source,
        edition.repository,
        edition.local_repository,
        edition.digest,
        json.dumps(edition.platforms),
    )


def _edition(row: Sequence[str]) -> Edition:
    name, source, repository, local_repository, digest, platforms = row[:6]
    return Edition(name, source, repository, local_repository, Digest(digest), _platforms(platforms))


def _platforms(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text)) if text != "[]" else ()


def _written(warnings: Iterable[Warned]) -> str | None:
    return json.dumps([[one.policy, one.reason, one.text] for one in warnings]) if warnings else None


def _read_warnings(text: str) -> tuple[Warned, ...]:
    return tuple(Warned(*one) for one in json.loads(text))


def _refuse(connection: sqlite3.Connection, edition: Edition) -> None:
    connection.execute(f"DELETE FROM edition WHERE {_IS} AND NOT begun", _key(edition))  # noqa: S608 - constants
    connection.execute(
        f"UPDATE edition SET policy = NULL, trust = NULL, block = NULL, admitted_at = NULL WHERE {_IS}",  # noqa: S608 - constants
        _key(edition),
    )


def _withdraw(connection: sqlite3.Connection, edition: Edition) -> None:
    connection.execute(f"UPDATE edition SET published = 0, mending = 0 WHERE {_IS}", _key(edition))  # noqa: S608 - constants


class Editions:
    """Implements `edge.app.journal.EditionStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._writes = 0
        self._read: tuple[int, Site] | None = None
        """The site as it was read after so many writes."""

    def site(self) -> Site:
        """Say what the journal knows of the site: read once after each write, for it is asked much more often."""
        writes, read = self._writes, self._read
        if read is None or read[0] != writes:
            read = self._read = (writes, self._read_site())
        return read[1]

    def _read_site(self) -> Site:
        query = f"SELECT {_COLUMNS}, policy, trust, block, begun, published, mending FROM edition"  # noqa: S608 - constants
        found = [(_edition(row), *row[6:]) for row in self._database.rows(query)]
        times = f"SELECT {_COLUMNS}, admitted_at FROM edition WHERE admitted_at NOTNULL AND policy NOTNULL"  # noqa: S608 - constants
        warned = f"SELECT {_COLUMNS}, warnings FROM edition WHERE warnings NOTNULL AND policy NOTNULL"  # noqa: S608 - constants
        tags = self._database.rows("SELECT repository, tag, digest FROM tag")
        return Site(
            admitted={
                edition: RuleVersions(*versions) for edition, *versions, _, _, _ in found if versions[0] is not None
            },
            begun=frozenset(edition for edition, *_, begun, _, _ in found if begun),
            published=frozenset(edition for edition, *_, published, _ in found if published),
            mending=frozenset(edition for edition, *_, mending in found if mending),
            tags={(repository, tag): Digest(digest) for repository, tag, digest in tags},
            admitted_at={_edition(row): datetime.fromisoformat(row[6]) for row in self._database.rows(times)},
            warned={_edition(row): _read_warnings(row[6]) for row in self._database.rows(warned)},
        )

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Write in one transaction; what was read before does not count afterwards, whether it succeeded or not."""
        try:
            with self._database.transaction() as connection:
                yield connection
        finally:
            with self._lock:
                self._writes += 1

    def _write(self, statement: str, row: Sequence[object]) -> None:
        with self._writing() as connection:
            connection.execute(statement, row)

    def admit(
        self, edition: Edition, dossier: Dossier, rules: RuleVersions, *, at: datetime, warnings: Sequence[Warned] = ()
    ) -> None:
        """Record a verdict that admits, with all that it rests on; `at` counts where it was not admitted before."""
        statement = (
            f"INSERT INTO edition ({_COLUMNS}, policy, trust, block, admitted_at, warnings, dossier, size_bytes) "  # noqa: S608 - constants
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
            f"ON CONFLICT ({_COLUMNS}) DO UPDATE SET policy = excluded.policy, trust = excluded.trust, "
            "block = excluded.block, admitted_at = coalesce(admitted_at, excluded.admitted_at), "
            "warnings = excluded.warnings, dossier = excluded.dossier, size_bytes = excluded.size_bytes"
        )
        size = sum(blob.size_bytes for blob in dossier.blobs)
        verdict = (rules.policy, rules.trust, rules.block, at.isoformat(), _written(warnings))
        self._write(statement, (*_key(edition), *verdict, write_dossier(dossier), size))

    def settle(
        self, admitted: Mapping[Edition, tuple[Warned, ...]], refused: Iterable[Edition], rules: RuleVersions
    ) -> None:
        """Record verdicts by stored evidence, all of them at once: the evidence stays as it is."""
        passed = f"UPDATE edition SET policy = ?, trust = ?, block = ?, warnings = ? WHERE {_IS} AND policy NOTNULL"  # noqa: S608 - constants
        versions = (rules.policy, rules.trust, rules.block)
        with self._writing() as connection:
            rows = [(*versions, _written(warnings), *_key(one)) for one, warnings in admitted.items()]
            connection.executemany(passed, rows)
            for edition in refused:
                _refuse(connection, edition)

    def refuse(self, edition: Edition) -> None:
        """Record that it is admitted no more; what may be in the registry is kept in mind until withdrawn."""
        with self._writing() as connection:
            _refuse(connection, edition)

    def begin(self, edition: Edition) -> None:
        """Record that something of it may be in the registry from now on."""
        self._write(f"UPDATE edition SET begun = 1 WHERE {_IS}", _key(edition))  # noqa: S608 - constants

    def publish(self, edition: Edition, tag: str) -> None:
        """Record that it is whole in the registry, and which tag stands for it now."""
        with self._writing() as connection:
            whole = f"UPDATE edition SET begun = 1, published = 1, mending = 0 WHERE {_IS}"  # noqa: S608 - constants
            connection.execute(whole, _key(edition))
            if tag:
                row = (edition.local_repository, tag, edition.digest)
                connection.execute("INSERT OR REPLACE INTO tag VALUES (?, ?, ?)", row)

    def miss(self, edition: Edition) -> None:
        """Record that something of it is missing in the registry; what was whole is mended."""
        lacking = f"UPDATE edition SET mending = mending OR published, published = 0 WHERE {_IS}"  # noqa: S608 - constants
        self._write(lacking, _key(edition))

    def withdraw(self, edition: Edition) -> None:
        """Record that it is being removed from the registry: nothing of it counts from now on."""
        with self._writing() as connection:
            _withdraw(connection, edition)

    def forget(self, edition: Edition, tags: Sequence[str]) -> None:
        """Record that it is gone from the registry, and its tags with it."""
        with self._writing() as connection:
            connection.execute(f"DELETE FROM edition WHERE {_IS}", _key(edition))  # noqa: S608 - constants
            gone = [(edition.local_repository, tag, edition.digest) for tag in tags]
            connection.executemany("DELETE FROM tag WHERE repository = ? AND tag = ? AND digest = ?", gone)

    def retag(self, tag: LocalTag, digest: Digest | None) -> None:
        """Record what a tag stands for now, None for nothing."""
        if digest is None:
            self._write("DELETE FROM tag WHERE repository = ? AND tag = ?", tag)
        else:
            self._write("INSERT OR REPLACE INTO tag VALUES (?, ?, ?)", (*tag, digest))

    def dossier(self, edition: Edition) -> Dossier | None:
        """Read the dossier of an edition, without tags; None where there is none, or none that can be read."""
        rows = self._database.rows(f"SELECT dossier FROM edition WHERE {_IS}", _key(edition))  # noqa: S608 - constants
        return next((self._readable(edition, row[0]) for row in rows), None)

    def _readable(self, edition: Edition, stored: bytes) -> Dossier | None:
        """Read a dossier; one that is damaged speaks for nothing any more, and is to be judged afresh."""
        try:
            return read_dossier(stored)
        except FleetError as error:
            _log.error("dossier.damaged", artifact=edition.name, digest=edition.digest, detail=error.detail)
            with self._writing() as connection:
                _refuse(connection, edition)
                _withdraw(connection, edition)
            return None

    def size_bytes(self, edition: Edition) -> int:
        """Say how many bytes its blobs have, 0 where that is not known yet."""
        rows = self._database.rows(f"SELECT size_bytes FROM edition WHERE {_IS}", _key(edition))  # noqa: S608 - constants
        return next((int(row[0]) for row in rows), 0)

    def walk(self) -> Iterator[tuple[Edition, Dossier]]:
        """Walk all that may be in the registry: one at a time, dossiers are large."""
        for (key,) in self._database.rows("SELECT id FROM edition WHERE begun"):
            yield from self._where("id = ?", key)

    def neighbours(self, repository: str) -> Iterator[tuple[Edition, Dossier]]:
        """Walk what may be in one repository of the registry."""
        yield from self._where("local_repository = ? AND begun", repository)

    def _where(self, condition: str, value: object) -> Iterator[tuple[Edition, Dossier]]:
        query = f"SELECT {_COLUMNS}, dossier FROM edition WHERE {condition}"  # noqa: S608 - constants
        for row in self._database.rows(query, (value,)):
            edition = _edition(row)
            if dossier := self._readable(edition, row[6]):
                yield edition, dossier
