"""Ground Control put together: settings → a fleet on its database, with everything that the ports need."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from controlplane.adapters.opening import Opened
from controlplane.adapters.opening import open_fleet as open_on
from controlplane.app.tracing import Tracer
from controlplane.config import Settings

__all__ = ["Opened", "open_fleet"]


def open_fleet(settings: Settings, tracer: Tracer | None = None) -> AbstractAsyncContextManager[Opened]:
    """Open the fleet on its database; its background work (`Fleet.run`) is the caller's to run.

    Raises:
        FleetError: MALFORMED `DATABASE_URL_MALFORMED`; CORRUPT `SEALING_KEY_UNREADABLE`.
    """
    return open_on(
        settings.database,
        private=settings.secrets_directory,
        trust_domain=settings.trust_domain,
        kept=settings.history,
        tracer=tracer,
    )
