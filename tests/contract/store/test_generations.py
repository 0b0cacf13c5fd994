from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.app.fleet import Fleet
from controlplane.domain.commands import Command, Delete, DeletePair, EntityKind, Outcome, Upsert
from controlplane.domain.entities import (
    Artifact,
    Assignment,
    Block,
    Group,
    Policy,
    Satellite,
    Signature,
    Signed,
    Source,
    TrustRoot,
)
from controlplane.domain.specs import ArtifactSpec, ResourceKind, SourceSpec
from controlplane.domain.state import Key
from fleet.digests import EMPTY_SCOPE, state_digest
from fleet.errors import FleetError
from fleet.policy import (
    Authority,
    BlockSpec,
    CertificateChain,
    PolicySpec,
    SignatureFormat,
    TextMatch,
    TrustRootSpec,
)
from fleet.v1 import resource_pb2, state_pb2
from tests.contract.store.conftest import Open
from tests.contract.store.words import ADA, D1, D2, HUB, applied_to, digest, do, refused, shop, shut
from tests.rig.policy_signing import PolicySigner, kind_of, payload_of, signed_version
from tests.rig.trust_material import ca_pem

NGINX = (int(ResourceKind.ARTIFACT), "hub/library/nginx:1")
SOURCE = (int(ResourceKind.SOURCE), "hub")


async def scope_of(fleet: Fleet, scope: str) -> tuple[int, bytes]:
    """The latest generation and digest of a scope, through a satellite that holds everything."""
    bindings = {binding.scope: binding for binding in (await fleet.desired("s1")).bindings}
    return bindings[scope].generation, bindings[scope].digest


async def approved(fleet: Fleet, *commands: Command) -> None:
    await do(fleet, *commands)
    await fleet.approve(ADA, "s1")


async def test_only_touched_scopes_get_a_generation(fleet: Fleet) -> None:
    await approved(fleet, *shop(), Upsert(Policy("base", shut("**"))))
    group = await scope_of(fleet, "group/shops")
    await do(fleet, Upsert(Policy("base", shut("hub/**"))))
    assert (await scope_of(fleet, "fleet"))[0] == 2
    assert await scope_of(fleet, "group/shops") == group
    assert await scope_of(fleet, "satellite/s1") == (0, EMPTY_SCOPE)


async def test_a_snapshot_gives_the_scopes_digest(fleet: Fleet) -> None:
    await approved(fleet, *shop())
    generation, wanted = await scope_of(fleet, "group/shops")
    held = applied_to({}, await fleet.delta("group/shops", None, generation))
    assert set(held) == {NGINX, SOURCE}
    assert digest(held) == wanted
    desired = await fleet.desired("s1")
    assert desired.state_digest == state_digest({each.scope: each.digest for each in desired.bindings})


async def test_a_source_comes_with_its_first_artifact_and_leaves_with_its_last(fleet: Fleet) -> None:
    second = f"hub/b:1@{D2}"
    await approved(fleet, *shop(), Upsert(Assignment(second, "group/shops")))
    _, both = await scope_of(fleet, "group/shops")
    await do(fleet, DeletePair(Assignment(second, "group/shops")))
    generation, one = await scope_of(fleet, "group/shops")
    step = state_pb2.Delta.FromString(await fleet.delta("group/shops", both, generation))
    assert [key.name for key in step.deletes] == ["hub/b:1"]
    await do(fleet, DeletePair(Assignment("hub/library/nginx:1", "group/shops")))
    generation, none = await scope_of(fleet, "group/shops")
    assert none == EMPTY_SCOPE
    step = state_pb2.Delta.FromString(await fleet.delta("group/shops", one, generation))
    assert [(key.kind, key.name) for key in step.deletes] == [NGINX, SOURCE]


