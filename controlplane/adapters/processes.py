"""What our own processes take of this machine: the supervisor, and whatever it has started."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import psutil

from controlplane.app.catalog import PROCESS_CPU, PROCESS_FDS, PROCESS_MAX_FDS, PROCESS_RSS, PROCESS_START
from controlplane.app.meter import Sample

_ROLES = {"certs.authority": "authority", "controlplane.web": "web"}
_WORKER = "controlplane.worker"


def read_processes() -> list[Sample]:
    """Look at the supervisor, this process's parent, and at its children; one that ends meanwhile is left out."""
    supervisor = psutil.Process(os.getppid())
    found = [("supervisor", supervisor), *((role, each) for each in supervisor.children() if (role := _role(each)))]
    return [sample for role, process in found for sample in _read(role, process)]


def _role(process: psutil.Process) -> str:
    try:
        return role_of(process.cmdline())
    except psutil.Error:
        return ""


def role_of(command: Sequence[str]) -> str:
    """Say what a child is by its command line; empty for what is none of ours."""
    match command:
        case [_, "-m", module, name, *_] if module == _WORKER:
            return name
        case [_, "-m", module, *_]:
            return _ROLES.get(module, "")
        case _:
            return ""


def _read(role: str, process: psutil.Process) -> Iterator[Sample]:
    try:
        with process.oneshot():
            times = process.cpu_times()
            told = {
                PROCESS_RSS: process.memory_info().rss,
                PROCESS_CPU: times.user + times.system,
                PROCESS_FDS: process.num_fds(),
                PROCESS_MAX_FDS: process.rlimit(psutil.RLIMIT_NOFILE)[0],
                PROCESS_START: process.create_time(),
            }
    except psutil.Error:
        return
    yield from (Sample(family.name, (role,), value) for family, value in told.items())
