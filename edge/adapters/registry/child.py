"""One supervised program: started, watched, restarted when it falls, never left behind.

It dies with us (the kernel kills it when the process that started it ends), its output goes to a file of bounded
size, and a pid file names it, so that one which outlived us all the same is ended before another is started.
Everything runs in the event loop; the program is started from the thread that runs it, because Linux ties
PR_SET_PDEATHSIG to the thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import structlog

from fleet.errors import FleetError, Kind

_log = structlog.get_logger()

_START_S = 20.0
_STOP_S = 10.0
_POLL_S = 0.02
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 30.0
_LOG_LIMIT_BYTES = 1024 * 1024
_TAIL_LINES = 12

# A tiny parent of the program: asks the kernel to kill it with us, then becomes it. A preexec_fn could do the
# same but runs Python between fork and exec of a threaded process, which may deadlock.
_LAUNCHER = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    sys.exit("the starter is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True, slots=True)
class Program:
    """What to run.

    Attributes:
        name: for logs and file names.
        command: absolute program and arguments.
        configure: writes its configuration for a port, 0 for one of the kernel's choice; called before each
            start, with the first start's port from then on: who knows where it was finds it there again.
        directory: private; holds the pid file and the log.
        environment: added to ours.
    """

    name: str
    command: Sequence[str]
    directory: Path
    configure: Callable[[int], None]
    environment: Mapping[str, str] = field(default_factory=dict)


class Child:
    """A running program and the task that watches it.

    Args:
        program: what to run.
        answers: asked with the port until true: the program is ready.
    """

    def __init__(self, program: Program, answers: Callable[[int], Awaitable[bool]]) -> None:
        self._program = program
        self._answers = answers
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._port = 0
        self.restarts = 0

    @property
    def pid(self) -> int:
        """The process, or 0 while none runs."""
        return self._process.pid if self._process and self._process.returncode is None else 0

    async def start(self) -> int:
        """Start the program, wait until it answers, and watch it from then on: `→ port`.

        Raises:
            FleetError: UNAVAILABLE `REGISTRY_UNREACHABLE` where it ends or does not answer in time.
        """
        await asyncio.to_thread(end_leftover, self._pid_file)
        port = await self._run()
        self._watcher = asyncio.create_task(self._watch(), name=f"watch {self._program.name}")
        return port

    async def stop(self) -> None:
        """End the program, gently at first, and wait until it is gone."""
        if self._watcher:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
            self._watcher = None
        await self._end()
        self._pid_file.unlink(missing_ok=True)

    @property
    def _pid_file(self) -> Path:
        return self._program.directory / f"{self._program.name}.pid"

    async def _run(self) -> int:
        await asyncio.to_thread(self._program.configure, self._port)
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid())),
            *self._program.command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **self._program.environment},
            start_new_session=True,  # a Ctrl-C at the terminal is ours to act on
        )
        self._reader = asyncio.create_task(self._read(self._process), name=f"log of {self._program.name}")
        try:
            self._pid_file.write_text(f"{self._process.pid} {psutil.Process(self._process.pid).create_time()}")
            async with asyncio.timeout(_START_S):
                self._port = await self._ready(self._process)
                return self._port
        except TimeoutError as error:
            await self._end()
            raise self._failed("it does not answer") from error
        except psutil.NoSuchProcess as error:
            await self._end()
            raise self._failed("it ended before its start was noted") from error
        except BaseException:
            await self._end()
            raise

    async def _ready(self, process: asyncio.subprocess.Process) -> int:
        while process.returncode is None:
            port = await asyncio.to_thread(listening_port, process.pid)
            if port and await self._answers(port):
                return port
            await asyncio.sleep(_POLL_S)
        if self._reader:
            await self._reader
        raise self._failed(f"it ended with {process.returncode}")

    async def _watch(self) -> None:
        """Start the program again whenever it ends, later each time while it does not last."""
        pause = _FIRST_PAUSE_S
        while True:
            started = time.monotonic()
            code = await self._process.wait() if self._process else None
            lasted = time.monotonic() - started
            pause = _FIRST_PAUSE_S if lasted > _LONGEST_PAUSE_S else min(pause * 2, _LONGEST_PAUSE_S)
            _log.error("registry.ended", program=self._program.name, code=code, again_in_s=pause)
            await asyncio.sleep(pause)
            self.restarts += 1
            try:
                await self._run()
            except FleetError as error:
                _log.error("registry.start_failed", program=self._program.name, detail=error.detail)
            except OSError as error:  # no room for its configuration
                _log.error("registry.start_failed", program=self._program.name, detail=str(error))

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(_STOP_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        if self._reader:
            await asyncio.gather(self._reader, return_exceptions=True)
            self._reader = None

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        """Move the program's output to its log, which starts afresh at its limit and keeps one old part.

        A line that a full disk does not take is lost: a program whose output nobody reads would stand still.
        """
        path = self._program.directory / f"{self._program.name}.log"
        if process.stdout is None:
            raise TypeError("its output was to be a pipe")
        while line := await _line(process.stdout):
            self._tail.append(line.decode(errors="replace").rstrip()[:500])
            with contextlib.suppress(OSError):
                _append(path, line)

    def _failed(self, what: str) -> FleetError:
        return FleetError(
            Kind.UNAVAILABLE,
            "REGISTRY_UNREACHABLE",
            "the site's registry does not start: see its log",
            subject=str(self._program.directory / f"{self._program.name}.log"),
            detail=what + ": " + "\n".join(self._tail),
        )


async def _line(stream: asyncio.StreamReader) -> bytes:
    try:
        return await stream.readline()
    except ValueError:  # longer than the reader's limit: it has been dropped, the next one is not
        return b"(a line too long to keep)\n"


def _append(path: Path, line: bytes) -> None:
    with path.open("ab", buffering=0) as log:
        log.write(line)
        is_full = log.tell() > _LOG_LIMIT_BYTES
    if is_full:
        path.replace(path.with_suffix(".log.1"))


def listening_port(pid: int) -> int:
    """Find the TCP port that a process itself listens on, or 0 while it does not.

    Asking whether "somebody" answers at the wanted address would take a stranger there for our child, and hand
    it the writer's secret.
    """
    try:
        sockets = psutil.Process(pid).net_connections(kind="tcp")
    except psutil.Error:
        return 0
    return next((socket.laddr.port for socket in sockets if socket.status == psutil.CONN_LISTEN), 0)


def end_leftover(pid_file: Path) -> bool:
    """End the program that a pid file names if it still is that one: `→ whether there was one`.

    A pid alone may long be somebody else's: its start time must be the one written.
    """
    try:
        pid, started = pid_file.read_text().split()
        process = psutil.Process(int(pid))
        if abs(process.create_time() - float(started)) > 0.1:  # noqa: PLR2004 -- the kernel counts in ticks
            return False
        process.kill()
        process.wait(_STOP_S)
    except (OSError, ValueError, psutil.Error):
        return False
    _log.warning("registry.leftover_ended", pid=int(pid))
    return True