async def test_deltas_are_sorted_by_kind_and_name(fleet: Fleet) -> None:
    artifacts = [Upsert(Assignment(f"hub/{name}:1@{D1}", "group/shops")) for name in ("z", "a", "m")]
    await approved(fleet, *shop(), *artifacts, Upsert(Policy("p", shut(), ("group/shops",))))
    generation, _ = await scope_of(fleet, "group/shops")
    delta = state_pb2.Delta.FromString(await fleet.delta("group/shops", None, generation))
    keys = [(each.kind, each.name.encode()) for each in delta.upserts]
    assert keys == sorted(keys)


async def test_a_delta_sends_nothing_that_is_held(fleet: Fleet) -> None:
    await approved(fleet, *shop())
    _, before = await scope_of(fleet, "group/shops")
    other = f"hub/b:1@{D2}"
    await do(fleet, DeletePair(Assignment("hub/library/nginx:1", "group/shops")))
    await do(fleet, Upsert(Assignment("hub/library/nginx:1", "group/shops")), Upsert(Assignment(other, "group/shops")))
    generation, _ = await scope_of(fleet, "group/shops")
    delta = state_pb2.Delta.FromString(await fleet.delta("group/shops", before, generation))
    assert [each.name for each in delta.upserts] == ["hub/b:1"]
    assert not delta.deletes


async def test_the_same_step_is_the_same_bytes(opening: Open) -> None:
    async with opening("one") as one, opening("two") as two:
        await approved(one.fleet, *shop())
        generation, _ = await scope_of(one.fleet, "group/shops")
        first = await one.fleet.delta("group/shops", None, generation)
        assert await one.fleet.delta("group/shops", None, generation) == first
        assert await two.fleet.delta("group/shops", None, generation) == first


async def test_digests_of_any_generation_are_known_and_others_are_not(fleet: Fleet) -> None:
    await approved(fleet, *shop())
    _, first = await scope_of(fleet, "group/shops")
    await do(fleet, Upsert(Artifact(ArtifactSpec("hub", "library/nginx", "1", D2))))
    generation, second = await scope_of(fleet, "group/shops")
    assert first != second
    assert await fleet.knows("group/shops", first)
    assert await fleet.knows("group/shops", EMPTY_SCOPE)
    assert not await fleet.knows("fleet", first)
    with refused("DIGEST_UNKNOWN"):
        await fleet.delta("group/shops", bytes(32), generation)
    with refused("GENERATION_UNKNOWN"):
        await fleet.delta("group/shops", first, generation + 1)


async def test_an_inventory_gets_the_exact_difference(fleet: Fleet) -> None:
    await approved(fleet, *shop())
    generation, wanted = await scope_of(fleet, "group/shops")
    whole = applied_to({}, await fleet.delta("group/shops", None, generation))
    stale: dict[Key, bytes] = {SOURCE: whole[SOURCE], NGINX: bytes(32), (1, "hub/gone:1"): bytes(32)}
    delta = await fleet.exact("group/shops", stale, generation)
    message = state_pb2.Delta.FromString(delta)
    assert [each.name for each in message.upserts] == ["hub/library/nginx:1"]
    assert [each.name for each in message.deletes] == ["hub/gone:1"]
    assert digest(applied_to(stale, delta)) == wanted


async def test_rules_are_hold_and_carry_serial_and_time(fleet: Fleet) -> None:
    await approved(
        fleet,
        Upsert(Satellite("s1")),
        Upsert(Policy("base", shut("**"))),
        Upsert(Block("bad", BlockSpec(digests=(D1,)))),
    )
    await do(fleet, Upsert(Policy("base", shut("hub/**"))))
    await do(fleet, Upsert(Policy("base", shut("hub/**"))))
    state = await fleet.state("s1")
    payloads = {
        (each.kind, each.name): resource_pb2.ResourcePayload.FromString(each.payload)
        for scope in state.scopes
        for each in scope.resources
    }
    policy = payloads[int(ResourceKind.POLICY), "base"]
    assert (policy.if_unknown, policy.serial) == (resource_pb2.IF_UNKNOWN_HOLD, 3)
    assert policy.issued_at.ToDatetime(tzinfo=UTC) == datetime(2026, 1, 1, tzinfo=UTC)
    assert payloads[int(ResourceKind.BLOCK), "bad"].if_unknown == resource_pb2.IF_UNKNOWN_HOLD


