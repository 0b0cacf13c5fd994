"""A child process that is kept alive: started, watched, started again after a pause, stopped."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import structlog

from fleet.errors import FleetError, Kind

_log = structlog.get_logger(__name__)

READY_VARIABLE = "GROUND_CONTROL_READY_FD"
"""Names the file descriptor to which a worker writes a line when it serves."""
FIRST_PAUSE_S = 0.5
LAST_PAUSE_S = 30.0
STEADY_S = 60.0
"""A child that lived for this long is started again at once, and its failures are forgotten."""

_PR_SET_PDEATHSIG = 1
_prctl = ctypes.CDLL(None).prctl


def dying_with_parent() -> Callable[[], None]:
    """Make what a child runs before exec: the kernel is to kill it when this process goes, however it goes."""
    parent = os.getpid()

    def prepare() -> None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it went between fork and prctl
            os._exit(1)

    return prepare


def announcer() -> Callable[[], None]:
    """Make what a child calls once it serves; nothing happens where no supervisor listens."""
    descriptor = os.environ.pop(READY_VARIABLE, "")

    def announce() -> None:
        if descriptor:
            with os.fdopen(int(descriptor), "wb") as pipe:
                pipe.write(b"ready\n")

    return announce


class Child:
    """One process of Ground Control.

    Attributes:
        ready: set once the child serves.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        reports: bool,
        go: asyncio.Event | None = None,
    ) -> None:
        """Describe a child.

        Args:
            name: for the log.
            command: what to execute.
            environment: all of it.
            reports: it writes to `READY_VARIABLE`'s descriptor; others are ready once they run.
            go: its standard input stays open until this is set, so that it can load its code meanwhile.
        """
        self.name = name
        self.reports = reports
        self.ready = asyncio.Event()
        self._go = go
        self._command = command
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None
        self._stop_asked = asyncio.Event()

    def successor(self) -> Child:
        """Describe another process like this one, which loads its code and begins at once."""
        return Child(self.name, self._command, self._environment, reports=self.reports)

    @property
    def pid(self) -> int:
        """The running process, or 0."""
        return self._process.pid if self._process and self._process.returncode is None else 0

    async def keep(self, *, most_starts: int) -> None:
        """Start the child, and again whenever it ends, until `stop`.

        Raises:
            FleetError: UNAVAILABLE `CHILD_FAILED` when it ended `most_starts` times before it was ever ready.
        """
        failures = 0
        while not self._stop_asked.is_set():
            began = time.monotonic()
            code = await self._run_once()
            if self._stop_asked.is_set():
                return
            failures = 1 if time.monotonic() - began > STEADY_S else failures + 1
            if not self.ready.is_set() and failures >= most_starts:
                text = "a process of Ground Control cannot be started: its log says why"
                raise FleetError(Kind.UNAVAILABLE, "CHILD_FAILED", text, subject=self.name)
            pause = min(FIRST_PAUSE_S * 2 ** (failures - 1), LAST_PAUSE_S)
            _log.error("child.ended", child=self.name, exit_code=code, restart_s=pause)
            await asyncio.sleep(pause)

    async def _run_once(self) -> int:
        reading, writing = os.pipe()
        waits = self._go is not None and not self._go.is_set()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                env={**self._environment, READY_VARIABLE: str(writing)},
                stdin=asyncio.subprocess.PIPE if waits else asyncio.subprocess.DEVNULL,
                pass_fds=(writing,),
                start_new_session=True,  # Ctrl-C is for the supervisor alone: it stops its children in order
                preexec_fn=dying_with_parent(),  # it calls two C functions and takes no lock
            )
        finally:
            os.close(writing)
        _log.info("child.started", child=self.name, child_pid=self._process.pid)
        if self._stop_asked.is_set():  # while it was being started: `stop` saw none
            self._process.terminate()
        others = (
            asyncio.create_task(self._watch_ready(reading)),
            asyncio.create_task(self._let_go(self._process)),
        )
        try:
            return await self._process.wait()
        finally:
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

    async def _let_go(self, process: asyncio.subprocess.Process) -> None:
        if self._go is not None and process.stdin is not None:
            await self._go.wait()
            process.stdin.close()

    async def _watch_ready(self, descriptor: int) -> None:
        """Wait for the child's line. The pipe ends without one when it dies before it serves."""
        if not self.reports:
            self.ready.set()
        reader = asyncio.StreamReader()
        with os.fdopen(descriptor, "rb") as pipe:
            transport, _ = await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), pipe
            )
            try:
                if await reader.readline():
                    self.ready.set()
                    _log.info("child.ready", child=self.name)
            finally:
                transport.close()

    def expect_end(self) -> None:
        """Start it no more: what comes now is the end."""
        self._stop_asked.set()

    async def stop(self, patience_s: float) -> None:
        """Ask the child to end, and kill it where it does not in time."""
        self.expect_end()
        process = self._process
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(patience_s):
                await process.wait()
        except TimeoutError:
            _log.warning("child.killed", child=self.name, waited_s=patience_s)
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
