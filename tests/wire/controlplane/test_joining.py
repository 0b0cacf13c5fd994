"""Joining and coming back, over the real bootstrap listener and the real store."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from certs.device_key import load_or_make_device_key
from certs.enrollment import Enrollment
from fleet.errors import FleetError, Kind
from fleet.joinstring import JoinString, parse_join_string
from fleet.v1 import attestation_pb2, fleet_pb2, state_pb2
from fleet.v1.attestation_pb2_grpc import AttestationServiceStub
from tests.rig.identity import TRUST_DOMAIN, Realm, utc_now
from tests.wire.controlplane.site import Site, refusal, satellite_id


async def invited(site: Site, name: str, **fields: object) -> JoinString:
    """Mint a satellite's token by the API; the addresses are the running listeners'."""
    request = fleet_pb2.CreateJoinTokenRequest(satellite=name, region="north", **fields)  # type: ignore[arg-type]
    return parse_join_string((await site.operators().CreateJoinToken(request)).join_string)


def device(place: JoinString, directory: Path, name: str = "device") -> Enrollment:
    return Enrollment(place, load_or_make_device_key(directory / f"{name}.key"), now=utc_now)


async def test_a_join_string_makes_approves_and_identifies_a_satellite(site: Site, tmp_path: Path) -> None:
    await site.operators().CreateGroup(fleet_pb2.CreateGroupRequest(group=fleet_pb2.Group(name="shops")))
    place = await invited(site, "kiosk-1", groups=["shops"])
    material = await device(place, tmp_path).join()
    assert material.spiffe_id == satellite_id("kiosk-1")
    attest = AttestationServiceStub(site.channel(material))
    answer = await attest.Attest(attestation_pb2.AttestRequest(boot_id=bytes(16)))
    assert answer.lifecycle == attestation_pb2.LIFECYCLE_STALE
    state = await site.states(material).GetState(state_pb2.GetStateRequest())
    assert "group/shops" in {scope.binding.scope for scope in state.scopes}


async def test_a_lost_reply_is_repeated_and_a_thief_is_refused_and_seen(site: Site, tmp_path: Path) -> None:
    place = await invited(site, "kiosk-1")
    joining = device(place, tmp_path)
    await joining.join()
    assert (await joining.join()).spiffe_id == satellite_id("kiosk-1")
    with pytest.raises(FleetError) as refused:
        await device(place, tmp_path, "thief").join()
    assert (refused.value.kind, refused.value.reason) == (Kind.REFUSED, "TOKEN_USED")
    tokens = (await site.operators().ListJoinTokens(fleet_pb2.ListJoinTokensRequest())).tokens
    assert [(token.HasField("used_at"), token.refused_attempts) for token in tokens] == [(True, 1)]


async def test_a_deleted_token_is_useless(site: Site, tmp_path: Path) -> None:
    place = await invited(site, "kiosk-1")
    await site.operators().DeleteJoinToken(fleet_pb2.DeleteJoinTokenRequest(id=place.token_id))
    with pytest.raises(FleetError) as refused:
        await device(place, tmp_path).join()
    assert refused.value.reason == "TOKEN_INVALID"


async def test_a_device_key_renews_until_it_is_revoked_and_a_new_token_brings_it_back(
    site: Site, tmp_path: Path
) -> None:
    joining = device(await invited(site, "kiosk-1"), tmp_path)
    await joining.join()
    assert (await joining.renew()).spiffe_id == satellite_id("kiosk-1")
    admin = site.operators()
    await admin.RevokeSatellite(fleet_pb2.RevokeSatelliteRequest(name="kiosk-1", reason="stolen"))
    with pytest.raises(FleetError) as refused:
        await joining.renew()
    assert refused.value.kind is Kind.REFUSED
    await admin.ReinstateSatellite(fleet_pb2.ReinstateSatelliteRequest(name="kiosk-1"))
    with pytest.raises(FleetError) as unknown:
        await joining.renew()
    assert unknown.value.reason == "DEVICE_UNKNOWN"
    again = device(await invited(site, "kiosk-1"), tmp_path, "replacement")
    assert (await again.join()).spiffe_id == satellite_id("kiosk-1")


async def test_a_man_in_the_middle_is_told_no_secret(site: Site, tmp_path: Path) -> None:
    place = await invited(site, "kiosk-1")
    site.source.change(Realm().material(place.ground_control, dns_names=("localhost",)), site.realm.bundle)
    with pytest.raises(FleetError) as refused:
        await device(place, tmp_path).join()
    assert refused.value.kind is Kind.UNIDENTIFIED
    tokens = (await site.fleet.list_tokens()).items
    assert [token.used_at for token in tokens] == [None]


async def test_an_operator_joins_only_with_a_role(site: Site) -> None:
    admin = site.operators()
    error = await refusal(admin.CreateJoinToken(fleet_pb2.CreateJoinTokenRequest(operator="casey")))
    assert (error.kind, error.reason) == (Kind.UNKNOWN, "OPERATOR_UNKNOWN")
    viewer = fleet_pb2.Operator(name="casey", role=fleet_pb2.ROLE_VIEWER)
    await admin.SetOperator(fleet_pb2.SetOperatorRequest(operator=viewer))
    answer = await admin.CreateJoinToken(fleet_pb2.CreateJoinTokenRequest(operator="casey"))
    assert parse_join_string(answer.join_string).spiffe_id == f"spiffe://{TRUST_DOMAIN}/operator/casey"


@pytest.mark.parametrize("life", [timedelta(seconds=1), timedelta(days=400)])
async def test_a_token_lives_from_a_minute_to_thirty_days(site: Site, life: timedelta) -> None:
    request = fleet_pb2.CreateJoinTokenRequest(satellite="kiosk-1")
    request.ttl.FromTimedelta(life)
    assert (await refusal(site.operators().CreateJoinToken(request))).reason == "TTL_OUT_OF_RANGE"


async def test_a_token_is_for_somebody(site: Site) -> None:
    error = await refusal(site.operators().CreateJoinToken(fleet_pb2.CreateJoinTokenRequest()))
    assert error.reason == "SUBJECT_MISSING"
