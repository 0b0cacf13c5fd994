"""Everything that there is to tell, gathered when somebody asks: nothing is done between two scrapes."""

from __future__ import annotations

import asyncio
import platform
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version

import structlog
from prometheus_client.core import Metric

from controlplane.app.catalog import BUILD_INFO, DATABASE_UP, FLEET_AT, FLEET_TOOK, OWN, WORKER_UP, WORKERS
from controlplane.app.census import Census, Observer
from controlplane.app.meter import Sample
from controlplane.http.exposition import write_own, write_workers
from fleet.errors import FleetError

_log = structlog.get_logger(__name__)

CENSUS_S = 8.0
"""How long the database may take to tell of the fleet; Prometheus waits 10 s for all of it."""
REACH_S = 3.0
"""How long the database may take to show that it is there."""
LEAST_REST_S = 1.0
REST_FACTOR = 20
"""A census is good for this many times what it took: counting a large fleet never takes more than 5 % of a core."""

Ask = Callable[[], Awaitable[list[Sample] | None]]


@dataclass(slots=True)
class FleetNumbers:
    """The fleet's numbers, read again when they have become old."""

    read: Callable[[], Awaitable[Census]]
    _observer: Observer = field(default_factory=Observer)
    _samples: list[Sample] = field(default_factory=list)
    _good_until: float = 0.0
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def samples(self) -> list[Sample]:
        """Tell of the fleet; of the database alone, where it does not answer."""
        async with self._lock:  # two scrapers share a census
            if time.monotonic() >= self._good_until:
                self._samples, rest_s = await self._look()
                self._good_until = time.monotonic() + rest_s
            return self._samples

    async def _look(self) -> tuple[list[Sample], float]:
        """Read what there is to tell, and how long it is good in seconds: a failure, no longer than need be."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(CENSUS_S):
                census = await self.read()
        except (FleetError, TimeoutError) as error:
            _log.warning("census.failed", reason=getattr(error, "reason", "CENSUS_LATE"))
            return [Sample(DATABASE_UP.name, (), 0)], LEAST_REST_S
        observed = self._observer.observe(census)
        took_s = time.monotonic() - began
        told = [
            Sample(DATABASE_UP.name, (), 1),
            *observed,
            Sample(FLEET_TOOK.name, (), took_s),
            Sample(FLEET_AT.name, (), census.at.timestamp()),
        ]
        return told, max(LEAST_REST_S, REST_FACTOR * took_s)


@dataclass(frozen=True, slots=True)
class Collection:
    """Where all the numbers come from.

    Attributes:
        workers: asks each worker, by its name.
        processes: looks at this machine; it may block for some milliseconds.
        fleet: asks the database.
        reach: asks the database for next to nothing, or raises.
    """

    workers: Mapping[str, Ask]
    processes: Callable[[], list[Sample]]
    fleet: FleetNumbers
    reach: Callable[[], Awaitable[object]]

    async def metrics(self) -> list[Metric]:
        """Ask everybody at once."""
        told, processes, fleet = await asyncio.gather(
            self._told(), asyncio.to_thread(self.processes), self.fleet.samples()
        )
        up = [Sample(WORKER_UP.name, (worker,), worker in told) for worker in self.workers]
        return [*write_own(OWN, [*up, _build(), *processes, *fleet]), *write_workers(WORKERS, told)]

    async def is_ready(self) -> bool:
        """Say whether any worker serves, and the database answers."""
        try:
            async with asyncio.timeout(REACH_S):
                await self.reach()
        except (FleetError, TimeoutError):
            return False
        return bool(await self._told())

    async def _told(self) -> dict[str, list[Sample]]:
        answers = await asyncio.gather(*(ask() for ask in self.workers.values()))
        return {worker: told for worker, told in zip(self.workers, answers, strict=True) if told is not None}


def _build() -> Sample:
    return Sample(BUILD_INFO.name, (version("harbor-satellite"), platform.python_version()), 1)
