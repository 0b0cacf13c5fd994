"""One program that runs as our child: it ends when we end, however we end, and its log tells why it failed."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # prctl(2)
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_STOP_TIMEOUT_S = 12.0  # SPIRE gives its open calls 10 s
_TAIL_BYTES = 16 * 1024
_WORDS = 400


def _die_with_parent(parent: int) -> None:
    """Have the kernel end this process with its parent; runs in the child, before the program."""
    if _LIBC is None:
        return
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:  # it died before the kernel was asked
        os._exit(1)


@dataclass(frozen=True, slots=True)
class Child:
    """A program that runs."""

    name: str
    process: asyncio.subprocess.Process
    log: Path
    log_start: int
    """Where this run's words begin in the log."""

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self.process.returncode is None

    async def wait(self) -> int:
        """Wait for its end; return the exit code, negative for a signal."""
        return await self.process.wait()

    async def stop(self) -> None:
        """End it: politely, then after 12 s by force."""
        if self.is_running:
            self.process.terminate()
            try:
                async with asyncio.timeout(_STOP_TIMEOUT_S):
                    await self.process.wait()
            except TimeoutError:
                self.process.kill()
        await self.process.wait()

    def last_words(self) -> str:
        """Say what it last complained of, in one line of 400 characters at most."""
        with self.log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self.log_start, size - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
        complaints = [words for line in lines if (words := complaint(line))]
        return (complaints or lines or ["it said nothing"])[-1][:_WORDS]


def complaint(line: str) -> str:
    """Read a line of SPIRE's log: what is wrong, or nothing. A line that is not JSON was printed before logging."""
    try:
        entry = json.loads(line)
    except json.JSONDecodeError:
        return line.strip()
    if not isinstance(entry, dict) or entry.get("level") not in {"error", "fatal", "warning"}:
        return ""
    words = (entry.get("msg"), entry.get("error"))
    return ": ".join(str(word) for word in words if word)


async def start_child(program: Path, arguments: Sequence[str], *, log: Path) -> Child:
    """Start a program; both its outputs are appended to the log, which is its owner's alone.

    Start it from a thread that lives on (the event loop's): the kernel takes that thread for the parent.

    Raises:
        OSError: it cannot be run.
    """
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    parent = os.getpid()
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            start_new_session=True,  # Ctrl-C is ours to hear: the agents stop first, then the server
            preexec_fn=lambda: _die_with_parent(parent),
        )
        return Child(program.name, process, log, os.fstat(descriptor).st_size)
    finally:
        os.close(descriptor)
