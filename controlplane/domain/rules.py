"""Rules of a single write: what a command does to what is there, before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from controlplane.domain.commands import EntityKind, Outcome, Upsert
from controlplane.domain.specs import SourceSpec
from fleet.errors import FleetError, Kind, malformed


def unknown(kind: EntityKind, name: str) -> FleetError:
    """Make the error for a name that is not there: `GROUP_UNKNOWN` and its like."""
    return FleetError(Kind.UNKNOWN, f"{kind.name}_UNKNOWN", f"there is no such {words(kind)}", subject=name[:120])


def words(kind: EntityKind) -> str:
    """Write a kind for people: `TRUST_ROOT → trust root`."""
    return kind.value.replace("_", " ")


def check_etag(given: str, held: str | None, name: str) -> None:
    """Compare an etag, where one was given.

    Raises:
        FleetError: CONFLICT `ETAG_MISMATCH`.
    """
    if given and given != held:
        text = "it changed since it was read: read it again"
        raise FleetError(Kind.CONFLICT, "ETAG_MISMATCH", text, subject=name)


def decide(kind: EntityKind, name: str, command: Upsert, *, held: str | None, offered: str) -> Outcome:
    """Decide what an upsert does: `held` and `offered` are etags, None where there is nothing yet.

    Making what exists with the same content is UNCHANGED: a repeated creation is no error.

    Raises:
        FleetError: EXISTS `<KIND>_EXISTS`; UNKNOWN `<KIND>_UNKNOWN`; CONFLICT `ETAG_MISMATCH`.
    """
    if command.must_exist and held is None:
        raise unknown(kind, name)
    check_etag(getattr(command.entity, "etag", ""), held, name)
    if held is None:
        return Outcome.CREATED
    if held == offered or command.implied:
        return Outcome.UNCHANGED
    if command.must_create:
        text = f"the {words(kind)} exists with other content"
        raise FleetError(Kind.EXISTS, f"{kind.name}_EXISTS", text, subject=name)
    return Outcome.UPDATED


def check_serial(serial: int, known: int, name: str) -> None:
    """See that what was signed is newer than what is known, as a pinned site will.

    Raises:
        FleetError: PRECONDITION `SERIAL_NOT_HIGHER`.
    """
    if serial <= known:
        text = f"the serial is not higher than that of what is known: sign it again, with {known + 1} or more"
        raise FleetError(Kind.PRECONDITION, "SERIAL_NOT_HIGHER", text, subject=name)


def check_expiry(expires_at: datetime | None, at: datetime, name: str) -> None:
    """See that something does not begin expired.

    Raises:
        FleetError: MALFORMED `EXPIRED_ALREADY`.
    """
    if expires_at is not None and expires_at <= at:
        raise malformed("EXPIRED_ALREADY", "this is expired already: give a later time, or none", subject=name)


def check_prefix(name: str, spec: SourceSpec, held: SourceSpec | None, owner_of: Callable[[str], str | None]) -> None:
    """See that repository paths under running workloads never change, and never collide.

    Args:
        name: the source's name.
        spec: what it is to be.
        held: what it is, if it is.
        owner_of: finds the source that has a prefix.

    Raises:
        FleetError: PRECONDITION `PREFIX_FIXED`; EXISTS `PREFIX_TAKEN`.
    """
    if held is not None:
        if held.local_prefix != spec.local_prefix:
            text = "a source's local prefix is fixed when it is made: paths at the sites never change"
            raise FleetError(Kind.PRECONDITION, "PREFIX_FIXED", text, subject=name)
        return
    taken = owner_of(spec.local_prefix)
    if taken is not None and taken != name:
        text = "another source has this local prefix; an empty one is for one source only"
        raise FleetError(Kind.EXISTS, "PREFIX_TAKEN", text, subject=taken)
