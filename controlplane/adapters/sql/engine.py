"""The database as two ways in, reading and writing, off the event loop; failures come out as FleetErrors."""

from __future__ import annotations

import asyncio
import select
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import psycopg
from sqlalchemy import Connection, Dialect, Engine, Executable, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, InvalidatePoolError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlmodel import Session

from controlplane.adapters.sql.database_meter import READ, WRITE, DatabaseMeter
from controlplane.adapters.sql.glancing import Glances
from controlplane.app.meter import Meter
from controlplane.app.tracing import NoTracer, Tracer
from fleet.errors import FleetError, Kind, malformed

T = TypeVar("T")

READERS = 4
"""Threads that read; the interpreter's lock makes more of them useless."""
WRITERS_POSTGRES = 4
BUSY_S = 10
"""How long a writer of SQLite waits for another process's transaction (a backup, `ground-control recover`)."""
_CONNECTING = {
    "application_name": "ground-control",
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "25000",
}
"""What a URL of PostgreSQL says where it does not say otherwise (libpq, section 34.1.2): a server that vanished without
a word, as in a failover, is given up within 25 s, and not when the kernel's two hours have passed."""
_RETRY = timedelta(seconds=2)
_ATTEMPTS = 3
_LOST_RACES = (
    sqlite3.IntegrityError,
    psycopg.errors.UniqueViolation,
    psycopg.errors.ForeignKeyViolation,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
)
_AWAY = (
    sqlite3.OperationalError,
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg.errors.UndefinedTable,
)
"""What is said while a connection is gone, a standby is not yet promoted, or a backup is being restored."""
_FULL = "database or disk is full"


def database_url(text: str) -> URL:
    """Read a database URL: `sqlite:///path` or `postgresql://...`, served by psycopg 3.

    Raises:
        FleetError: MALFORMED `DATABASE_URL_MALFORMED`, `DATABASE_UNSUPPORTED`.
    """
    try:
        url = make_url(text)
    except SQLAlchemyError as error:
        raise malformed("DATABASE_URL_MALFORMED", "not a database URL") from error
    match url.get_backend_name():
        case "sqlite":
            return url.set(drivername="sqlite")
        case "postgresql" | "postgres":
            given = {key: value for key, value in _CONNECTING.items() if key not in url.query}
            return url.set(drivername="postgresql+psycopg").update_query_dict(given)
        case _:
            raise malformed("DATABASE_UNSUPPORTED", "the database is sqlite:///FILE or postgresql://...")


def conninfo(url: URL) -> str:
    """Write a database URL as libpq reads it."""
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def make_engine(url: URL) -> Engine:
    """Open an engine whose transactions begin when they say so."""
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, pool_size=READERS + 1, max_overflow=1, connect_args={"timeout": BUSY_S})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    # The connection that was used last has its statements prepared, which is done when one comes for the second time.
    engine = create_engine(
        url,
        pool_size=READERS + WRITERS_POSTGRES,
        max_overflow=1,
        pool_timeout=10,
        pool_use_lifo=True,
        connect_args={"prepare_threshold": 1},
    )
    event.listen(engine, "checkout", partial(_look, engine.dialect))
    return engine


