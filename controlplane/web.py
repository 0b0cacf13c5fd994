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
from typing import Any

import structlog
import uvicorn
import uvloop

from controlplane.adapters.meter_socket import ask
from controlplane.app.catalog import OWN, WORKER_UP, WORKERS
from controlplane.app.meter import Sample
from controlplane.children import announcer
from controlplane.config import Settings, load_settings
from controlplane.home import meter_socket
from controlplane.http.app import Pages
from controlplane.http.exposition import write_own, write_workers
from fleet.errors import FleetError
from fleet.log import configure_logging

_log = structlog.get_logger(__name__)


class _Server(uvicorn.Server):
    """uvicorn, told by us when to end."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


class Collection:
    """Everything that there is to tell, gathered when somebody asks."""

    def __init__(self, settings: Settings, workers: Sequence[str]) -> None:
        self._sockets = {worker: meter_socket(settings, worker) for worker in workers}

    async def metrics(self) -> list[Any]:
        """Ask every worker at once."""
        answers = dict(zip(self._sockets, await asyncio.gather(*map(ask, self._sockets.values())), strict=True))
        told = {worker: samples for worker, samples in answers.items() if samples is not None}
        up = [Sample(WORKER_UP.name, (worker,), float(worker in told)) for worker in answers]
        return [*write_own(OWN, up), *write_workers(WORKERS, told)]

    async def is_ready(self) -> bool:
        """Say whether any worker answers."""
        answers = await asyncio.gather(*map(ask, self._sockets.values()))
        return any(samples is not None for samples in answers)


async def serve(settings: Settings, workers: Sequence[str]) -> None:
    """Answer until told to stop."""
    collection = Collection(settings, workers)
    pages = Pages(collection.metrics, collection.is_ready)
    server = _Server(
        uvicorn.Config(
            pages, log_config=None, access_log=False, lifespan="off", server_header=False, timeout_graceful_shutdown=1
        )
    )
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    with _listening(settings.metrics) as listener:
        serving = asyncio.create_task(server.serve([listener]))
        announcer()()
        _log.info("web.started", listen=settings.metrics)
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
