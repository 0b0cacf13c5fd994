"""A defect of ours, as those see it who are not to blame: one constant sentence; its trace is in our log alone."""

from __future__ import annotations

import structlog

from fleet.errors import FleetError, Kind

_log = structlog.get_logger(__name__)


def internal() -> FleetError:
    """The error that stands for a defect."""
    return FleetError(Kind.INTERNAL, "INTERNAL", "an internal error: the server's log says more")


def presentable(error: Exception, event: str) -> FleetError:
    """Say what others may see of an error: itself where it is ours, else `internal`; the trace goes to the log."""
    if isinstance(error, FleetError):
        return error
    _log.error(event, exc_info=error)
    return internal()