def _look(dialect: Dialect, connection: Any, _record: object, _proxy: object) -> None:  # noqa: ANN401 the driver's
    """Notice, before a transaction begins, that the server went away: it said so, or hung up.

    A server that waits for a statement says nothing, so silence needs no answer to be asked for: that would be one
    round trip in five.
    """
    socket = select.poll()
    try:
        socket.register(connection.fileno(), select.POLLIN)
        if socket.poll(0):
            dialect.do_ping(connection)
    except dialect.loaded_dbapi.Error as error:
        raise InvalidatePoolError from error


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # BEGIN is ours: the driver would begin late, and never for a SELECT
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    writing = connection.get_execution_options().get("fleet_writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


@contextmanager
def translated() -> Iterator[None]:
    """Turn the database's failures into errors that say what to do."""
    try:
        yield
    except PoolTimeout as error:
        raise _unavailable(str(error)) from error
    except DBAPIError as error:
        raise _translate(error) from error
    except _AWAY as error:
        raise _unavailable(str(error)) from error


def _unavailable(detail: str) -> FleetError:
    text = "the database does not answer: try again"
    return FleetError(Kind.UNAVAILABLE, "STORE_UNAVAILABLE", text, detail=detail[:500], retry_after=_RETRY)


def _translate(error: DBAPIError) -> Exception:
    detail = str(error.orig)
    if _FULL in detail or isinstance(error.orig, psycopg.errors.DiskFull):
        text = "the database's disk is full: nothing was written"
        return FleetError(Kind.UNAVAILABLE, "STORE_FULL", text, detail=detail[:500], retry_after=timedelta(minutes=1))
    if isinstance(error.orig, _LOST_RACES):  # deadlocks are operational errors to psycopg
        return error
    if error.connection_invalidated or isinstance(error.orig, _AWAY):
        return _unavailable(detail)
    return error


class Database:
    """Runs each transaction in a thread of a bounded pool.

    SQLite has one writer thread. PostgreSQL's writers meet at the locked head row, where they touch the log.
    """

    def __init__(self, engine: Engine, meter: Meter | None = None, tracer: Tracer | None = None) -> None:
        self._engine = engine
        self.tracer = tracer or NoTracer()
        self._meter = DatabaseMeter(meter or Meter())
        self.is_sqlite = engine.dialect.name == "sqlite"
        snapshot: dict[str, Any] = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
        self._reading = engine.execution_options(**snapshot)
        self._writing = engine.execution_options(fleet_writing=True)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="store-read")
        self._glances = None if self.is_sqlite else Glances(engine, conninfo(engine.url))
        writers = 1 if self.is_sqlite else WRITERS_POSTGRES
        self._writers = ThreadPoolExecutor(writers, thread_name_prefix="store-write")

    async def read(self, work: Callable[[Session], T]) -> T:
        """Run a transaction on one snapshot.

        Raises:
            FleetError: UNAVAILABLE `STORE_UNAVAILABLE`, and whatever the work raises.
        """
        with self.tracer.span("database.read", transaction=work.__qualname__):
            return await asyncio.get_running_loop().run_in_executor(
                self._readers, self._waited, READ, time.perf_counter(), lambda: self._run(READ, self._reading, work)
            )

    async def glance(self, statement: Executable, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """Run one statement without a transaction, and read its rows, few as they are, as the driver gives them.

        Raises:
            FleetError: UNAVAILABLE `STORE_UNAVAILABLE`.
        """
        if self._glances is None:
            return await self.read(lambda session: session.connection().execute(statement, parameters).all())
        with self.tracer.span("database.glance"), self._meter.timed(READ), translated():
            return await self._glances.rows(statement, parameters)

    async def write(self, work: Callable[[Session], T]) -> T:
        """Run a transaction and commit it; it is finished even where the waiting task is cancelled.

        Raises:
            FleetError: UNAVAILABLE `STORE_UNAVAILABLE` or `STORE_FULL`, and whatever the work raises.
        """
        with self.tracer.span("database.write", transaction=work.__qualname__):
            return await asyncio.get_running_loop().run_in_executor(
                self._writers, self._waited, WRITE, time.perf_counter(), lambda: self.transact(work)
            )

    def submit_write(self, work: Callable[[], None]) -> None:
        """Have a writer's thread run something that calls `transact`; nothing once the database is closed."""
        with suppress(RuntimeError):
            self._writers.submit(self._waited, WRITE, time.perf_counter(), work)

    def transact(self, work: Callable[[Session], T]) -> T:
        """Run a writing transaction in the calling thread."""
        return self._run(WRITE, self._writing, work)

    def _waited(self, way: str, since: float, work: Callable[[], T]) -> T:
        self._meter.waited(way, since)
        return work()

    def _run(self, way: str, engine: Engine, work: Callable[[Session], T]) -> T:
        """Run a transaction; again, where it lost a race for the same new row or a deadlock."""
        with self._meter.timed(way):
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    with translated(), Session(engine, expire_on_commit=False) as session, session.begin():
                        return work(session)
                except DBAPIError as error:
                    if attempt == _ATTEMPTS or not isinstance(error.orig, _LOST_RACES):
                        raise
                    self._meter.retried()
        raise AssertionError  # the last attempt returned or raised

    def close(self) -> None:
        """Let running transactions finish, then close every connection."""
        if self._glances is not None:
            self._glances.close()
        self._readers.shutdown()
        self._writers.shutdown()
        self._engine.dispose()
