"""What a caller hears of its mistakes, and what it never hears."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2

from controlplane.app.fleet import Fleet
from fleet.errors import Kind
from fleet.rpc_errors import CODES, STATUS_KEY
from fleet.v1 import fleet_pb2, health_pb2, resource_pb2, state_pb2
from fleet.v1.health_pb2_grpc import HealthServiceStub
from tests.wire.controlplane.site import ADMIN, Site, refusal

Raw = Callable[[bytes], Awaitable[bytes]]


def raw(site: Site, caller: str, method: str) -> Raw:
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = site.channel(caller).unary_unary(method)
    return call


def test_every_kind_has_a_code_of_its_own() -> None:
    assert set(CODES) == set(Kind)
    assert len(set(CODES.values())) == len(CODES)


async def test_an_error_carries_reason_domain_and_subject(site: Site) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await site.operators().GetGroup(fleet_pb2.GetGroupRequest(name="shops"))
    trailers = dict(refused.value.trailing_metadata())
    status = status_pb2.Status.FromString(bytes(trailers[STATUS_KEY]))
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert (info.reason, info.domain, info.metadata["subject"]) == ("GROUP_UNKNOWN", "fleet.v1", "shops")


async def test_bytes_that_are_no_message_are_malformed(site: Site) -> None:
    error = await refusal(raw(site, ADMIN, "/fleet.v1.FleetService/CreateGroup")(b"\xff\xff\xff"))
    assert (error.kind, error.reason) == (Kind.MALFORMED, "MESSAGE_MALFORMED")


async def test_a_satellites_message_has_at_most_64_kib(site: Site) -> None:
    caller = await site.satellite("kiosk-1")
    method = "/fleet.v1.StateService/GetState"
    error = await refusal(raw(site, caller, method)(bytes(64 * 1024 + 1)))
    assert (error.kind, error.reason) == (Kind.MALFORMED, "MESSAGE_TOO_LARGE")


async def test_an_operators_message_has_at_most_4_mib(site: Site) -> None:
    method = "/fleet.v1.FleetService/CreateGroup"
    error = await refusal(raw(site, ADMIN, method)(bytes(4 * 1024 * 1024 + 1)))
    assert error.reason == "MESSAGE_TOO_LARGE"
    error = await refusal(raw(site, ADMIN, method)(bytes(8 * 1024 * 1024)))
    assert error.reason == "MESSAGE_TOO_LARGE"


async def test_a_stream_message_past_the_limit_ends_the_stream_with_its_reason(site: Site, boot_id: bytes) -> None:
    stub = site.states(await site.satellite("kiosk-1"))
    call = stub.StreamState()
    held = [state_pb2.HeldScope(scope=f"group/{'x' * 60}{number}", digest=bytes(32)) for number in range(900)]
    subscribe = state_pb2.Subscribe(protocol_version=1, boot_id=boot_id, session_number=1, held=held)
    await call.write(state_pb2.StreamStateRequest(subscribe=subscribe))
    assert (await refusal(call.read())).reason == "MESSAGE_TOO_LARGE"


async def test_a_defect_of_ours_says_nothing_of_itself(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(_self: Fleet) -> None:
        raise ValueError("the secret is swordfish")

    monkeypatch.setattr(Fleet, "fleet_status", broken)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await site.operators().GetFleetStatus(fleet_pb2.GetFleetStatusRequest())
    assert refused.value.code() is grpc.StatusCode.INTERNAL
    assert "swordfish" not in repr(refused.value)
    assert "ValueError" not in repr(refused.value)


async def test_a_policy_with_a_field_that_this_server_does_not_know_is_refused(site: Site) -> None:
    spec = resource_pb2.PolicySpec.FromString(b"\x0a\x06hub/**" + b"\xf8\x07\x01")
    policy = fleet_pb2.Policy(name="base", spec=spec)
    error = await refusal(site.operators().CreatePolicy(fleet_pb2.CreatePolicyRequest(policy=policy)))
    assert (error.kind, error.reason) == (Kind.MALFORMED, "FIELD_UNKNOWN")


async def test_a_request_id_gives_the_first_answer_again_and_serves_one_request_only(site: Site) -> None:
    admin = site.operators()
    request = fleet_pb2.CreateGroupRequest(group=fleet_pb2.Group(name="shops"), request_id="r1")
    assert (await admin.CreateGroup(request)).position == (await admin.CreateGroup(request)).position
    other = fleet_pb2.CreateGroupRequest(group=fleet_pb2.Group(name="ships"), request_id="r1")
    error = await refusal(admin.CreateGroup(other))
    assert (error.kind, error.reason) == (Kind.EXISTS, "REQUEST_ID_REUSED")


async def test_a_lost_compare_and_set_says_so(site: Site) -> None:
    admin = site.operators()
    await admin.CreateGroup(fleet_pb2.CreateGroupRequest(group=fleet_pb2.Group(name="shops")))
    stale = fleet_pb2.Group(name="shops", description="x", etag="stale")
    error = await refusal(admin.UpdateGroup(fleet_pb2.UpdateGroupRequest(group=stale)))
    assert (error.kind, error.reason) == (Kind.CONFLICT, "ETAG_MISMATCH")


async def test_an_unknown_call_is_unimplemented(site: Site) -> None:
    assert (await refusal(raw(site, ADMIN, "/fleet.v1.FleetService/Nothing")(b""))).reason == "RPC_UNKNOWN"


async def test_a_page_has_at_most_a_thousand_rows(site: Site) -> None:
    error = await refusal(site.operators().ListGroups(fleet_pb2.ListGroupsRequest(page_size=1001)))
    assert error.kind is Kind.MALFORMED


async def test_health_that_is_no_number_is_malformed(site: Site) -> None:
    stub = HealthServiceStub(site.channel(await site.satellite("kiosk-1")))
    sick = health_pb2.ReportHealthRequest(health=health_pb2.Health(cpu_fraction=float("nan")))
    assert (await refusal(stub.ReportHealth(sick))).reason == "HEALTH_MALFORMED"
    assert (await refusal(stub.ReportHealth(health_pb2.ReportHealthRequest()))).reason == "HEALTH_MISSING"
    fine = health_pb2.ReportHealthRequest(health=health_pb2.Health(cpu_fraction=0.5))
    assert (await stub.ReportHealth(fine)).next_after.seconds == 30
