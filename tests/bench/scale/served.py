"""What the rows measure: a server of streams, what it has used, and a peer's figures beside ours."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import psutil

from tests.bench.figures import Figure, Measured

HOUR_S, AT = 3600.0, 10_000


@dataclass(frozen=True, slots=True)
class Scale:
    """How large it is to be."""

    satellites: int
    workers: int
    ramp_per_s: float
    heartbeat_s: float = 30.0


@dataclass(frozen=True, slots=True)
class Cost:
    """What processes have used so far, and hold now."""

    at: float
    workers_s: float
    database_s: float
    rss_bytes: int
    writes: int
    """Transactions that wrote, of the whole database server."""

    def since(self, before: Cost) -> Cost:
        """Say what was used between two moments."""
        return Cost(
            self.at - before.at,
            self.workers_s - before.workers_s,
            self.database_s - before.database_s,
            self.rss_bytes - before.rss_bytes,
            self.writes - before.writes,
        )


class Served(Protocol):
    """Something that simulated satellites have connected to."""

    def cost(self) -> Cost:
        """Read the meters."""


def used_s(process: psutil.Process) -> float:
    """Read what a process has used, and its ended children."""
    try:
        used = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0  # a connection that has ended: its parent has taken over what it used
    return float(used.user + used.system + used.children_user + used.children_system)


def cost_of(processes: Sequence[psutil.Process], *, database_s: float = 0.0, writes: int = 0) -> Cost:
    """Read what serving processes have used and hold."""
    return Cost(
        time.monotonic(),
        sum(map(used_s, processes)),
        database_s,
        sum(process.memory_info().rss for process in processes),
        writes,
    )


def beside(ours: Sequence[Figure], theirs: Sequence[Figure], peer: str) -> list[Figure]:
    """Put what a peer needed beside what we did, where both have done the same; another peer's line stays."""
    found, made = {figure.name: figure.ours for figure in theirs}, list[Figure]()
    for figure in ours:
        if figure.peer or figure.name not in found:
            made.append(figure)
        if figure.name in found:
            most = None if figure.peer else figure.most
            made.append(replace(figure, peer=peer, theirs=found[figure.name], most=most))
    return made


def once(value: float) -> Measured:
    """Take a number that was measured once."""
    return Measured(value, value, value)


def hour(requests: float, moved_bytes: float, cpu_s: float, *, of: float, measured_s: float) -> list[Figure]:
    """Say what an hour of 10,000 satellites at rest takes, by what `of` satellites took in `measured_s`."""
    times = AT / of * HOUR_S / measured_s
    return [
        Figure(f"hour-at-{AT}/requests", "", once(requests * times)),
        Figure(f"hour-at-{AT}/moved", "MB", once(moved_bytes * times / 1e6)),
        Figure(f"hour-at-{AT}/server-cpu", "s", once(cpu_s * times)),
    ]