async def test_moving_a_policy_between_scopes_keeps_its_bytes(fleet: Fleet) -> None:
    await approved(fleet, *shop(), Upsert(Policy("p", shut("**"))))
    before = {each.name: each.version for scope in (await fleet.state("s1")).scopes for each in scope.resources}
    await do(fleet, Upsert(Policy("p", shut("**"), ("group/shops",))))
    state = await fleet.state("s1")
    held = {each.name: scope.binding.scope for scope in state.scopes for each in scope.resources}
    after = {each.name: each.version for scope in state.scopes for each in scope.resources}
    assert held["p"] == "group/shops"
    assert after == before


async def test_a_credential_changes_the_source_and_nothing_else(fleet: Fleet) -> None:
    await approved(fleet, *shop())
    _, before = await scope_of(fleet, "group/shops")
    await fleet.set_source_credential(ADA, "hub", "robot", "secret")
    generation, _ = await scope_of(fleet, "group/shops")
    delta = state_pb2.Delta.FromString(await fleet.delta("group/shops", before, generation))
    (changed,) = delta.upserts
    assert resource_pb2.ResourcePayload.FromString(changed.payload).source.needs_credential
    assert b"secret" not in delta.SerializeToString()
    again = await do(fleet, Upsert(HUB))
    assert again.results[0].outcome is Outcome.UNCHANGED


async def test_precedence_travels_with_the_binding(fleet: Fleet) -> None:
    await approved(fleet, *shop())
    changed = await do(fleet, Upsert(Group("shops", precedence=9)))
    bindings = {each.scope: each.precedence for each in (await fleet.desired("s1")).bindings}
    assert bindings == {"fleet": 0, "group/shops": 9, "satellite/s1": 0}
    record = (await fleet.changes(None, 10)).records[-1]
    assert record.position == changed.position
    assert record.concerned.satellites == {"s1"}


ROOT = TrustRootSpec(ca_pem=(ca_pem(),))
RELIES = PolicySpec(
    ("hub/**",),
    (Authority("a", CertificateChain((TextMatch("a@b.c"),)), (SignatureFormat.SIGSTORE_BUNDLE,), "t"),),
)
SIGNER = PolicySigner()


def signed_policy(name: str, serial: int) -> Signed:
    payload = payload_of(shut("hub/**"), name, serial=serial, scopes=["group/shops"])
    signature = SIGNER.sign(signed_version(payload))
    return Signed(kind_of(payload), payload.SerializeToString(), (Signature(signature.key_id, signature.signature),))


