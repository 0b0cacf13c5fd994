"""The logs of the data plane: intents, which must never be lost, transfers, which are hints, and the link's traffic."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from edge.adapters.journal.database import Database
from edge.app.ports import OpenBlob
from fleet.reference import Digest

_PUT = "INSERT OR REPLACE INTO intent VALUES (?, ?, ?, 'put')"
KEPT_QUARTERS = 2 * 40 * 24 * 4
"""Those of a month, and as many that may have been counted while the clock was wrong."""
_STATE = "UPDATE intent SET state = ? WHERE repository = ? AND reference = ?"


class Intents:
    """Implements `edge.app.ports.IntentLog`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def intend_put(self, repository: str, references: Mapping[str, Digest]) -> None:
        """Record what each reference is about to stand for."""
        self._database.write(_PUT, [(repository, reference, digest) for reference, digest in references.items()])

    def put_done(self, repository: str, references: Collection[str]) -> None:
        """Record that the registry took them.

        Not waited for: where it is lost with the power, the intent still says that they are ours.
        """
        self._database.write_soon(_STATE, [("there", repository, reference) for reference in references])

    def intend_delete(self, repository: str, references: Collection[str]) -> None:
        """Record that they are about to go."""
        statement = (
            "INSERT INTO intent VALUES (?, ?, '', 'delete') "
            "ON CONFLICT (repository, reference) DO UPDATE SET state = 'delete'"
        )
        self._database.write(statement, [(repository, reference) for reference in references])

    def delete_done(self, repository: str, references: Collection[str]) -> None:
        """Record that they are gone."""
        statement = "DELETE FROM intent WHERE repository = ? AND reference = ?"
        self._database.write(statement, [(repository, reference) for reference in references])

    def is_ours(self, repository: str, reference: str) -> bool:
        """Say whether it was ever intended here and is not known to be gone."""
        query = "SELECT 1 FROM intent WHERE repository = ? AND reference = ?"
        return bool(self._database.rows(query, (repository, reference)))

    def ours(self) -> Mapping[str, Collection[str]]:
        """List what is ours: `repository → references`."""
        found: dict[str, list[str]] = {}
        for repository, reference in self._database.rows("SELECT repository, reference FROM intent"):
            found.setdefault(repository, []).append(reference)
        return found


class Transfers:
    """Implements `edge.app.ports.TransferLog`; a blob of a large image is not worth a wait for the disk."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def upload(self, repository: str, digest: Digest) -> str:
        """Say where the open upload of a blob goes on, or the empty string."""
        query = "SELECT location FROM upload WHERE repository = ? AND digest = ?"
        return next((str(row[0]) for row in self._database.rows(query, (repository, digest))), "")

    def upload_opened(self, repository: str, digest: Digest, location: str) -> None:
        """Remember an upload."""
        self._database.write_soon("INSERT OR REPLACE INTO upload VALUES (?, ?, ?)", [(repository, digest, location)])

    def upload_closed(self, repository: str, digest: Digest) -> None:
        """Forget an upload."""
        self._database.write_soon("DELETE FROM upload WHERE repository = ? AND digest = ?", [(repository, digest)])

    def open_uploads(self) -> Collection[OpenBlob]:
        """List the uploads that are open."""
        rows = self._database.rows("SELECT repository, digest, location FROM upload")
        return [OpenBlob(repository, Digest(digest), location) for repository, digest, location in rows]

    def blobs_stored(self, repository: str, digests: Collection[Digest]) -> None:
        """Remember that a repository has blobs."""
        self._database.write_soon("INSERT OR IGNORE INTO blob VALUES (?, ?)", [(one, repository) for one in digests])

    def blob_gone(self, repository: str, digest: Digest) -> None:
        """Forget it."""
        self._database.write_soon("DELETE FROM blob WHERE digest = ? AND repository = ?", [(digest, repository)])

    def blob_lost(self, digest: Digest) -> None:
        """Forget it of every repository."""
        self._database.write_soon("DELETE FROM blob WHERE digest = ?", [(digest,)])

    def blob_origin(self, digest: Digest) -> str:
        """Name one repository that has the blob, or the empty string."""
        rows = self._database.rows("SELECT repository FROM blob WHERE digest = ? LIMIT 1", (digest,))
        return next((str(row[0]) for row in rows), "")


class Traffic:
    """Implements `edge.app.ports.TrafficLog`."""

    def __init__(self, database: Database) -> None:
        """Forget what no month can ask for any more: by number, for a clock that is wrong must not say what is old."""
        self._database = database
        old = (
            "DELETE FROM traffic WHERE quarter <= (SELECT quarter FROM traffic ORDER BY quarter DESC LIMIT 1 OFFSET ?)"
        )
        database.write_soon(old, [(KEPT_QUARTERS,)])

    def count(self, quarter: int, size_bytes: int) -> None:
        """Add bytes to a quarter."""
        statement = (
            "INSERT INTO traffic VALUES (?, ?) "
            "ON CONFLICT (quarter) DO UPDATE SET size_bytes = size_bytes + excluded.size_bytes"
        )
        self._database.write_soon(statement, [(quarter, size_bytes)])

    def traffic(self, first: int, last: int) -> int:
        """Add up quarters."""
        query = "SELECT COALESCE(SUM(size_bytes), 0) FROM traffic WHERE quarter BETWEEN ? AND ?"
        return int(self._database.rows(query, (first, last))[0][0])
