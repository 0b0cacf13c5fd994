"""Credentials of sources, asked of Ground Control when they are needed and kept in memory for a moment."""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from collections.abc import Callable

from edge.app.ground_control import Link, SourceCredential
from edge.app.ports import Credential
from fleet.errors import FleetError, Kind

ANSWER_S = 25.0
KEPT_S = 30.0
"""How long one answer serves: many repositories ask at once, and a refused one is asked for anew soon."""


class Credentials:
    """Asks on the event loop what threads want to know."""

    def __init__(self, link: Callable[[], Link | None], loop: asyncio.AbstractEventLoop) -> None:
        self._link = link
        self._loop = loop
        self._kept: dict[str, tuple[Credential, float]] = {}

    def issue(self, source: str) -> Credential | None:
        """Get a source's credential, from a thread; None where it is anonymous.

        Raises:
            FleetError: UNAVAILABLE `CREDENTIAL_UNAVAILABLE` without a link; what Ground Control says.
        """
        kept = self._kept.get(source)
        if kept is None or kept[1] <= time.monotonic():
            kept = self._kept[source] = (self._ask(source), time.monotonic() + KEPT_S)
        credential = kept[0]
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
