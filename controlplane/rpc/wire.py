"""Wire types that everything uses ⇄ domain values: positions, times, lifecycles, roles, limits of texts and lists."""

from __future__ import annotations

from collections.abc import Sized
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from controlplane.domain.entities import Lifecycle, Role
from fleet.errors import malformed
from fleet.position import Position
from fleet.v1 import attestation_pb2, fleet_pb2, state_pb2

MAX_PAGE = 1000
DEFAULT_PAGE = 100
MAX_TEXT = 512
MAX_ID = 64

_LIFECYCLES = {
    Lifecycle.PENDING: attestation_pb2.LIFECYCLE_PENDING,
    Lifecycle.ONLINE: attestation_pb2.LIFECYCLE_ONLINE,
    Lifecycle.STALE: attestation_pb2.LIFECYCLE_STALE,
    Lifecycle.REVOKED: attestation_pb2.LIFECYCLE_REVOKED,
}
_ROLES = {
    Role.VIEWER: fleet_pb2.ROLE_VIEWER,
    Role.EDITOR: fleet_pb2.ROLE_EDITOR,
    Role.ADMIN: fleet_pb2.ROLE_ADMIN,
}
_ROLES_READ = {number: role for role, number in _ROLES.items()}
_CONTROL = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0)), " ")


def write_position(position: Position) -> state_pb2.Position:
    """Say where in the log."""
    return state_pb2.Position(epoch=position.epoch, revision=position.revision)


def read_position(holder: Message, field: str) -> Position | None:
    """Read an optional position of a message."""
    if not holder.HasField(field):
        return None
    message: state_pb2.Position = getattr(holder, field)
    return Position(message.epoch, message.revision)


def write_time(moment: datetime | None) -> Timestamp | None:
    """Write a time; None leaves the field absent."""
    if moment is None:
        return None
    written = Timestamp()
    written.FromDatetime(moment)
    return written


def read_time(holder: Message, field: str) -> datetime | None:
    """Read an optional time of a message.

    Raises:
        FleetError: MALFORMED `TIME_MALFORMED` outside of years 1 to 9999.
    """
    if not holder.HasField(field):
        return None
    try:
        moment: datetime = getattr(holder, field).ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        raise malformed("TIME_MALFORMED", "a time is of the years 1 to 9999", subject=field) from error
    return moment


def write_duration(span: timedelta) -> Duration:
    """Write a span of time."""
    written = Duration()
    written.FromTimedelta(span)
    return written


def read_duration(holder: Message, field: str) -> timedelta | None:
    """Read an optional span of a message.

    Raises:
        FleetError: MALFORMED `DURATION_MALFORMED`.
    """
    if not holder.HasField(field):
        return None
    try:
        span: timedelta = getattr(holder, field).ToTimedelta()
    except (ValueError, OverflowError) as error:
        raise malformed("DURATION_MALFORMED", "not a span of time", subject=field) from error
    return span


def write_lifecycle(lifecycle: Lifecycle) -> attestation_pb2.Lifecycle.ValueType:
    """Say what can be observed of a satellite."""
    return _LIFECYCLES[lifecycle]


def write_role(role: Role) -> fleet_pb2.Role.ValueType:
    """Say what an operator may do."""
    return _ROLES[role]


def read_role(number: int) -> Role:
    """Read a role.

    Raises:
        FleetError: MALFORMED `ROLE_UNKNOWN`.
    """
    role = _ROLES_READ.get(fleet_pb2.Role.ValueType(number))
    if role is None:
        raise malformed("ROLE_UNKNOWN", "a role is viewer, editor or admin", subject=str(number))
    return role


def page_size(asked: int) -> int:
    """Bound a page: `0 → 100`.

    Raises:
        FleetError: MALFORMED `PAGE_SIZE` past 1,000.
    """
    if asked > MAX_PAGE:
        raise malformed("PAGE_SIZE", f"a page has 1 to {MAX_PAGE} rows", subject=str(asked))
    return asked or DEFAULT_PAGE


_Sized = TypeVar("_Sized", bound=Sized)


def within(value: _Sized, most: int, *, what: str) -> _Sized:
    """Return a text or list that is not too long.

    Raises:
        FleetError: MALFORMED `TOO_LONG`.
    """
    if len(value) > most:
        raise malformed("TOO_LONG", f"{what} has at most {most}", subject=f"{len(value)}")
    return value


def clean(text: str, most: int = MAX_TEXT) -> str:
    """Make a peer's text fit to be stored and shown: no control characters, not too long."""
    return text.translate(_CONTROL)[:most]


def request_id(text: str) -> str:
    """Return a request id that is not too long.

    Raises:
        FleetError: MALFORMED `TOO_LONG`.
    """
    return within(text, MAX_ID, what="a request id")
