from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from certs import renewal as renewal_module
from certs.renewal import Renewal
from fleet.errors import FleetError, Kind
from fleet.svid import X509Material
from tests.rig.identity import SATELLITE, Realm, eventually, utc_now

REALM = Realm()
BRIEFLY = timedelta(milliseconds=20)


@dataclass
class Issuer:
    """Issues or refuses, and keeps what was published."""

    ttl: timedelta = timedelta(minutes=10)
    refusals: list[FleetError | OSError] = field(default_factory=list)
    published: list[X509Material | None] = field(default_factory=list)
    ahead: timedelta = timedelta(0)
    """By how much the clock is wrong."""

    async def obtain(self) -> X509Material:
        if self.refusals:
            raise self.refusals.pop()
        return REALM.material(ttl=self.ttl)

    async def publish(self, material: X509Material | None) -> None:
        self.published.append(material)

    def renewal(self) -> Renewal:
        return Renewal(self.obtain, self.publish, now=self.now, first_retry=BRIEFLY)

    def now(self) -> datetime:
        return utc_now() + self.ahead


@asynccontextmanager
async def running(renewal: Renewal) -> AsyncIterator[None]:
    task = asyncio.create_task(renewal.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def unreachable() -> FleetError:
    return FleetError(Kind.UNAVAILABLE, "GC_UNREACHABLE", "away")


async def test_the_first_identity_is_obtained_at_once() -> None:
    issuer = Issuer()
    renewal = issuer.renewal()
    async with running(renewal):
        await eventually(lambda: len(issuer.published) == 1)
    assert renewal.state.spiffe_id == SATELLITE
    assert renewal.state.failures == 0


async def test_it_renews_at_half_life_with_jitter() -> None:
    issuer = Issuer()
    renewal = issuer.renewal()
    at = utc_now()
    await renewal.adopt(await issuer.obtain())
    assert renewal.state.next_at is not None
    assert timedelta(minutes=4.4) < renewal.state.next_at - at < timedelta(minutes=5.6)


async def test_lives_of_seconds_are_followed_with_a_fresh_key_each() -> None:
    issuer = Issuer(ttl=timedelta(seconds=2))
    async with running(issuer.renewal()):
        await eventually(lambda: len(issuer.published) >= 3)
    keys = {material.key for material in issuer.published if material}
    assert len(keys) == len(issuer.published)


async def test_failures_are_retried_and_told() -> None:
    issuer = Issuer(refusals=[unreachable() for _ in range(3)])
    renewal = issuer.renewal()
    seen: list[str] = []

    def holds() -> bool:
        seen.append(renewal.state.last_error.reason if renewal.state.last_error else "")
        return len(issuer.published) == 1

    async with running(renewal):
        await eventually(holds)
    assert "GC_UNREACHABLE" in seen
    assert renewal.state.failures == 0
    assert renewal.state.last_error is None


async def test_the_old_identity_stays_while_nobody_answers() -> None:
    issuer = Issuer()
    renewal = issuer.renewal()
    held = await issuer.obtain()
    await renewal.adopt(held)
    issuer.refusals = [unreachable()] * 2
    async with running(renewal):
        await eventually(lambda: renewal.state.next_at is not None)
        renewal.renew_now()
        await eventually(lambda: len(issuer.published) == 2)
    assert None not in issuer.published


async def test_a_revoked_identity_is_withdrawn_and_asked_for_hourly() -> None:
    issuer = Issuer(refusals=[FleetError(Kind.REFUSED, "REVOKED", "revoked")])
    renewal = issuer.renewal()
    async with running(renewal):
        await eventually(lambda: issuer.published == [None])
        await eventually(lambda: renewal.state.failures == 1)
    assert renewal.state.next_at is not None
    assert renewal.state.next_at - utc_now() > timedelta(minutes=50)


async def test_retry_after_is_heeded() -> None:
    busy = FleetError(Kind.EXHAUSTED, "RATE", "busy", retry_after=timedelta(minutes=7))
    renewal = Issuer(refusals=[busy]).renewal()
    async with running(renewal):
        await eventually(lambda: renewal.state.failures == 1)
    assert renewal.state.next_at is not None
    assert renewal.state.next_at - utc_now() > timedelta(minutes=6)


async def test_a_clock_that_was_ahead_and_is_set_back_holds_up_no_renewal() -> None:
    issuer = Issuer(refusals=[unreachable()], ahead=timedelta(hours=2))
    renewal = issuer.renewal()
    async with running(renewal):
        await eventually(lambda: renewal.state.failures == 1)
        issuer.ahead = timedelta(0)
        await eventually(lambda: len(issuer.published) == 1, within_s=5)


async def test_a_clock_that_jumps_ahead_is_noticed_while_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renewal_module, "_STEP", BRIEFLY)
    issuer = Issuer()
    renewal = issuer.renewal()
    await renewal.adopt(await issuer.obtain())
    async with running(renewal):
        await eventually(lambda: len(issuer.published) == 1)
        issuer.ahead = timedelta(minutes=6)
        await eventually(lambda: len(issuer.published) >= 2, within_s=5)


async def test_what_the_machine_has_no_room_for_is_tried_again_at_the_usual_pace_and_told() -> None:
    issuer = Issuer(refusals=[OSError(errno.ENOSPC, "No space left on device")])
    renewal = issuer.renewal()
    async with running(renewal):
        await eventually(lambda: renewal.state.failures == 1)
        assert renewal.state.last_error is not None
        assert renewal.state.last_error.reason == "RENEWAL_FAILED"
        await eventually(lambda: len(issuer.published) == 1)
    assert renewal.state.last_error is None
