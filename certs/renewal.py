"""The loop that keeps an identity fresh: a new key and certificate at half life, for as long as anyone issues them.

It needs nothing of the old SVID, so an absence of any length ends by itself once Ground Control answers.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NoReturn

import structlog

from fleet.errors import FleetError, Kind
from fleet.svid import X509Material, read_leaf

_log = structlog.get_logger(__name__)

JITTER = 0.1
"""Part of the time to the next renewal that is left to chance: a fleet that joined at once must not renew at once."""
FIRST_RETRY = timedelta(seconds=1)
LAST_RETRY = timedelta(minutes=1)
REVOKED_RETRY = timedelta(hours=1)
_SHORTEST = timedelta(milliseconds=200)
_STEP = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class RenewalState:
    """What a person may ask about an identity."""

    spiffe_id: str = ""
    not_after: datetime | None = None
    renewed_at: datetime | None = None
    next_at: datetime | None = None
    failures: int = 0
    """Attempts in a row that failed."""
    last_error: FleetError | None = None


class Renewal:
    """Obtains an identity again and again, and publishes each one.

    Args:
        obtain: gets one; what it raises, a `FleetError` or an `OSError`, is told in `state`, and it is asked again.
        publish: told each one, and None where ours is revoked.
        now: the clock.
        first_retry: the pause after a first failure; each one after it is twice as long.

    Attributes:
        state: how it stands, for status.
    """

    def __init__(
        self,
        obtain: Callable[[], Awaitable[X509Material]],
        publish: Callable[[X509Material | None], Awaitable[None]],
        *,
        now: Callable[[], datetime],
        first_retry: timedelta = FIRST_RETRY,
    ) -> None:
        self._obtain = obtain
        self._publish = publish
        self._now = now
        self._first_retry = first_retry
        self._asked = asyncio.Event()
        self.state = RenewalState()

    def renew_now(self) -> None:
        """Cut the wait short: the network is back, or the server said that our SVID is no longer good."""
        self._asked.set()

    async def adopt(self, material: X509Material) -> None:
        """Publish an identity that was obtained elsewhere (by joining) and time its renewal."""
        leaf, at = read_leaf(material.chain[0]), self._now()
        # Counted from now, not from notBefore: certificates are backdated, seconds-long ones by more than they live.
        self.state = RenewalState(
            spiffe_id=leaf.spiffe_id,
            not_after=leaf.not_after,
            renewed_at=at,
            next_at=at + _spread((leaf.not_after - at) / 2),
        )
        await self._publish(material)

    async def run(self) -> NoReturn:
        """Keep the identity fresh until cancelled; the first one is obtained at once unless one was adopted."""
        while True:
            await self._wait(self.state.next_at)
            try:
                material = await self._obtain()
            except FleetError as error:
                await self._fail(error)
            except OSError as error:
                await self._fail(_machine_error(error))
            else:
                await self.adopt(material)
                _log.info("svid.renewed", spiffe_id=material.spiffe_id, not_after=str(self.state.not_after))

    async def _wait(self, until: datetime | None) -> None:
        if until is None:
            return
        monotonic_s = asyncio.get_running_loop().time
        pause = max(until - self._now(), _SHORTEST)
        ends_s = monotonic_s() + pause.total_seconds()
        while pause > timedelta(0) and not self._asked.is_set():
            # In steps, because the machine may sleep and its clock may be set while we wait: forward, it brings the
            # end nearer; back, it must not put it off.
            with suppress(TimeoutError):
                async with asyncio.timeout(min(pause, _STEP).total_seconds()):
                    await self._asked.wait()
            pause = min(until - self._now(), timedelta(seconds=ends_s - monotonic_s()))
        self._asked.clear()

    async def _fail(self, error: FleetError) -> None:
        state, at = self.state, self._now()
        if error.reason == "REVOKED":
            pause = REVOKED_RETRY
            await self._publish(None)  # whoever holds the socket must not go on with it
        else:
            pause = min(self._first_retry * 2 ** min(state.failures, 16), LAST_RETRY)
        pause = max(_spread(pause), error.retry_after or _SHORTEST)
        self.state = RenewalState(
            spiffe_id=state.spiffe_id,
            not_after=state.not_after,
            renewed_at=state.renewed_at,
            next_at=at + pause,
            failures=state.failures + 1,
            last_error=error,
        )
        _log.warning("svid.renewal_failed", reason=error.reason, detail=error.detail, retry_s=pause.total_seconds())


def _machine_error(error: OSError) -> FleetError:
    text = "this machine does not let us renew: its disk may be full, or too many files may be open"
    return FleetError(Kind.UNAVAILABLE, "RENEWAL_FAILED", text, detail=repr(error))


def _spread(pause: timedelta) -> timedelta:
    return max(pause * random.uniform(1 - JITTER, 1 + JITTER), _SHORTEST)  # noqa: S311 - not a secret
