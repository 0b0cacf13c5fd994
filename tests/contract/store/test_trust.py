"""Trust roots and the policies that rely on them: neither is ever without the other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from controlplane.app.fleet import Fleet
from controlplane.domain.commands import Delete, EntityKind, Outcome, Upsert
from controlplane.domain.entities import Group, Policy, TrustRoot
from fleet.policy import (
    Authority,
    Keyless,
    PolicySpec,
    SignatureFormat,
    SignerIdentity,
    TextMatch,
    TrustRootSpec,
)
from fleet.v1 import resource_pb2 as pb
from tests.contract.store.conftest import Clock
from tests.contract.store.words import ADA, do, refused, shop, shut
from tests.rig.trust_material import authority, ca_pem, trusted_root_json

WHO = SignerIdentity(TextMatch("https://issuer.example"), TextMatch("a@b.c"))
BY = Authority("ci", Keyless((WHO,)), (SignatureFormat.SIGSTORE_BUNDLE,), "sigstore")
ROOT = TrustRootSpec(trusted_root_json=trusted_root_json())
WHOLE = TrustRootSpec(trusted_root_json(), (ca_pem(),), (ca_pem(),), (ca_pem(),), (authority().revocation_list(),))


def policy(*scopes: str) -> Upsert:
    return Upsert(Policy("base", PolicySpec(("hub/**",), (BY,)), scopes))


def root(*scopes: str, spec: TrustRootSpec = ROOT) -> Upsert:
    return Upsert(TrustRoot("sigstore", spec, scopes))


@pytest.fixture(autouse=True)
async def _site(fleet: Fleet) -> None:
    await do(fleet, *shop(), Upsert(Group("ships")))
    await fleet.approve(ADA, "s1")


async def test_bytes_of_any_kind_come_back_as_they_were(fleet: Fleet) -> None:
    await do(fleet, Upsert(TrustRoot("corporate", WHOLE, ("group/shops",))))
    held = await fleet.get_trust_root("corporate")
    assert (held.spec, held.scopes) == (WHOLE, ("group/shops",))
    assert (await fleet.list_trust_roots()).items == (held,)
    again = await do(fleet, Upsert(held, must_exist=True))
    assert again.results[0].outcome is Outcome.UNCHANGED
    (payload,) = [
        pb.ResourcePayload.FromString(one.payload)
        for scope in (await fleet.state("s1")).scopes
        for one in scope.resources
        if one.kind == pb.RESOURCE_KIND_TRUST_ROOT
    ]
    assert payload.if_unknown == pb.IF_UNKNOWN_HOLD
    assert payload.serial == held.serial
    assert payload.trust_root.trusted_root_json == WHOLE.trusted_root_json
    assert list(payload.trust_root.revocation_lists) == list(WHOLE.revocation_lists)


async def test_a_policy_and_its_trust_root_come_and_go_together_in_any_order(fleet: Fleet) -> None:
    with refused("TRUST_ROOT_UNKNOWN"):
        await do(fleet, policy())
    with refused("TRUST_ROOT_UNKNOWN"):
        await fleet.apply(ADA, [policy()], dry_run=True)
    await do(fleet, policy(), root())
    with refused("TRUST_ROOT_IN_USE"):
        await do(fleet, Delete(EntityKind.TRUST_ROOT, "sigstore"))
    await do(fleet, Delete(EntityKind.TRUST_ROOT, "sigstore"), Delete(EntityKind.POLICY, "base"))
    with refused("TRUST_ROOT_UNKNOWN"):
        await fleet.get_trust_root("sigstore")


@pytest.mark.parametrize(
    ("policies", "roots", "reason"),
    [
        (("fleet",), ("fleet",), ""),
        (("group/shops",), ("fleet",), ""),
        (("group/shops",), ("group/shops",), ""),
        (("group/shops", "group/ships"), ("group/ships", "group/shops"), ""),
        (("fleet", "group/shops"), ("fleet",), ""),
        (("fleet",), ("group/shops",), "TRUST_ROOT_UNKNOWN"),
        (("group/shops",), ("group/ships",), "TRUST_ROOT_UNKNOWN"),
        (("group/shops", "group/ships"), ("group/shops",), "TRUST_ROOT_UNKNOWN"),
    ],
)
async def test_a_trust_root_is_in_the_policys_scopes_or_in_the_fleets(
    fleet: Fleet, policies: tuple[str, ...], roots: tuple[str, ...], reason: str
) -> None:
    commands = [root(*roots), policy(*policies)]
    if not reason:
        await do(fleet, *commands)
        return
    with refused(reason):
        await do(fleet, *commands)
    await do(fleet, root(*roots))
    with refused(reason):
        await do(fleet, policy(*policies))


async def test_a_trust_root_in_use_keeps_its_scopes_and_what_is_asked_of_it(fleet: Fleet) -> None:
    await do(fleet, root("fleet"), policy("group/shops"))
    with refused("TRUST_ROOT_IN_USE"):
        await do(fleet, root("group/ships"))
    with refused("TRUST_ROOT_LACKS"):
        await do(fleet, root(spec=TrustRootSpec(ca_pem=(ca_pem(),))))
    await do(fleet, root("group/shops"))
    assert (await fleet.get_trust_root("sigstore")).scopes == ("group/shops",)


async def test_a_group_goes_with_its_policy_and_trust_root(fleet: Fleet) -> None:
    await do(fleet, root("group/ships"), policy("group/ships"))
    await do(fleet, Delete(EntityKind.GROUP, "ships"))
    assert (await fleet.get_policy("base")).scopes == ()
    await do(fleet, Delete(EntityKind.TRUST_ROOT, "sigstore"))


async def test_expiry_is_written_and_never_in_the_past(fleet: Fleet, clock: Clock) -> None:
    until = clock() + timedelta(days=1)
    await do(fleet, Upsert(Policy("base", shut(), expires_at=until)))
    held = await fleet.get_policy("base")
    assert held.expires_at == until
    (payload,) = [
        pb.ResourcePayload.FromString(one.payload)
        for scope in (await fleet.state("s1")).scopes
        for one in scope.resources
        if one.kind == pb.RESOURCE_KIND_POLICY
    ]
    assert payload.expires_at.ToDatetime(tzinfo=UTC) == until
    later = await do(fleet, Upsert(Policy("base", shut(), expires_at=until + timedelta(days=1))))
    assert later.results[0].outcome is Outcome.UPDATED
    assert (await fleet.get_policy("base")).serial > held.serial
    for past in (clock(), datetime(2001, 1, 1, tzinfo=UTC)):
        with refused("EXPIRED_ALREADY"):
            await do(fleet, Upsert(Policy("base", shut(), expires_at=past)))
    clock.advance(timedelta(days=3))
    same = await do(fleet, Upsert(Policy("base", shut(), expires_at=until + timedelta(days=1))))
    assert same.results[0].outcome is Outcome.UNCHANGED
