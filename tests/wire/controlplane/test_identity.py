"""Who is let in: by certificate alone, judged anew for every call."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from fleet.errors import Kind
from fleet.rpc_errors import from_rpc_error
from fleet.v1 import attestation_pb2, fleet_pb2
from fleet.v1.attestation_pb2_grpc import AttestationServiceStub
from fleet.v1.fleet_pb2_grpc import FleetServiceStub
from tests.rig.identity import GROUND_CONTROL, Realm, utc_now
from tests.wire.controlplane.site import ADMIN, Site, refusal, satellite_id

ASK = fleet_pb2.ListGroupsRequest()
Health = grpc.aio.UnaryUnaryMultiCallable[health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse]


async def ask_until_refused(stub: FleetServiceStub) -> None:
    while True:
        await stub.ListGroups(ASK)
        await asyncio.sleep(0.1)


def health(channel: grpc.aio.Channel) -> Health:
    return channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        health_pb2.HealthCheckRequest.SerializeToString,
        health_pb2.HealthCheckResponse.FromString,
    )


async def test_a_caller_without_a_certificate_gets_no_connection(site: Site) -> None:
    error = await refusal(FleetServiceStub(site.channel(None)).ListGroups(ASK))
    assert (error.kind, error.reason) == (Kind.UNAVAILABLE, "GC_UNREACHABLE")


async def test_a_certificate_of_a_foreign_authority_gets_no_connection(site: Site) -> None:
    foreign = Realm().material(ADMIN)
    assert (await refusal(site.operators(foreign).ListGroups(ASK))).reason == "GC_UNREACHABLE"


async def test_an_expired_certificate_gets_no_connection(site: Site) -> None:
    expired = site.realm.material(ADMIN, ttl=timedelta(minutes=1), at=utc_now() - timedelta(minutes=5))
    assert (await refusal(site.operators(expired).ListGroups(ASK))).reason == "GC_UNREACHABLE"


async def test_a_connection_is_worth_nothing_once_its_certificate_has_expired(site: Site) -> None:
    brief = site.operators(site.realm.material(ADMIN, ttl=timedelta(seconds=2)))
    await brief.ListGroups(ASK)
    async with asyncio.timeout(10):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ask_until_refused(brief)
    assert from_rpc_error(refused.value).reason == "SVID_EXPIRED"


async def test_two_uri_names_are_nobodys(site: Site) -> None:
    error = await refusal(site.operators(site.realm.forged([ADMIN, satellite_id("kiosk-1")])).ListGroups(ASK))
    assert (error.kind, error.reason) == (Kind.UNIDENTIFIED, "SVID_URI_SAN")


async def test_a_certificate_without_a_uri_name_is_nobodys(site: Site) -> None:
    assert (await refusal(site.operators(site.realm.forged([])).ListGroups(ASK))).reason == "SVID_URI_SAN"


async def test_an_id_of_another_trust_domain_is_refused_though_our_root_signed_it(site: Site) -> None:
    stranger = site.realm.forged(["spiffe://other.test/operator/admin"])
    assert (await refusal(site.operators(stranger).ListGroups(ASK))).reason == "TRUST_DOMAIN_FOREIGN"


@pytest.mark.parametrize("uri", ["spiffe://fleet.test/workload/x", "https://fleet.test/operator/admin"])
async def test_an_id_of_no_shape_of_ours_is_refused(site: Site, uri: str) -> None:
    assert (await refusal(site.operators(site.realm.forged([uri])).ListGroups(ASK))).reason == "SPIFFE_ID_FOREIGN"


async def test_ground_controls_own_identity_makes_no_calls(site: Site) -> None:
    error = await refusal(site.operators(GROUND_CONTROL).ListGroups(ASK))
    assert (error.kind, error.reason) == (Kind.REFUSED, "ROLE_MISSING")


async def test_an_open_connection_is_refused_when_its_root_leaves_the_bundle(site: Site) -> None:
    admin = site.operators()
    await admin.ListGroups(ASK)
    other = Realm()
    site.source.change(other.material(GROUND_CONTROL, dns_names=("localhost",)), other.bundle)
    assert (await refusal(admin.ListGroups(ASK))).reason == "ISSUER_UNTRUSTED"


async def test_the_listeners_identity_rotates_without_a_restart(site: Site) -> None:
    other = Realm()
    both = site.realm.bundle + other.bundle
    site.source.change(other.material(GROUND_CONTROL, dns_names=("localhost",)), both)
    new = FleetServiceStub(site.channel(site.realm.material(ADMIN), roots=other.bundle))
    await new.ListGroups(ASK)
    old = FleetServiceStub(site.channel(site.realm.material(ADMIN)))
    assert (await refusal(old.ListGroups(ASK))).reason == "GC_UNREACHABLE"


async def test_a_satellite_may_not_take_a_name_of_another_region(site: Site, boot_id: bytes) -> None:
    await site.satellite("kiosk-1")
    impostor = AttestationServiceStub(site.channel(satellite_id("kiosk-1", region="south")))
    error = await refusal(impostor.Attest(attestation_pb2.AttestRequest(boot_id=boot_id)))
    assert (error.kind, error.reason) == (Kind.REFUSED, "NAME_TAKEN")


async def test_an_unknown_but_valid_satellite_becomes_pending(site: Site, boot_id: bytes) -> None:
    stranger = AttestationServiceStub(site.channel(satellite_id("kiosk-9")))
    answer = await stranger.Attest(attestation_pb2.AttestRequest(boot_id=boot_id))
    assert answer.lifecycle == attestation_pb2.LIFECYCLE_PENDING
    assert answer.HasField("retry_after")


async def test_a_revoked_satellite_cannot_come_back_by_itself(site: Site, boot_id: bytes) -> None:
    spiffe_id = await site.satellite("kiosk-1")
    await site.fleet.revoke(ADMIN, "kiosk-1")
    attest = AttestationServiceStub(site.channel(spiffe_id)).Attest(attestation_pb2.AttestRequest(boot_id=boot_id))
    error = await refusal(attest)
    assert (error.kind, error.reason) == (Kind.REFUSED, "REVOKED")


async def test_health_and_reflection_answer_only_callers_with_a_certificate(site: Site) -> None:
    check = health_pb2.HealthCheckRequest(service="fleet.v1.FleetService")
    known = await health(site.channel(ADMIN))(check)
    assert known.status == health_pb2.HealthCheckResponse.SERVING
    await refusal(health(site.channel(None))(check))
    await refusal(health(site.channel(None, port=site.bootstrap_port))(check))


async def test_reflection_names_every_service(site: Site) -> None:
    method: grpc.aio.StreamStreamMultiCallable[
        reflection_pb2.ServerReflectionRequest, reflection_pb2.ServerReflectionResponse
    ] = site.channel(ADMIN).stream_stream(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    call = method()
    await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    answer = await call.read()
    assert isinstance(answer, reflection_pb2.ServerReflectionResponse)
    names = {service.name for service in answer.list_services_response.service}
    assert {"fleet.v1.FleetService", "fleet.v1.StateService", "grpc.health.v1.Health"} <= names