# One scope, a handful of names: small enough that hypothesis meets every coming, going and coming back.
_NAMES = st.sampled_from(["a", "b", "c"])
_COMMANDS = st.one_of(
    st.builds(
        lambda name, n: Upsert(Artifact(ArtifactSpec("hub", name, "1", "sha256:" + str(n) * 64))),
        _NAMES,
        st.integers(1, 3),
    ),
    st.builds(lambda name: Upsert(Assignment(f"hub/{name}:1", "group/shops")), _NAMES),
    st.builds(lambda name: DeletePair(Assignment(f"hub/{name}:1", "group/shops")), _NAMES),
    st.builds(lambda name: Delete(EntityKind.ARTIFACT, f"hub/{name}:1"), _NAMES),
    st.builds(lambda n: Upsert(Source("hub", SourceSpec(f"hub{n}.example"))), st.integers(1, 2)),
    st.builds(lambda n: Upsert(Policy("p", shut(f"hub/{n}"), ("group/shops",))), st.integers(1, 2)),
    st.just(Delete(EntityKind.POLICY, "p")),
    st.builds(lambda n: Upsert(signed_policy("p", n)), st.integers(1, 40)),
    st.builds(lambda scope: Upsert(TrustRoot("t", ROOT, (scope,))), st.sampled_from(["fleet", "group/shops"])),
    st.just(Upsert(Policy("q", RELIES, ("group/shops",)))),
    st.just(Delete(EntityKind.TRUST_ROOT, "t")),
    st.just(Delete(EntityKind.POLICY, "q")),
    st.builds(lambda digest: Upsert(Block("b", BlockSpec((digest,)), ("group/shops",))), st.sampled_from([D1, D2])),
)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    steps=st.lists(st.lists(_COMMANDS, min_size=1, max_size=3), min_size=1, max_size=12),
    picked=st.tuples(st.integers(0, 999), st.integers(0, 999)),
)
def test_a_delta_between_any_two_generations_gives_the_second(
    steps: list[list[Command]], picked: tuple[int, int], opening: Open
) -> None:
    async def run() -> None:
        async with opening("law") as made, opening("other") as other:
            fleet = made.fleet
            await _begin(fleet)
            for step in steps:
                await _try(fleet, step)
            last, _ = await scope_of(fleet, "group/shops")
            contents = {0: dict[Key, bytes]()}
            for generation in range(1, last + 1):
                contents[generation] = applied_to({}, await fleet.delta("group/shops", None, generation))
            low, high = (number % (last + 1) for number in picked)  # generations count on from example to example
            for start, end in ((low, high), (high, low)):
                delta = await fleet.delta("group/shops", digest(contents[start]), end)
                assert applied_to(contents[start], delta) == contents[end]
                exact = await fleet.exact("group/shops", contents[start], end)
                assert exact == delta
            for end in range(1, last + 1):  # as kept by who wrote it, and as read by somebody else
                taken = ("group/shops", digest(contents[end - 1]), end)
                assert await fleet.delta(*taken) == await other.fleet.delta(*taken)

    asyncio.run(run())


async def _begin(fleet: Fleet) -> None:
    """Bring the database back to the beginning of an example; generations go on counting."""
    await do(fleet, Upsert(Satellite("s1")), Upsert(Group("shops")), Upsert(HUB))
    held = (await fleet.list_artifacts()).items
    await do(fleet, *(Delete(EntityKind.ARTIFACT, each.name) for each in held))
    if "shops" not in (await fleet.get_satellite("s1")).groups:
        await approved(fleet, *shop())


async def _try(fleet: Fleet, step: list[Command]) -> None:
    """Apply a step; one that the state refuses must leave no trace."""
    before = await fleet.desired("s1")
    try:
        await do(fleet, *step)
    except FleetError:
        assert await fleet.desired("s1") == before


async def test_generations_never_change(fleet: Fleet) -> None:
    await approved(fleet, *shop())
    seen: dict[int, bytes] = {}
    for number in range(1, 6):
        spec = ArtifactSpec("hub", "library/nginx", "1", "sha256:" + str(number) * 64)
        await do(fleet, Upsert(Artifact(spec)))
        generation, _ = await scope_of(fleet, "group/shops")
        seen[generation] = await fleet.delta("group/shops", None, generation)
    await do(fleet, Delete(EntityKind.GROUP, "shops"), Delete(EntityKind.ARTIFACT, "hub/library/nginx:1"))
    await do(fleet, *shop())
    for generation, delta in seen.items():
        assert await fleet.exact("group/shops", {}, generation) == delta


async def test_a_group_made_again_goes_on_counting(fleet: Fleet) -> None:
    await approved(fleet, *shop())
    generation, held = await scope_of(fleet, "group/shops")
    await do(fleet, Delete(EntityKind.GROUP, "shops"))
    await do(fleet, *shop())
    after, same = await scope_of(fleet, "group/shops")
    assert (after, same) == (generation + 2, held)
    delta = state_pb2.Delta.FromString(await fleet.delta("group/shops", held, after))
    assert not delta.upserts
    assert not delta.deletes
