"""Single statements of PostgreSQL, run in the event loop.

A statement is of one moment by itself and needs no transaction. Run in a thread, with a session and a connection out of
a pool, it takes three times as long as here, most of it to wake threads: too long between a change and those whom it
concerns.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from sqlalchemy import Engine, Executable

_LOST = (psycopg.OperationalError, psycopg.InterfaceError)


class Glances:
    """Runs one statement after the other on a connection of its own, which it opens when it is first needed."""

    def __init__(self, engine: Engine, conninfo: str) -> None:
        self._engine = engine
        self._conninfo = conninfo
        self._connection: psycopg.AsyncConnection[tuple[Any, ...]] | None = None
        self._compiled: dict[Executable, tuple[bytes, Mapping[str, Any]]] = {}
        self._turn = asyncio.Lock()

    async def rows(self, statement: Executable, parameters: Mapping[str, Any]) -> Sequence[tuple[Any, ...]]:
        """Run a statement, which is kept as it is compiled: one that was made once and for all.

        Raises:
            psycopg.Error: the database does not answer; a connection that was lost meanwhile is opened anew first.
        """
        text, own = self._compiled.get(statement) or self._compile(statement)
        # It is finished also where nobody waits any more: to cancel it would take another connection.
        return await asyncio.shield(self._in_turn(text, {**own, **parameters}))

    async def _in_turn(self, text: bytes, parameters: Mapping[str, Any]) -> Sequence[tuple[Any, ...]]:
        async with self._turn:
            try:
                return await self._run(text, parameters)
            except _LOST:
                self.close()
            return await self._run(text, parameters)

    def _compile(self, statement: Executable) -> tuple[bytes, Mapping[str, Any]]:
        compiled = statement.compile(dialect=self._engine.dialect)  # type: ignore[attr-defined] # of all that is executed
        self._compiled[statement] = compiled.string.encode(), compiled.params
        return self._compiled[statement]

    async def _run(self, text: bytes, parameters: Mapping[str, Any]) -> Sequence[tuple[Any, ...]]:
        if self._connection is None:
            connect = psycopg.AsyncConnection.connect
            self._connection = await connect(self._conninfo, autocommit=True, prepare_threshold=1)
        cursor = await self._connection.execute(text, parameters)
        return await cursor.fetchall()

    def close(self) -> None:
        """Let go of the connection; the next statement opens another."""
        if self._connection is not None:
            self._connection.pgconn.finish()
            self._connection = None
