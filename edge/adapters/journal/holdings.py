"""Desired state as it was streamed: held scopes, half deltas, last good payloads, and a few facts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime

from edge.adapters.journal.database import Database
from edge.domain.desired import Good
from edge.domain.holding import Binding, HeldScope, Holding, Resource
from edge.domain.session import Staged
from fleet.digests import resource_version
from fleet.position import Position


class Holdings:
    """Implements `edge.app.journal.StateStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def holding(self) -> Holding:
        """Read all scopes held."""
        resources: dict[str, dict[tuple[int, str], Resource]] = {}
        for scope, kind, name, version, payload, signatures in self._database.rows("SELECT * FROM resource"):
            signed = _read_signatures(signatures)
            resources.setdefault(scope, {})[kind, name] = Resource(kind, name, payload, version, signed)
        return {
            name: HeldScope(digest, generation, precedence, resources.get(name, {}))
            for name, digest, generation, precedence in self._database.rows("SELECT * FROM scope")
        }

    def good(self) -> Good:
        """Read the last of each resource that could be used."""
        rows = self._database.rows("SELECT scope, kind, name, payload, signatures FROM last_good")
        return {
            (scope, kind, name): Resource(
                kind, name, payload, resource_version(kind, payload), _read_signatures(signatures)
            )
            for scope, kind, name, payload, signatures in rows
        }

    def hold(self, before: Holding, after: Holding, good: Good, position: Position) -> None:
        """Replace what is held, in one transaction; what was staged is used up. Only what changed is written."""
        with self._database.transaction() as connection:
            for name in before.keys() - after.keys():
                connection.execute("DELETE FROM resource WHERE scope = ?", (name,))
            connection.execute("DELETE FROM scope")
            rows = [(name, one.digest, one.generation, one.precedence) for name, one in after.items()]
            connection.executemany("INSERT INTO scope VALUES (?, ?, ?, ?)", rows)
            for name, scope in after.items():
                held = before[name].resources if name in before else {}
                gone = [(name, *key) for key in held.keys() - scope.resources.keys()]
                connection.executemany("DELETE FROM resource WHERE scope = ? AND kind = ? AND name = ?", gone)
                new = [_row(name, one) for key, one in scope.resources.items() if held.get(key) != one]
                connection.executemany("INSERT OR REPLACE INTO resource VALUES (?, ?, ?, ?, ?, ?)", new)
            connection.execute("DELETE FROM last_good")
            kept = [(*key, one.payload, _written(one.signatures)) for key, one in good.items()]
            connection.executemany("INSERT INTO last_good VALUES (?, ?, ?, ?, ?)", kept)
            connection.execute("DELETE FROM staged")
            connection.execute("DELETE FROM staged_chunk")
            written = json.dumps([position.epoch, position.revision])
            connection.execute("INSERT OR REPLACE INTO fact VALUES ('position', ?)", (written,))

    def staged(self) -> Mapping[str, Staged]:
        """Read which deltas came in part."""
        query = (
            "SELECT s.*, (SELECT coalesce(sum(length(chunk)), 0) FROM staged_chunk c WHERE c.scope = s.scope)"
            " FROM staged s"
        )
        return {
            scope: Staged(Binding(scope, generation, digest, precedence), origin, delta, size, received)
            for scope, generation, digest, precedence, origin, delta, size, received in self._database.rows(query)
        }

    def stage(self, staged: Staged, chunk: bytes, *, restart: bool) -> None:
        """Keep one more chunk of a delta."""
        bound = staged.binding
        with self._database.transaction() as connection:
            if restart:
                connection.execute("DELETE FROM staged_chunk WHERE scope = ?", (bound.scope,))
            connection.execute(
                "INSERT OR REPLACE INTO staged VALUES (?, ?, ?, ?, ?, ?, ?)",
                (bound.scope, bound.generation, bound.digest, bound.precedence, staged.from_digest,
                 staged.delta_digest, staged.size_bytes),
            )  # fmt: skip
            offset = staged.received_bytes - len(chunk)
            connection.execute("INSERT OR REPLACE INTO staged_chunk VALUES (?, ?, ?)", (bound.scope, offset, chunk))

    def staged_bytes(self, scope: str) -> bytes:
        """Read what came of a scope's delta."""
        rows = self._database.rows("SELECT chunk FROM staged_chunk WHERE scope = ? ORDER BY offset", (scope,))
        return b"".join(row[0] for row in rows)

    def drop_staged(self) -> None:
        """Forget all that was staged."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM staged")
            connection.execute("DELETE FROM staged_chunk")

    def position(self) -> Position | None:
        """Read the last position that Ground Control told."""
        written = self._fact("position")
        return Position(*json.loads(written)) if written else None

    def adopt(self, position: Position) -> None:
        """Remember a position at which what is held was found right."""
        if position != self.position():
            self._remember("position", json.dumps([position.epoch, position.revision]))

    def enforced(self) -> bytes:
        """Read the state digest that was last enforced in full; empty before the first."""
        return bytes.fromhex(self._fact("enforced"))

    def remember_enforced(self, digest: bytes) -> None:
        """Remember a state digest that is enforced in full."""
        self._remember("enforced", digest.hex())

    def revocation_epoch(self) -> int:
        """Read the highest serial of a block that was ever in force; zero before the first."""
        return int(self._fact("revocation_epoch") or 0)

    def reach_revocation_epoch(self, serial: int) -> None:
        """Remember a serial that is in force, where it is higher than what is known."""
        if serial > self.revocation_epoch():
            self._remember("revocation_epoch", str(serial))

    def clock_floor(self) -> datetime | None:
        """Read the latest time that an authenticated Ground Control told."""
        written = self._fact("clock_floor")
        return datetime.fromisoformat(written) if written else None

    def remember_clock_floor(self, floor: datetime) -> None:
        """Remember a later one."""
        self._remember("clock_floor", floor.isoformat())

    def is_revoked(self) -> bool:
        """Say whether Ground Control has turned us away and not yet taken us back."""
        return self._fact("revoked") == "yes"

    def remember_revoked(self, *, is_revoked: bool) -> None:
        """Remember it, so that a restart does not serve what it should not."""
        if is_revoked != self.is_revoked():
            self._remember("revoked", "yes" if is_revoked else "no")

    def _fact(self, name: str) -> str:
        rows = self._database.rows("SELECT value FROM fact WHERE name = ?", (name,))
        return next((str(row[0]) for row in rows), "")

    def _remember(self, name: str, value: str) -> None:
        self._database.write("INSERT OR REPLACE INTO fact VALUES (?, ?)", [(name, value)])


def _row(scope: str, one: Resource) -> tuple[str, int, str, bytes, bytes, str]:
    return (scope, one.kind, one.name, one.version, one.payload, _written(one.signatures))


def _written(signatures: Iterable[tuple[bytes, bytes]]) -> str:
    return json.dumps([[key.hex(), value.hex()] for key, value in signatures])


def _read_signatures(text: str) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((bytes.fromhex(key), bytes.fromhex(value)) for key, value in json.loads(text))
