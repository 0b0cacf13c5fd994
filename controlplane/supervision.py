"""One run of Ground Control's processes: started, reloaded when asked, stopped; others read of it in the ready file."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import termios
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass

import structlog

from controlplane.config import Settings
from controlplane.crew import Crew
from fleet.errors import FleetError

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where this Ground Control listens, and where others reach it."""

    listen: str
    bootstrap_listen: str
    advertise: str
    bootstrap_advertise: str
    metrics: str


@dataclass(slots=True)
class Reloads:
    """How many reloads there were, for whoever waits for one."""

    begun: int = 0
    ended: int = 0
    failed: str = ""
    """The reason why the last one went no further; empty where every worker was replaced."""


class Supervision:
    """Runs a crew: SIGTERM and SIGINT stop it, SIGHUP has its workers replaced."""

    def __init__(
        self,
        settings: Settings,
        addresses: Addresses,
        crew: Crew,
        workers: Sequence[str],
        *,
        prepare: Callable[[], Awaitable[None]],
        started: Callable[[Addresses], None],
    ) -> None:
        """Take over what is to run.

        Args:
            settings: of this Ground Control.
            addresses: where it listens.
            crew: its processes.
            workers: the names of those that a reload replaces, in this order.
            prepare: done before any worker of a start or a reload touches the database.
            started: called once, when every listener answers.
        """
        self._settings = settings
        self._addresses = addresses
        self._crew = crew
        self._workers = workers
        self._prepare = prepare
        self._started = started
        self._stop = asyncio.Event()
        self._reload_asked = asyncio.Event()
        self._reloads = Reloads()
        self._has_terminal = sys.stdin is not None and sys.stdin.isatty()

    async def run(self) -> int:
        """Run until told to stop: the answer is the exit code.

        Raises:
            FleetError: UNAVAILABLE `CHILD_FAILED`, `START_LATE`, `MIGRATION_FAILED`.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        self._crew.start()
        own = (asyncio.create_task(self._stopped()), asyncio.create_task(self._serve()))
        all_ends: set[asyncio.Future[None]] = {*own, self._crew.failed}
        try:
            done, _ = await asyncio.wait(all_ends, return_when=asyncio.FIRST_COMPLETED)
            for ended in done:
                ended.result()
        finally:
            _log.info("ground_control.stopping")
            for task in own:
                task.cancel()
            await asyncio.gather(*own, return_exceptions=True)
            await self._crew.stop()
        _log.info("ground_control.stopped")
        return 0

    def _hang_up(self) -> None:
        """Reload; but a terminal that is gone ends what was started from it, as it ends other programs."""
        if self._has_terminal and not _answers(sys.stdin.fileno()):
            self._stop.set()
        else:
            self._reload_asked.set()

    async def _stopped(self) -> None:
        await self._stop.wait()

    async def _serve(self) -> None:
        await self._prepare()
        await self._crew.ready()
        self._tell()
        listen, bootstrap_listen = self._addresses.listen, self._addresses.bootstrap_listen
        _log.info("ground_control.started", listen=listen, bootstrap_listen=bootstrap_listen)
        self._started(self._addresses)
        while True:
            await self._reload_asked.wait()
            self._reload_asked.clear()
            await self._reload()

    async def _reload(self) -> None:
        """Replace the workers, one after the other; where one cannot be, it and those after it serve on."""
        self._reloads.begun += 1
        self._reloads.failed = ""
        self._tell()
        _log.info("ground_control.reloading", workers=len(self._workers))
        try:
            await self._prepare()
            drained_s = 0.0
            for name in self._workers:
                await asyncio.sleep(drained_s)  # who took so long to leave takes as long to arrive: nobody moves twice
                drained_s = await self._crew.replace(name)
                self._tell()
        except FleetError as error:
            self._reloads.failed = error.reason
            _log.error("ground_control.reload_failed", reason=error.reason, text=error.text)
        else:
            _log.info("ground_control.reloaded", workers=len(self._workers))
        self._reloads.ended += 1
        self._tell()

    def _tell(self) -> None:
        """Write the ready file."""
        addresses, is_builtin = self._addresses, self._settings.has_builtin_authority
        facts = {
            "pid": os.getpid(),
            "listen": addresses.listen,
            "bootstrap_listen": addresses.bootstrap_listen if is_builtin else "",
            "advertise": addresses.advertise,
            "bootstrap_advertise": addresses.bootstrap_advertise if is_builtin else "",
            "metrics": addresses.metrics,
            "spiffe_id": str(self._settings.ground_control),
            "spiffe_endpoint_socket": self._settings.spiffe_endpoint_socket,
            "processes": self._crew.pids,
            "reloads": asdict(self._reloads),
        }
        partial = self._settings.ready_file.with_suffix(".partial")
        partial.write_text(json.dumps(facts) + "\n")
        partial.replace(self._settings.ready_file)


def _answers(terminal: int) -> bool:
    try:
        termios.tcgetattr(terminal)
    except termios.error:
        return False
    return True
