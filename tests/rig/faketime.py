"""Another time for a real process: libfaketime between it and the C library.

Programs of Go's ask the kernel themselves and live in the true time; so does the monotonic clock, as on a machine whose
clock is wrong.
"""

from __future__ import annotations

import subprocess
from functools import cache

from tests.rig.programs import require

SINCE_1970 = "@1970-01-01 00:00:10"
"""A machine that has just been switched on and has no battery for its clock."""


@cache
def _library() -> str:
    """Ask faketime where its library for programs with threads is."""
    command = [str(require("faketime")), "-m", "-f", "+0", "printenv", "LD_PRELOAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def living_at(time: str) -> dict[str, str]:
    """Make variables by which a program lives at a time: `+10m`, `-10m`, or `@` and when it starts, in UTC."""
    return {"LD_PRELOAD": _library(), "FAKETIME": time, "FAKETIME_DONT_FAKE_MONOTONIC": "1", "TZ": "UTC"}
