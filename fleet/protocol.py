"""What both ends of StreamState must agree on beyond its messages."""

from __future__ import annotations

from enum import Enum, unique

PROTOCOL_VERSION = 1
"""The version that satellites speak and Ground Control answers."""


@unique
class Farewell(Enum):
    """Why a server ends a stream; the numbers are fleet.v1.GoodbyeReason's."""

    SUPERSEDED = 1
    REVOKED = 2
    SVID_EXPIRED = 3
    DRAINING = 4
    STORE_BEHIND = 5
    UPGRADE_REQUIRED = 6
    PROTOCOL_VIOLATION = 7
