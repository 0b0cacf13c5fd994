"""What work costs: wall clock, CPU and memory, as the kernel accounts them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_METER = Path(__file__).with_name("meter.py")


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one piece of work."""

    wall_s: float
    cpu_s: float | None = None
    """User and system time of the process that works; not of the registries that it speaks to."""
    peak_mb: float | None = None
    """Most of its memory that was resident."""
    over_idle_mb: float | None = None
    """How much more that is than before the work, where the process was there before."""


class FailedError(Exception):
    """A program that is measured said no; the text is its own.

    Attributes:
        cost: what it cost nevertheless, where that is known.
    """

    def __init__(self, text: str, cost: Cost | None = None) -> None:
        super().__init__(text)
        self.cost = cost


def cost_of(
    command: Sequence[str | Path], environment: Mapping[str, str] | None = None, *, within_s: float | None = None
) -> Cost:
    """Run a program to its end.

    Raises:
        FailedError: it ended with another code than 0, or not in time.
    """
    reading, writing = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-I", "-S", _METER, str(writing), *command],
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=(writing,),
        start_new_session=True,
    ) as process:
        os.close(writing)
        with os.fdopen(reading, "rb") as told:
            try:
                said = process.communicate(timeout=within_s)[0]
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # the meter's own session: itself and what it runs
                raise FailedError(f"{command[0]} did not end within {within_s:g} s") from None
            cost = Cost(**json.loads(told.read() or b'{"wall_s": 0}'))
    if process.returncode:
        raise FailedError(f"{command[0]}: {said[-2000:].decode(errors='replace')}", cost)
    return cost


def sum_of(costs: Iterable[Cost]) -> Cost:
    """Add up what was done one after another; memory is the most of each."""
    known = list(costs)
    return Cost(
        sum(cost.wall_s for cost in known),
        sum(cost.cpu_s or 0 for cost in known),
        max((cost.peak_mb or 0 for cost in known), default=0),
    )
