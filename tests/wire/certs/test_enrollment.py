from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from certs.device_key import FileDeviceKey, load_or_make_device_key
from certs.enrollment import Enrollment
from certs.renewal import Renewal
from certs.workload import WorkloadServer
from fleet.bridge import Bridge
from fleet.errors import FleetError, Kind
from fleet.joinstring import JoinString, parse_join_string
from fleet.svid import X509Material, read_leaf
from fleet.workloadsource import WorkloadSource
from tests.rig.identity import (
    GROUND_CONTROL,
    SATELLITE,
    TRUST_DOMAIN,
    Realm,
    echo_server,
    eventually,
    say,
    utc_now,
)
from tests.rig.joining import bootstrap_listener
from tests.unit.certs.test_renewal import running

OPERATOR = f"spiffe://{TRUST_DOMAIN}/operator/ann"


@pytest.fixture
def device_key(tmp_path: Path) -> FileDeviceKey:
    return load_or_make_device_key(tmp_path / "keys" / "device.pem")


@pytest.fixture
def realm() -> Realm:
    return Realm()


def enrollment(place: JoinString, key: FileDeviceKey) -> Enrollment:
    return Enrollment(place, key, now=utc_now)


async def refusal(attempt: Awaitable[X509Material]) -> FleetError:
    with pytest.raises(FleetError) as refused:
        await attempt
    return refused.value


@pytest.mark.parametrize("spiffe_id", [SATELLITE, OPERATOR])
async def test_a_pasted_line_becomes_an_identity(realm: Realm, device_key: FileDeviceKey, spiffe_id: str) -> None:
    async with bootstrap_listener(realm) as listener:
        place = parse_join_string(listener.join_string(spiffe_id).encode())
        material = await enrollment(place, device_key).join()
    assert material.spiffe_id == read_leaf(material.chain[0]).spiffe_id == spiffe_id
    assert material.bundle == realm.bundle


async def test_the_identity_opens_the_fleets_listener(realm: Realm, device_key: FileDeviceKey, tmp_path: Path) -> None:
    server = WorkloadServer()
    await server.start(tmp_path / "w" / "s")
    async with bootstrap_listener(realm) as listener, echo_server(realm.material(GROUND_CONTROL)) as echo:
        await server.publish(await enrollment(listener.join_string(), device_key).join())
        async with WorkloadSource(tmp_path / "w" / "s") as source:
            await source.ready(within=timedelta(seconds=10))
            async with (
                Bridge(echo.address, expected=GROUND_CONTROL, source=source) as bridge,
                bridge.channel() as channel,
            ):
                await say(channel)
        assert echo.callers == [SATELLITE]
    await server.stop()


async def test_a_lost_reply_is_asked_for_again(realm: Realm, device_key: FileDeviceKey) -> None:
    async with bootstrap_listener(realm) as listener:
        listener.lose_replies = 1
        joining = enrollment(listener.join_string(), device_key)
        assert (await refusal(joining.join())).kind is Kind.UNAVAILABLE
        assert (await joining.join()).spiffe_id == SATELLITE
        assert listener.store.misuses == []


async def test_a_crash_after_a_lost_reply_costs_nothing_either(realm: Realm, device_key: FileDeviceKey) -> None:
    async with bootstrap_listener(realm) as listener:
        listener.lose_replies = 1
        place = listener.join_string()
        await refusal(enrollment(place, device_key).join())
        assert (await enrollment(place, device_key).join()).spiffe_id == SATELLITE


async def test_a_token_used_twice_is_refused_and_reported(
    realm: Realm, device_key: FileDeviceKey, tmp_path: Path
) -> None:
    async with bootstrap_listener(realm) as listener:
        place = listener.join_string()
        await enrollment(place, device_key).join()
        thief = load_or_make_device_key(tmp_path / "thief" / "device.pem")
        error = await refusal(enrollment(place, thief).join())
        assert (error.kind, error.reason) == (Kind.REFUSED, "TOKEN_USED")
        assert listener.store.misuses == [place.token_id]


