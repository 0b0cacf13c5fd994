"""Put Ground Control's state together from a database URL and a private directory."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from controlplane.adapters.enrollment import Enrollment
from controlplane.adapters.feed import ListeningFeed, PolledFeed
from controlplane.adapters.sealing import FileKeySealer
from controlplane.adapters.sql.engine import Database, conninfo, database_url, make_engine
from controlplane.adapters.sql.presence import CLOCK
from controlplane.adapters.sql.store import SqlStore
from controlplane.adapters.tags import OrasTagResolver
from controlplane.app.fleet import Fleet
from controlplane.app.meter import Meter
from controlplane.app.ports import TagResolver
from controlplane.app.tracing import Tracer
from controlplane.domain.compaction import KEPT

SEALING_KEY = "source-credentials.key"


@dataclass(frozen=True, slots=True)
class Opened:
    """One process's way to the state."""

    fleet: Fleet
    enrollment: Enrollment
    """Join tokens and device keys: `certs.registrar`'s TokenStore and DeviceStore."""


def _now() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def open_fleet(
    url: str,
    *,
    private: Path,
    trust_domain: str,
    worker: str = "",
    resolver: TagResolver | None = None,
    kept: timedelta = KEPT,
    clock: Callable[[], datetime] = _now,
    tracer: Tracer | None = None,
) -> AsyncIterator[Opened]:
    """Open the state of a migrated database (controlplane.adapters.sql.migrate); closes it again.

    Args:
        url: `sqlite:///FILE` or `postgresql://...`.
        private: a directory, 0700, for the key that seals source credentials; every process and host of one
            deployment has the same one.
        trust_domain: whose SPIFFE IDs satellites and operators get.
        worker: this process's name, unique among those alive; one is made where it is empty.
        resolver: asks sources for tags; oras where it is None.
        kept: how much of the past is kept.
        clock: tells the time.
        tracer: hears what is done; nobody does where it is None.
    """
    parsed = database_url(url)
    meter = Meter()
    database = Database(make_engine(parsed).execution_options(**{CLOCK: clock}), meter, tracer)
    store = SqlStore(database, trust_domain=trust_domain, worker=worker or secrets.token_hex(8))
    if database.is_sqlite:
        feed = PolledFeed(store.position, meter=meter)
    else:
        feed = ListeningFeed(store.position, conninfo(parsed), meter=meter)
    store.on_change = feed.publish
    fleet = Fleet(
        store,
        resolver=resolver or OrasTagResolver(),
        sealer=FileKeySealer(private / SEALING_KEY),
        feed=feed,
        trust_domain=trust_domain,
        kept=kept,
        clock=clock,
        meter=meter,
        tracer=tracer,
    )
    try:
        yield Opened(fleet, Enrollment(database))
    finally:
        database.close()
