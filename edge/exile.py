"""Whether this site is revoked: known from the moment on in which it is told, whatever room the disk has."""

from __future__ import annotations

from typing import Protocol

import structlog

from fleet.errors import FleetError

_log = structlog.get_logger(__name__)


class Facts(Protocol):
    """The part of the journal that remembers it over restarts."""

    def is_revoked(self) -> bool:
        """Say what was remembered."""

    def remember_revoked(self, *, is_revoked: bool) -> None:
        """Remember it.

        Raises:
            FleetError: UNAVAILABLE `JOURNAL_FULL`.
        """


class Exile:
    """What Ground Control said last, here and in the journal.

    Attributes:
        is_revoked: whether it has turned us away and not yet taken us back.
    """

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self.is_revoked = facts.is_revoked()

    def told(self, *, is_revoked: bool) -> None:
        """Take note of it; a journal without room gets it the next time that it is told."""
        self.is_revoked = is_revoked
        try:
            self._facts.remember_revoked(is_revoked=is_revoked)
        except FleetError as error:
            _log.error("revocation.unwritten", reason=error.reason, detail=error.detail)
