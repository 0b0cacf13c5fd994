"""Who may hold state: the standing that operators decide, and the lifecycle that can be observed from it."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import Enum, unique

from controlplane.domain.entities import Lifecycle
from fleet.errors import FleetError, Kind

WORKER_LEASE = timedelta(seconds=15)
"""Sessions of a process that has not said for this long that it lives are closed: kill -9 leaves no goodbye."""
DUPLICATE_SHOWN = timedelta(hours=2)
"""How long a copied identity is shown after it was last seen; a superseded satellite retries within the hour."""


@unique
class Standing(Enum):
    """What operators decided of a satellite."""

    PENDING = "pending"
    APPROVED = "approved"
    REVOKED = "revoked"


@unique
class Verb(Enum):
    """What operators do to a standing."""

    APPROVE = "approve"
    REVOKE = "revoke"
    REINSTATE = "reinstate"


_TABLE: dict[tuple[Standing, Verb], Standing] = {
    (Standing.PENDING, Verb.APPROVE): Standing.APPROVED,
    (Standing.APPROVED, Verb.APPROVE): Standing.APPROVED,
    (Standing.PENDING, Verb.REVOKE): Standing.REVOKED,
    (Standing.APPROVED, Verb.REVOKE): Standing.REVOKED,
    (Standing.REVOKED, Verb.REVOKE): Standing.REVOKED,
    # Not approved: an SVID from before the revocation may still be valid. A new join token approves.
    (Standing.REVOKED, Verb.REINSTATE): Standing.PENDING,
}


def next_standing(standing: Standing, verb: Verb, *, name: str) -> Standing:
    """Look up what a verb makes of a standing.

    Raises:
        FleetError: PRECONDITION `SATELLITE_REVOKED` for approving a revoked satellite; `SATELLITE_NOT_REVOKED` for
            reinstating another.
    """
    after = _TABLE.get((standing, verb))
    if after is not None:
        return after
    if verb is Verb.APPROVE:
        text = "the satellite is revoked: reinstate it first"
        raise FleetError(Kind.PRECONDITION, "SATELLITE_REVOKED", text, subject=name)
    text = "the satellite is not revoked: there is nothing to reinstate"
    raise FleetError(Kind.PRECONDITION, "SATELLITE_NOT_REVOKED", text, subject=name)


def observe(standing: Standing, *, session_open: bool) -> Lifecycle:
    """Say what can be observed: an approved satellite is online with a stream and stale without."""
    match standing:
        case Standing.PENDING:
            return Lifecycle.PENDING
        case Standing.REVOKED:
            return Lifecycle.REVOKED
        case Standing.APPROVED:
            return Lifecycle.ONLINE if session_open else Lifecycle.STALE


def is_duplicate(duplicate_at: datetime | None, at: datetime) -> bool:
    """Say whether a copied identity was seen lately."""
    return duplicate_at is not None and at - duplicate_at < DUPLICATE_SHOWN
