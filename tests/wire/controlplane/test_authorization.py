"""The table: complete, and obeyed."""

from __future__ import annotations

import pytest
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from controlplane.domain.entities import Role
from controlplane.rpc.authorization import TABLE, Listener, parties_for
from controlplane.rpc.caller import Party
from fleet.errors import Kind
from fleet.v1 import attestation_pb2, fleet_pb2, state_pb2
from fleet.v1 import health_pb2 as fleet_health_pb2
from fleet.v1.attestation_pb2_grpc import AttestationServiceStub
from tests.wire.controlplane.site import Site, refusal, satellite_id

BOOTSTRAP = {"GetChallenge", "Bootstrap", "Renew"}


def services() -> list[ServiceDescriptor]:
    files = (attestation_pb2, state_pb2, fleet_health_pb2, fleet_pb2, health_pb2, reflection_pb2)
    return [service for file in files for service in file.DESCRIPTOR.services_by_name.values()]


def test_the_tables_keys_are_the_rpcs_of_the_descriptors() -> None:
    described = {
        (Listener.BOOTSTRAP if method.name in BOOTSTRAP else Listener.FLEET, f"/{service.full_name}/{method.name}")
        for service in services()
        for method in service.methods
    }
    assert set(TABLE) == described


def test_only_the_bootstrap_listener_serves_anyone() -> None:
    for (listener, method), rule in TABLE.items():
        assert (Party.ANYONE in rule.parties) == (listener is Listener.BOOTSTRAP), method
        assert rule.parties, method


def test_every_kind_of_change_has_its_own_rule() -> None:
    for field in fleet_pb2.Deletion.DESCRIPTOR.oneofs_by_name["entity"].fields:
        deletion = fleet_pb2.Deletion()
        if field.message_type:
            getattr(deletion, field.name).SetInParent()
        else:
            setattr(deletion, field.name, "x")
        written = fleet_pb2.Change()
        getattr(written, field.name).SetInParent()
        assert parties_for(fleet_pb2.Change(delete=deletion)) == parties_for(written), field.name


@pytest.mark.parametrize(
    ("role", "reads", "edits", "administers"),
    [
        (Role.VIEWER, True, False, False),
        (Role.EDITOR, True, True, False),
        (Role.ADMIN, True, True, True),
    ],
)
async def test_each_role_includes_the_one_before(
    site: Site, role: Role, reads: bool, edits: bool, administers: bool
) -> None:
    stub = site.operators(await site.operator("casey", role))
    calls = (
        (reads, lambda: stub.ListGroups(fleet_pb2.ListGroupsRequest())),
        (edits, lambda: stub.CreateGroup(fleet_pb2.CreateGroupRequest(group=fleet_pb2.Group(name="shops")))),
        (administers, lambda: stub.ListOperators(fleet_pb2.ListOperatorsRequest())),
    )
    for allowed, call in calls:
        if allowed:
            await call()
        else:
            error = await refusal(call())
            assert (error.kind, error.reason) == (Kind.REFUSED, "ROLE_MISSING")


async def test_an_operator_without_a_role_is_refused(site: Site) -> None:
    stub = site.operators("spiffe://fleet.test/operator/nobody")
    assert (await refusal(stub.ListGroups(fleet_pb2.ListGroupsRequest()))).reason == "ROLE_MISSING"


async def test_an_editors_request_is_refused_whole_for_one_change_that_takes_an_admin(site: Site) -> None:
    stub = site.operators(await site.operator("casey", Role.EDITOR))
    group = fleet_pb2.Change(group=fleet_pb2.Group(name="shops"))
    satellite = fleet_pb2.Change(delete=fleet_pb2.Deletion(satellite="kiosk-1"))
    error = await refusal(stub.ApplyChanges(fleet_pb2.ApplyChangesRequest(changes=[group, satellite])))
    assert error.reason == "ROLE_MISSING"
    assert not (await stub.ListGroups(fleet_pb2.ListGroupsRequest())).groups


async def test_a_satellite_may_not_use_the_operators_api(site: Site) -> None:
    stub = site.operators(await site.satellite("kiosk-1"))
    assert (await refusal(stub.ListGroups(fleet_pb2.ListGroupsRequest()))).reason == "ROLE_MISSING"


async def test_an_operator_may_not_pose_as_a_satellite(site: Site, boot_id: bytes) -> None:
    admin = AttestationServiceStub(site.channel("spiffe://fleet.test/operator/admin"))
    assert (await refusal(admin.Attest(attestation_pb2.AttestRequest(boot_id=boot_id)))).reason == "ROLE_MISSING"


async def test_a_satellite_that_names_another_is_refused(site: Site) -> None:
    await site.satellite("kiosk-2")
    stub = site.states(await site.satellite("kiosk-1"))
    own = await stub.GetState(state_pb2.GetStateRequest(satellite="kiosk-1"))
    assert own.satellite == "kiosk-1"
    for name in ("kiosk-2", "kiosk-404"):
        error = await refusal(stub.GetState(state_pb2.GetStateRequest(satellite=name)))
        assert (error.kind, error.reason) == (Kind.REFUSED, "NOT_YOURS")


async def test_an_operator_names_whose_state_it_wants(site: Site) -> None:
    await site.satellite("kiosk-1")
    stub = site.states("spiffe://fleet.test/operator/admin")
    assert (await stub.GetState(state_pb2.GetStateRequest(satellite="kiosk-1"))).satellite == "kiosk-1"
    assert (await refusal(stub.GetState(state_pb2.GetStateRequest()))).reason == "SATELLITE_UNNAMED"


async def test_a_satellite_gets_credentials_only_for_its_own_state(site: Site) -> None:
    stub = site.states(await site.satellite("kiosk-1"))
    error = await refusal(stub.IssueSourceCredential(state_pb2.IssueSourceCredentialRequest(source="hub")))
    assert (error.kind, error.reason) == (Kind.REFUSED, "NOT_IN_STATE")


async def test_each_listener_serves_its_own_calls_only(site: Site, boot_id: bytes) -> None:
    joining = AttestationServiceStub(site.channel(None, port=site.bootstrap_port))
    assert (await joining.GetChallenge(attestation_pb2.GetChallengeRequest())).challenge
    error = await refusal(joining.Attest(attestation_pb2.AttestRequest(boot_id=boot_id)))
    assert error.reason == "RPC_NOT_SERVED_HERE"
    joined = AttestationServiceStub(site.channel(satellite_id("kiosk-1")))
    error = await refusal(joined.GetChallenge(attestation_pb2.GetChallengeRequest()))
    assert error.reason == "RPC_NOT_SERVED_HERE"
