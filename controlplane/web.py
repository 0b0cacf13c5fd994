"""The process that answers over HTTP: metrics of all processes, health, readiness. Run by the supervisor.

python -m controlplane.web worker-1 worker-2      settings from the environment
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial

import structlog
import uvicorn
import uvloop

from controlplane.adapters.meter_socket import ask
from controlplane.adapters.processes import read_processes
from controlplane.adapters.sql.census import read_census
from controlplane.adapters.sql.engine import Database, database_url, make_engine
from controlplane.adapters.sql.log import read_position
from controlplane.app.census import Census
from controlplane.children import announcer
from controlplane.config import Settings, load_settings
from controlplane.home import meter_socket
from controlplane.http.app import Pages
from controlplane.http.collection import Collection, FleetNumbers
from fleet.errors import FleetError
from fleet.log import configure_logging

MOST_REQUESTS = 64
"""At once; more are turned away with 503."""

_log = structlog.get_logger(__name__)


class _Server(uvicorn.Server):
    """uvicorn, told by us when to end."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


async def serve(settings: Settings, workers: Sequence[str]) -> None:
    """Answer until told to stop."""
    database = Database(make_engine(database_url(settings.database)))

    async def census() -> Census:
        return await database.read(lambda session: read_census(session, datetime.now(UTC)))

    asks = {worker: partial(ask, meter_socket(settings, worker)) for worker in workers}
    collection = Collection(asks, read_processes, FleetNumbers(census), lambda: database.read(read_position))
    try:
        await _answer(settings.metrics, Pages(collection.metrics, collection.is_ready))
    finally:
        database.close()


async def _answer(address: str, pages: Pages) -> None:
    server = _Server(
        uvicorn.Config(
            pages,
            lifespan="off",
            log_config=None,
            access_log=False,
            limit_concurrency=MOST_REQUESTS,
            timeout_graceful_shutdown=1,
        )
    )
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    with _listening(address) as listener:
        serving = asyncio.create_task(server.serve([listener]))
        announcer()()
        _log.info("web.started", listen=address)
        await stop.wait()
        server.should_exit = True
        await serving


def _listening(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    family, kind, _, _, where = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # the supervisor holds the port
    listener.bind(where)
    return listener


def main(arguments: Sequence[str]) -> int:
    """Run it: the answer is the exit code."""
    try:
        settings = load_settings()
        if not sys.stdin.isatty():
            sys.stdin.read()  # the supervisor closes it when the database is up to date
        configure_logging(program="ground-control-web", level=settings.log_level)
        uvloop.run(serve(settings, arguments))
    except FleetError as error:
        _log.error("web.failed", reason=error.reason, text=error.public, detail=error.detail)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
