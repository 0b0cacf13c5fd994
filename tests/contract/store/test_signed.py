"""What policy signers have signed: stored as it came, passed on as it came, and never gone back on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from controlplane.app.fleet import Fleet
from controlplane.domain.commands import Delete, EntityKind, Outcome, Upsert
from controlplane.domain.entities import Block, Policy, Satellite, Signature, Signed
from controlplane.domain.state import Resource
from fleet.policy import BlockSpec, PolicySpec, SignerSetSpec, TrustRootSpec
from fleet.v1 import resource_pb2 as pb
from fleet.v1 import state_pb2
from tests.contract.store.conftest import Clock
from tests.contract.store.words import ADA, D1, D2, do, refused, shop, shut
from tests.rig.policy_signing import PolicySigner, kind_of, payload_of, signed_version
from tests.rig.trust_material import ca_pem

ONE, TWO = PolicySigner(), PolicySigner()


def signed(payload: pb.ResourcePayload, *by: PolicySigner) -> Signed:
    version = signed_version(payload)
    made = [one.sign(version) for one in by or (ONE,)]
    return Signed(
        kind_of(payload), payload.SerializeToString(), tuple(Signature(one.key_id, one.signature) for one in made)
    )


def policy(serial: int, *images: str, scopes: tuple[str, ...] = ("fleet",), name: str = "base") -> pb.ResourcePayload:
    return payload_of(shut(*images), name, serial=serial, scopes=scopes)


async def held(fleet: Fleet, kind: int, name: str) -> Resource:
    state = await fleet.state("s1")
    (found,) = {
        one.version: one for scope in state.scopes for one in scope.resources if (one.kind, one.name) == (kind, name)
    }.values()
    return found


@pytest.fixture(autouse=True)
async def _site(fleet: Fleet) -> None:
    await do(fleet, *shop())
    await fleet.approve(ADA, "s1")


async def test_bytes_and_signatures_come_out_as_they_went_in(fleet: Fleet) -> None:
    payload = policy(7, "hub/**")
    content = payload.SerializeToString()
    one = signed(payload, ONE, TWO)
    applied = await do(fleet, Upsert(one))
    assert (applied.results[0].outcome, applied.results[0].entity) == (Outcome.CREATED, "policy")
    resource = await held(fleet, pb.RESOURCE_KIND_POLICY, "base")
    assert (resource.payload, resource.version) == (content, signed_version(payload))
    assert resource.signatures == one.signatures
    bound = {binding.scope: binding for binding in (await fleet.desired("s1")).bindings}["fleet"]
    (streamed,) = state_pb2.Delta.FromString(await fleet.delta("fleet", None, bound.generation)).upserts
    assert streamed.payload == content
    assert [(one.key_id, one.signature) for one in streamed.signatures] == [
        (one.key_id, one.signature) for one in one.signatures
    ]
    shown = await fleet.get_policy("base")
    assert (shown.spec, shown.scopes, shown.serial) == (shut("hub/**"), ("fleet",), 7)
    assert shown.signed_by == (ONE.key_id, TWO.key_id)
    assert (await fleet.list_policies()).items == (shown,)


async def test_bytes_that_another_library_would_write_otherwise_stay_as_they_are(fleet: Fleet) -> None:
    payload = policy(1)
    content = pb.ResourcePayload(serial=1).SerializeToString() + payload.SerializeToString()  # a field, twice
    assert pb.ResourcePayload.FromString(content).SerializeToString() != content
    await do(fleet, Upsert(Signed(pb.RESOURCE_KIND_POLICY, content, signed(payload).signatures)))
    assert (await held(fleet, pb.RESOURCE_KIND_POLICY, "base")).payload == content


async def test_a_serial_only_rises(fleet: Fleet) -> None:
    await do(fleet, Upsert(signed(policy(7, "hub/a/**"))))
    again = await do(fleet, Upsert(signed(policy(7, "hub/a/**"))))
    assert again.results[0].outcome is Outcome.UNCHANGED
    for serial in (6, 7):
        with refused("SERIAL_NOT_HIGHER"):
            await do(fleet, Upsert(signed(policy(serial, "hub/b/**"))))
    with refused("SERIAL_NOT_HIGHER"):
        await do(fleet, Upsert(signed(policy(7, "hub/a/**"), ONE, TWO)))
    risen = await do(fleet, Upsert(signed(policy(8, "hub/b/**"), TWO)))
    assert risen.results[0].outcome is Outcome.UPDATED
    assert (await fleet.get_policy("base")).signed_by == (TWO.key_id,)


async def test_it_is_held_by_the_scopes_that_it_names_and_no_others(fleet: Fleet) -> None:
    await do(fleet, Upsert(signed(policy(1, scopes=("group/shops",)))))
    assert (await fleet.get_policy("base")).scopes == ("group/shops",)
    await do(fleet, Upsert(signed(policy(2, scopes=("fleet", "satellite/s1")))))
    assert (await fleet.get_policy("base")).scopes == ("fleet", "satellite/s1")
    with refused("GROUP_UNKNOWN"):
        await do(fleet, Upsert(signed(policy(3, scopes=("group/nowhere",)))))


async def test_what_is_written_without_signatures_takes_its_place(fleet: Fleet) -> None:
    await do(fleet, Upsert(signed(policy(70, "hub/**"))))
    same = await do(fleet, Upsert(Policy("base", shut("hub/**"))))
    assert same.results[0].outcome is Outcome.UNCHANGED
    assert (await fleet.get_policy("base")).signed_by
    await do(fleet, Upsert(Policy("base", shut("hub/**"), ("fleet", "group/shops"))))
    shown = await fleet.get_policy("base")
    assert (shown.serial, shown.signed_by) == (71, ())
    resource = await held(fleet, pb.RESOURCE_KIND_POLICY, "base")
    assert (resource.signatures, pb.ResourcePayload.FromString(resource.payload).name) == ((), "")
    await do(fleet, Upsert(signed(policy(72, "hub/**"))))
    assert (await fleet.get_policy("base")).scopes == ("fleet",)


async def test_what_was_deleted_may_come_again_with_other_signatures(fleet: Fleet) -> None:
    await do(fleet, Upsert(signed(policy(1), ONE)))
    await do(fleet, Delete(EntityKind.POLICY, "base"))
    await do(fleet, Upsert(signed(policy(1), TWO)))
    (signature,) = (await held(fleet, pb.RESOURCE_KIND_POLICY, "base")).signatures
    assert signature.key_id == TWO.key_id


async def test_blocks_and_trust_roots_are_signed_alike(fleet: Fleet) -> None:
    block = payload_of(BlockSpec(digests=(D1,)), "bad", serial=4)
    root = payload_of(TrustRootSpec(ca_pem=(ca_pem(),)), "corporate", serial=5)
    root.expires_at.FromDatetime(datetime(2030, 1, 1, tzinfo=UTC))
    await do(fleet, Upsert(signed(block)), Upsert(signed(root)))
    assert (await fleet.get_block("bad")).signed_by == (ONE.key_id,)
    shown = await fleet.get_trust_root("corporate")
    assert (shown.spec.ca_pem, shown.expires_at) == ((ca_pem(),), datetime(2030, 1, 1, tzinfo=UTC))


async def test_signer_sets_follow_each_other_and_stay(fleet: Fleet) -> None:
    def signers(serial: int, *who: PolicySigner) -> Signed:
        spec = SignerSetSpec(tuple(one.pem for one in who), 1)
        return signed(payload_of(spec, str(serial), serial=serial), *who)

    with refused("SERIAL_NOT_NEXT"):
        await do(fleet, Upsert(signers(2, ONE)))
    await do(fleet, Upsert(signers(1, ONE)))
    second = await do(fleet, Upsert(signers(2, ONE, TWO)))
    assert (second.results[0].entity, second.results[0].name) == ("signer_set", "2")
    again = await do(fleet, Upsert(signers(1, ONE)))
    assert again.results[0].outcome is Outcome.UNCHANGED
    with refused("SIGNER_SET_EXISTS"):
        await do(fleet, Upsert(signers(2, TWO), must_create=True))
    with refused("SERIAL_NOT_NEXT"):
        await do(fleet, Upsert(signers(2, TWO)))
    names = [
        one.name
        for scope in (await fleet.state("s1")).scopes
        for one in scope.resources
        if (one.kind, scope.binding.scope) == (pb.RESOURCE_KIND_SIGNER_SET, "fleet")
    ]
    assert names == ["1", "2"]
    listed = (await fleet.list_signer_sets()).items
    assert [(one.name, one.serial, one.signed_by) for one in listed] == [
        ("1", 1, (ONE.key_id,)),
        ("2", 2, (ONE.key_id, TWO.key_id)),
    ]


async def test_a_signed_resource_is_checked_as_any_other(fleet: Fleet, clock: Clock) -> None:
    def wrong(payload: pb.ResourcePayload) -> Upsert:
        return Upsert(signed(payload))

    unnamed, everywhere, unnumbered = policy(1, name=""), policy(1, scopes=()), policy(0)
    huge = policy(2**53)
    keyless = policy(1)
    keyless.policy.authorities[0].Clear()
    keyless.policy.authorities[0].name = "a"
    newer = policy(1)
    newer.policy.MergeFromString(b"\xc2\x3e\x01x")
    eternal = payload_of(BlockSpec(digests=(D2,)), "bad", serial=1)
    eternal.expires_at.FromDatetime(clock() + timedelta(days=1))
    elsewhere = payload_of(SignerSetSpec((ONE.pem,), 1), "1", serial=1, scopes=("group/shops",))
    for payload, reason in (
        (unnamed, "NAME_MALFORMED"),
        (everywhere, "PAYLOAD_MALFORMED"),
        (unnumbered, "SERIAL_OUT_OF_RANGE"),
        (huge, "SERIAL_OUT_OF_RANGE"),
        (keyless, "VERIFIER_MISSING"),
        (newer, "PAYLOAD_MALFORMED"),
        (eternal, "PAYLOAD_MALFORMED"),
        (elsewhere, "PAYLOAD_MALFORMED"),
        (payload_of(PolicySpec(("**",)), "base", serial=1), "AUTHORITY_MISSING"),
    ):
        with refused(reason):
            await do(fleet, wrong(payload))
    good = policy(1)
    with refused("SIGNATURES_MALFORMED"):
        await do(fleet, Upsert(Signed(pb.RESOURCE_KIND_POLICY, good.SerializeToString(), ())))
    with refused("SIGNATURES_MALFORMED"):
        await do(fleet, Upsert(signed(good, ONE, ONE)))
    with refused("KIND_UNSIGNABLE"):
        await do(fleet, Upsert(Signed(pb.RESOURCE_KIND_ARTIFACT, good.SerializeToString(), signed(good).signatures)))
    with refused("PAYLOAD_MALFORMED"):
        await do(fleet, Upsert(Signed(pb.RESOURCE_KIND_BLOCK, good.SerializeToString(), signed(good).signatures)))


async def test_serials_of_blocks_can_be_compared(fleet: Fleet) -> None:
    async def epoch() -> int:
        return max(one.serial for one in (await fleet.list_blocks()).items)

    await do(fleet, Upsert(Block("a", BlockSpec(digests=(D1,)))))
    seen = [await epoch()]
    for block in (
        Block("b", BlockSpec(digests=(D1,))),
        Block("a", BlockSpec(digests=(D2,))),
        Block("b", BlockSpec(digests=(D1,)), ("fleet", "group/shops")),
        Block("c", BlockSpec(digests=(D2,))),
    ):
        await do(fleet, Upsert(Satellite("s9", description=f"revision {len(seen)}")), Upsert(block))
        seen.append(await epoch())
    assert seen == sorted(set(seen))
    assert seen[-1] == (await fleet.position()).revision
