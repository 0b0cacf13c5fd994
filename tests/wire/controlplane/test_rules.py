"""Policies, trust roots, blocks and what was signed elsewhere, over the wire."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from controlplane.domain.entities import Role
from fleet.errors import Kind
from fleet.policy import BlockSpec, SignerSetSpec
from fleet.policy_wire import write_block, write_policy, write_signer_set
from fleet.v1 import fleet_pb2 as pb
from fleet.v1 import resource_pb2 as resources
from fleet.v1 import state_pb2
from tests.contract.store.words import D1, shut
from tests.rig.policy_signing import PolicySigner, kind_of, payload_of, signed_version
from tests.rig.trust_material import authority, ca_pem, trusted_root_json
from tests.wire.controlplane.site import Site, refusal

SIGNER = PolicySigner()


def signed(payload: resources.ResourcePayload) -> pb.Change:
    return pb.Change(
        signed=pb.SignedResource(
            kind=kind_of(payload),
            payload=payload.SerializeToString(),
            signatures=[SIGNER.sign(signed_version(payload))],
        )
    )


async def test_a_trust_root_is_made_read_replaced_listed_and_deleted(site: Site) -> None:
    stub = site.operators()
    spec = resources.TrustRootSpec(
        trusted_root_json=trusted_root_json(),
        ca_pem=[ca_pem()],
        signing_authority_pem=[ca_pem()],
        timestamp_authority_pem=[ca_pem()],
        revocation_lists=[authority().revocation_list()],
    )
    root = pb.TrustRoot(name="corporate", spec=spec)
    root.expires_at.FromDatetime(datetime(2100, 1, 1, tzinfo=UTC))
    made = (await stub.CreateTrustRoot(pb.CreateTrustRootRequest(trust_root=root))).trust_root
    assert (made.spec, made.expires_at, list(made.scopes)) == (spec, root.expires_at, ["fleet"])
    assert made.serial
    made.ClearField("expires_at")
    changed = (await stub.UpdateTrustRoot(pb.UpdateTrustRootRequest(trust_root=made))).trust_root
    assert not changed.HasField("expires_at")
    assert changed.serial > made.serial
    stale = pb.DeleteTrustRootRequest(name="corporate", etag="x")
    assert (await refusal(stub.DeleteTrustRoot(stale))).reason == "ETAG_MISMATCH"
    assert list((await stub.ListTrustRoots(pb.ListTrustRootsRequest())).trust_roots) == [changed]
    await stub.DeleteTrustRoot(pb.DeleteTrustRootRequest(name="corporate", etag=changed.etag))
    gone = await refusal(stub.GetTrustRoot(pb.GetTrustRootRequest(name="corporate")))
    assert (gone.kind, gone.reason) == (Kind.UNKNOWN, "TRUST_ROOT_UNKNOWN")


async def test_a_block_is_made_read_replaced_listed_and_deleted(site: Site) -> None:
    stub = site.operators()
    who = resources.SignerIdentity(
        issuer=resources.TextMatch(exact="https://issuer"), subject=resources.TextMatch(regexp="^mallory@")
    )
    spec = resources.BlockSpec(digests=[D1], signers=["a" * 64], reason="stolen", identities=[who])
    made = (await stub.CreateBlock(pb.CreateBlockRequest(block=pb.Block(name="bad", spec=spec)))).block
    assert made.spec == spec
    made.spec.ClearField("signers")
    changed = (await stub.UpdateBlock(pb.UpdateBlockRequest(block=made))).block
    assert changed.serial > made.serial
    assert (await stub.GetBlock(pb.GetBlockRequest(name="bad"))).block == changed
    assert list((await stub.ListBlocks(pb.ListBlocksRequest())).blocks) == [changed]
    await stub.DeleteBlock(pb.DeleteBlockRequest(name="bad"))
    assert (await refusal(stub.GetBlock(pb.GetBlockRequest(name="bad")))).reason == "BLOCK_UNKNOWN"


@pytest.mark.parametrize("left_out", ["issuer", "subject"])
async def test_half_an_identity_is_refused_and_never_left_out(site: Site, left_out: str) -> None:
    who = resources.SignerIdentity(issuer=resources.TextMatch(exact="i"), subject=resources.TextMatch(exact="s"))
    who.ClearField(left_out)  # type: ignore[arg-type] # one of its fields
    block = pb.Block(name="bad", spec=resources.BlockSpec(digests=[D1], identities=[who]))
    error = await refusal(site.operators().CreateBlock(pb.CreateBlockRequest(block=block)))
    assert (error.kind, error.reason) == (Kind.MALFORMED, "IDENTITY_MALFORMED")


async def test_what_was_signed_is_handed_on_with_its_signatures(site: Site) -> None:
    await site.satellite("kiosk-1")
    stub = site.operators()
    payload = payload_of(shut("hub/**"), "base", serial=9)
    change = signed(payload)
    done = await stub.ApplyChanges(pb.ApplyChangesRequest(changes=[change]))
    assert [(one.entity, one.name) for one in done.results] == [("policy", "base")]
    shown = (await stub.GetPolicy(pb.GetPolicyRequest(name="base"))).policy
    assert (shown.spec, shown.serial, list(shown.signed_by)) == (write_policy(shut("hub/**")), 9, [SIGNER.key_id])
    state = await site.states("spiffe://fleet.test/operator/admin").GetState(
        state_pb2.GetStateRequest(satellite="kiosk-1")
    )
    (resource,) = [one for scope in state.scopes for one in scope.resources]
    assert resource.payload == change.signed.payload
    assert list(resource.signatures) == list(change.signed.signatures)


async def test_a_signed_payload_is_complete_and_never_ignored(site: Site) -> None:
    stub = site.operators()
    ignored = payload_of(shut(), "base", serial=1)
    ignored.if_unknown = resources.IF_UNKNOWN_IGNORE
    half = payload_of(BlockSpec(digests=(D1,)), "bad", serial=1)
    half.block.identities.add(issuer=resources.TextMatch(exact="i"))
    garbage = signed(payload_of(shut(), "base", serial=1))
    garbage.signed.payload = b"\xff"
    for change, reason in (
        (signed(ignored), "PAYLOAD_MALFORMED"),
        (signed(half), "IDENTITY_MALFORMED"),
        (garbage, "PAYLOAD_MALFORMED"),
    ):
        assert (await refusal(stub.ApplyChanges(pb.ApplyChangesRequest(changes=[change])))).reason == reason


async def test_a_signer_set_is_handed_in_and_listed(site: Site) -> None:
    stub = site.operators()
    spec = SignerSetSpec((SIGNER.pem,), 1)
    change = signed(payload_of(spec, "1", serial=1))
    await stub.ApplyChanges(pb.ApplyChangesRequest(changes=[change]))
    (held,) = (await stub.ListSignerSets(pb.ListSignerSetsRequest())).signer_sets
    assert held == pb.SignerSet(name="1", spec=write_signer_set(spec), serial=1, signed_by=[SIGNER.key_id])


async def test_an_editor_may_hand_in_signed_policies_and_nothing_else_that_is_signed(site: Site) -> None:
    stub = site.operators(await site.operator("casey", Role.EDITOR))
    await stub.ApplyChanges(pb.ApplyChangesRequest(changes=[signed(payload_of(shut(), "base", serial=1))]))
    block = signed(payload_of(BlockSpec(digests=(D1,)), "bad", serial=1))
    assert (await refusal(stub.ApplyChanges(pb.ApplyChangesRequest(changes=[block])))).reason == "ROLE_MISSING"
    written = pb.CreateBlockRequest(block=pb.Block(name="bad", spec=write_block(BlockSpec(digests=(D1,)))))
    assert (await refusal(stub.CreateBlock(written))).reason == "ROLE_MISSING"
