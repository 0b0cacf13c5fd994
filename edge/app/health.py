"""Tells Ground Control how the site is, at the pace that it sets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from edge.app.control import Control
from edge.app.journal import EditionStore
from edge.app.ports import SupervisedRegistry
from edge.app.progress import ProgressBoard
from edge.domain.health import Health, Inventory, Machine
from edge.domain.link import LinkStanding
from edge.domain.plan import Edition
from fleet.chance import chance
from fleet.errors import FleetError
from fleet.link import Link

_log = structlog.get_logger(__name__)

SHORTEST, LONGEST = timedelta(seconds=1), timedelta(hours=1)


class Measures(Protocol):
    """The machine."""

    def measure(self) -> Machine:
        """Measure now."""


class HealthReporter:
    """Measures and reports while there is a link."""

    def __init__(
        self,
        control: Control,
        machine: Measures,
        editions: EditionStore,
        registry: SupervisedRegistry,
        progress: ProgressBoard,
        *,
        svid_not_after: Callable[[], datetime | None],
        standing: Callable[[], LinkStanding],
    ) -> None:
        self._control = control
        self._machine = machine
        self._editions = editions
        self._registry = registry
        self._progress = progress
        self._svid_not_after = svid_not_after
        self._standing = standing
        self._started_at = control.clock.now()
        self._counted: tuple[frozenset[Edition], Inventory] = (frozenset(), Inventory(0, 0, 0))

    async def run(self) -> None:
        """Report until cancelled."""
        await self._control.linked.wait()
        while True:
            await asyncio.sleep((await self._report()).total_seconds())
            if not self._control.linked.is_set():
                await self._control.linked.wait()
                # A whole fleet comes back from a cut at once; its health need not.
                await asyncio.sleep(self._pace().total_seconds() * chance())

    async def _report(self) -> timedelta:
        stream, pace = self._control.stream, self._pace()
        if stream is None or not pace:
            return SHORTEST
        try:
            await stream.health(await asyncio.to_thread(self._measure))
        except FleetError as error:
            _log.info("health.not_reported", reason=error.reason)
            return SHORTEST
        return min(max(pace, SHORTEST), LONGEST)

    def _pace(self) -> timedelta:
        attested = self._control.attested
        return attested.health_interval if attested else timedelta()

    def _measure(self) -> Health:
        standing = self._standing()
        return Health(
            measured_at=self._control.clock.now(),
            started_at=self._started_at,
            machine=self._machine.measure(),
            inventory=self._inventory(),
            pending_bytes=self._progress.pending_bytes,
            registry_healthy=self._registry_answers(),
            svid_expires_at=self._svid_not_after(),
            link=None if standing.link == Link() else standing,
        )

    def _inventory(self) -> Inventory:
        """Count what is published; blobs are counted anew only when it changed."""
        published = self._editions.site().published
        if published != self._counted[0]:
            sizes: dict[str, int] = {}
            for edition in published:
                dossier = self._editions.dossier(edition)
                sizes |= {blob.digest: blob.size_bytes for blob in dossier.blobs} if dossier else {}
            repositories = len({edition.local_repository for edition in published})
            self._counted = (published, Inventory(repositories, len(published), sum(sizes.values())))
        return self._counted[1]

    def _registry_answers(self) -> bool:
        try:
            self._registry.site.head("health", "probe")
        except FleetError:
            return False
        return True