async def test_a_man_in_the_middle_hears_no_secret(realm: Realm, device_key: FileDeviceKey) -> None:
    async with bootstrap_listener(Realm()) as attacker:
        place = replace(attacker.join_string(), roots=realm.bundle)
        error = await refusal(enrollment(place, device_key).join())
        assert error.reason == "GC_UNTRUSTED"
        assert attacker.secrets_heard == []


async def test_another_member_of_the_trust_domain_is_not_ground_control(
    realm: Realm, device_key: FileDeviceKey
) -> None:
    async with bootstrap_listener(realm, own_id=f"spiffe://{TRUST_DOMAIN}/gc/other") as attacker:
        error = await refusal(enrollment(attacker.join_string(), device_key).join())
        assert error.reason == "GC_ID_MISMATCH"
        assert attacker.secrets_heard == []


async def test_after_joining_the_device_key_alone_renews(realm: Realm, device_key: FileDeviceKey) -> None:
    async with bootstrap_listener(realm) as listener:
        joining = enrollment(listener.join_string(), device_key)
        joined = await joining.join()
        kept = parse_join_string(joining.place.encode())
        assert kept.secret == b""
        renewed = await enrollment(kept, device_key).renew()
        assert renewed.spiffe_id == SATELLITE
        assert renewed.key != joined.key
        assert (await refusal(enrollment(kept, device_key).join())).reason == "JOIN_STRING_SPENT"


async def test_a_revoked_device_does_not_come_back_by_itself(realm: Realm, device_key: FileDeviceKey) -> None:
    async with bootstrap_listener(realm) as listener:
        joining = enrollment(listener.join_string(), device_key)
        await joining.join()
        listener.store.revoked.add(SATELLITE)
        error = await refusal(joining.renew())
        assert (error.kind, error.reason, error.subject) == (Kind.REFUSED, "REVOKED", SATELLITE)


async def test_an_answer_for_another_identity_is_not_accepted(realm: Realm, device_key: FileDeviceKey) -> None:
    async with bootstrap_listener(realm) as listener:
        place = replace(listener.join_string(), spiffe_id=SATELLITE.replace("kiosk-1", "kiosk-2"))
        assert (await refusal(enrollment(place, device_key).join())).reason == "IDENTITY_UNEXPECTED"


async def test_svids_of_seconds_and_their_rotation_leave_no_gap(
    realm: Realm, device_key: FileDeviceKey, tmp_path: Path
) -> None:
    server = WorkloadServer()
    await server.start(tmp_path / "w" / "s")
    async with (
        bootstrap_listener(realm, svid_life=timedelta(seconds=4)) as listener,
        echo_server(realm.material(GROUND_CONTROL)) as echo,
    ):
        joining = enrollment(listener.join_string(), device_key)
        renewal = Renewal(joining.renew, server.publish, now=utc_now)
        await renewal.adopt(await joining.join())
        async with running(renewal), WorkloadSource(tmp_path / "w" / "s") as source:
            seen = {await source.ready(within=timedelta(seconds=10))}
            async with Bridge(echo.address, expected=GROUND_CONTROL, source=source) as bridge:
                while len(seen) < 4:
                    async with bridge.channel() as channel:  # each with a handshake of its own
                        await say(channel)
                    seen.add(source.svid() or await source.ready(within=timedelta(seconds=1)))
        assert set(echo.callers) == {SATELLITE}
    await server.stop()


async def test_away_until_everything_has_expired_it_comes_back(
    realm: Realm, device_key: FileDeviceKey, tmp_path: Path
) -> None:
    published: list[X509Material | None] = []

    async def publish(material: X509Material | None) -> None:
        published.append(material)

    async with bootstrap_listener(realm, svid_life=timedelta(seconds=1)) as listener:
        joining = enrollment(listener.join_string(), device_key)
        first = await joining.join()
        await eventually(lambda: utc_now() > read_leaf(first.chain[0]).not_after)
        realm.restart_authority()
        async with running(Renewal(joining.renew, publish, now=utc_now)):
            await eventually(lambda: len(published) > 0)
    assert published[0] is not None
    assert published[0].chain[1] != first.chain[1]
