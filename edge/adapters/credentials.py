"""Credentials of sources, asked of Ground Control when they are needed and kept in memory for a moment."""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from edge.app.ground_control import SourceCredential
from edge.app.ports import Credential
from fleet.errors import FleetError, Kind

ANSWER_S = 25.0
KEPT_S = 30.0
"""How long one answer serves: many repositories ask at once."""
RENEWED_S = 2.0
"""How long the answer to a refusal serves at least: a credential that stays wrong is refused often."""


@dataclass(frozen=True, slots=True)
class _Kept:
    credential: Credential
    asked_at: float
    is_renewed: bool

    def serves(self, refused: Credential | None, now: float) -> bool:
        """Say whether it need not be asked for again."""
        if self.credential != refused:
            return now - self.asked_at < KEPT_S
        return self.is_renewed and now - self.asked_at < RENEWED_S


class Issuer(Protocol):
    """What is asked of a link to Ground Control."""

    async def source_credential(self, source: str) -> SourceCredential:
        """Ask for a credential to pull with."""


class Credentials:
    """Asks on the event loop what threads want to know."""

    def __init__(
        self,
        link: Callable[[], Issuer | None],
        loop: asyncio.AbstractEventLoop,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._link = link
        self._loop = loop
        self._monotonic = monotonic
        self._kept: dict[str, _Kept] = {}

    def issue(self, source: str, refused: Credential | None = None) -> Credential | None:
        """Get a source's credential, from a thread; None where it is anonymous.

        Where the source has just refused one that is still kept, it is asked for anew.

        Raises:
            FleetError: UNAVAILABLE `CREDENTIAL_UNAVAILABLE` without a link; what Ground Control says.
        """
        kept, now = self._kept.get(source), self._monotonic()
        if kept is None or not kept.serves(refused, now):
            kept = self._kept[source] = _Kept(self._ask(source), now, is_renewed=refused is not None)
        credential = kept.credential
        return credential if credential.username or credential.bearer else None

    def _ask(self, source: str) -> Credential:
        link = self._link()
        if link is None:
            raise _unavailable(source)
        asked: concurrent.futures.Future[SourceCredential] = asyncio.run_coroutine_threadsafe(
            link.source_credential(source), self._loop
        )
        try:
            return asked.result(ANSWER_S).credential
        except (TimeoutError, concurrent.futures.CancelledError) as error:
            raise _unavailable(source) from error


def _unavailable(source: str) -> FleetError:
    text = "the source wants a credential, which only Ground Control has, and there is no link to it"
    return FleetError(Kind.UNAVAILABLE, "CREDENTIAL_UNAVAILABLE", text, subject=source)
