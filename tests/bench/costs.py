"""What a process costs: wall clock and CPU, as the kernel accounts it when the process is gone."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one piece of work."""

    wall_s: float
    cpu_s: float
    """User and system time of the process that works; not of the registries that it speaks to."""


class FailedError(Exception):
    """A program that is measured said no; the text is its own."""


def cost_of(command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> Cost:
    """Run a program to its end.

    Raises:
        FailedError: it ended with another code than 0.
    """
    begun = time.monotonic()
    process = subprocess.Popen(
        command,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout
    said = process.stdout.read()
    cost = reaped(process, begun)
    if process.returncode:
        raise FailedError(f"{command[0]}: {said[-2000:].decode(errors='replace')}")
    return cost


def reaped(process: subprocess.Popen[bytes], begun: float) -> Cost:
    """Wait for a process that was started at `begun` and say what it cost."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.stdout:
        process.stdout.close()
    return Cost(time.monotonic() - begun, usage.ru_utime + usage.ru_stime)
