from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from certs.registrar import KeyPair, hash_secret
from controlplane.adapters.enrollment import Enrollment
from controlplane.app.fleet import Fleet
from controlplane.domain.commands import Delete, EntityKind, Upsert
from controlplane.domain.entities import Group, Lifecycle, Operator, Role, Satellite
from fleet.digests import state_digest
from tests.contract.store.conftest import Clock
from tests.contract.store.words import ADA, do, known, refused, shop

S1 = "spiffe://example.org/satellite/region/default/s1"
BOOT = b"b" * 16
KEYS = KeyPair(b"d" * 32, b"c" * 32)
OTHER = KeyPair(b"e" * 32, b"f" * 32)
NOTHING = state_digest({})


async def test_an_unknown_satellite_becomes_pending_and_holds_nothing(fleet: Fleet) -> None:
    attested = await fleet.attest(S1, BOOT, "0.1")
    assert (attested.satellite, attested.lifecycle) == ("s1", Lifecycle.PENDING)
    desired = await fleet.desired("s1")
    assert (desired.bindings, desired.state_digest) == ((), NOTHING)
    assert (await fleet.attest(S1, BOOT, "0.1")).lifecycle is Lifecycle.PENDING
    assert (await fleet.position()).revision == 1


async def test_approval_gives_the_state(fleet: Fleet) -> None:
    await do(fleet, *shop())
    assert (await fleet.desired("s1")).bindings == ()
    satellite, position = await fleet.approve(ADA, "s1", reason="seen on site")
    assert satellite.lifecycle is Lifecycle.STALE
    desired = await fleet.desired("s1")
    assert [each.scope for each in desired.bindings] == ["fleet", "group/shops", "satellite/s1"]
    record = (await fleet.changes()).records[-1]
    assert (record.position, record.reason, record.actor) == (position, "seen on site", ADA)
    assert record.concerned.satellites == {"s1"}


async def test_a_revoked_satellite_stays_revoked_whatever_it_says(fleet: Fleet, enrollment: Enrollment) -> None:
    await do(fleet, *shop())
    await fleet.approve(ADA, "s1")
    await fleet.revoke(ADA, "s1", reason="stolen")
    assert (await enrollment.is_revoked(S1), await enrollment.is_revoked(S1 + "0")) == (True, False)
    assert (await fleet.attest(S1, BOOT, "0.1")).lifecycle is Lifecycle.REVOKED
    assert (await fleet.desired("s1")).state_digest == NOTHING
    with refused("SATELLITE_REVOKED"):
        await fleet.approve(ADA, "s1")
    with refused("SATELLITE_REVOKED"):
        await fleet.mint_token(ADA, EntityKind.SATELLITE, "s1")
    with refused("NOT_IN_STATE"):
        await fleet.credential("s1", "hub")


async def test_reinstatement_is_pending_until_a_new_token(fleet: Fleet, enrollment: Enrollment) -> None:
    minted = await fleet.mint_token(ADA, EntityKind.SATELLITE, "s1")
    await enrollment.redeem(minted.token.id, KEYS, at=minted.token.created_at)
    await fleet.revoke(ADA, "s1")
    assert await enrollment.is_revoked(S1)
    assert await enrollment.device(KEYS.device) is not None  # it is told REVOKED, not that it is unknown
    assert await enrollment.token(minted.token.id) is None
    with refused("SATELLITE_NOT_REVOKED"):
        await fleet.reinstate(ADA, (await _pending(fleet)))
    satellite, _ = await fleet.reinstate(ADA, "s1")
    assert await enrollment.device(KEYS.device) is None
    assert satellite.lifecycle is Lifecycle.PENDING
    assert (await fleet.attest(S1, BOOT, "")).lifecycle is Lifecycle.PENDING
    await fleet.mint_token(ADA, EntityKind.SATELLITE, "s1")
    assert (await fleet.get_satellite("s1")).lifecycle is Lifecycle.STALE


async def _pending(fleet: Fleet) -> str:
    await do(fleet, Upsert(Satellite("s9")))
    return "s9"


async def test_a_name_belongs_to_one_identity(fleet: Fleet) -> None:
    await fleet.attest(S1, BOOT, "")
    with refused("NAME_TAKEN"):
        await fleet.attest("spiffe://example.org/satellite/region/north/s1", BOOT, "")


@pytest.mark.parametrize(
    "spiffe_id",
    ["spiffe://other.org/satellite/region/default/s1", ADA, "spiffe://example.org/gc/main"],
)
async def test_only_satellites_of_this_fleet_attest(fleet: Fleet, spiffe_id: str) -> None:
    with refused("NOT_A_SATELLITE"):
        await fleet.attest(spiffe_id, BOOT, "")


async def test_two_first_attestations_at_once_make_one_satellite(fleet: Fleet) -> None:
    answers = await asyncio.gather(*(fleet.attest(S1, BOOT, "") for _ in range(4)))
    assert {answer.lifecycle for answer in answers} == {Lifecycle.PENDING}
    assert (await fleet.position()).revision == 1


async def test_a_token_makes_approves_and_places_a_satellite(fleet: Fleet) -> None:
    await do(fleet, Upsert(Group("shops")))
    minted = await fleet.mint_token(ADA, EntityKind.SATELLITE, "s1", region="north", groups=["shops"])
    satellite = await fleet.get_satellite("s1")
    assert satellite.spiffe_id == minted.token.spiffe_id == "spiffe://example.org/satellite/region/north/s1"
    assert (satellite.lifecycle, satellite.groups) == (Lifecycle.STALE, ("shops",))
    assert (await fleet.list_tokens()).items == (minted.token,)
    with refused("GROUP_UNKNOWN"):
        await fleet.mint_token(ADA, EntityKind.SATELLITE, "s2", groups=["nowhere"])
    with refused("SATELLITE_UNKNOWN"):
        await fleet.get_satellite("s2")
    with refused("REGION_FIXED"):
        await fleet.mint_token(ADA, EntityKind.SATELLITE, "s1", region="south")
    with refused("TTL_OUT_OF_RANGE"):
        await fleet.mint_token(ADA, EntityKind.SATELLITE, "s1", ttl=timedelta(seconds=5))


async def test_a_secret_is_stored_as_a_hash_alone(fleet: Fleet, enrollment: Enrollment) -> None:
    minted = await fleet.mint_token(ADA, EntityKind.SATELLITE, "s1")
    stored = await enrollment.token(minted.token.id)
    assert stored is not None
    assert stored.secret_hash == hash_secret(minted.secret)
    assert minted.secret.hex() not in repr(minted)
    log = repr(await fleet.changes())
    assert minted.secret.hex() not in log


async def test_of_two_first_uses_at_once_one_wins(fleet: Fleet, enrollment: Enrollment) -> None:
    minted = await fleet.mint_token(ADA, EntityKind.SATELLITE, "s1")
    at = minted.token.created_at
    answers = await asyncio.gather(
        enrollment.redeem(minted.token.id, KEYS, at=at), enrollment.redeem(minted.token.id, OTHER, at=at)
    )
    (winner,) = {answer.used_by for answer in answers}
    assert winner in {KEYS, OTHER}
    assert winner is not None
    loser = OTHER if winner == KEYS else KEYS
    device = await enrollment.device(winner.device)
    assert device is not None
    assert device.spiffe_id == S1
    assert await enrollment.device(loser.device) is None
    assert (await enrollment.redeem(minted.token.id, loser, at=at)).used_by == winner


async def test_misuse_of_a_token_is_counted_where_operators_see_it(fleet: Fleet, enrollment: Enrollment) -> None:
    minted = await fleet.mint_token(ADA, EntityKind.SATELLITE, "s1")
    token = await enrollment.redeem(minted.token.id, KEYS, at=minted.token.created_at)
    await enrollment.report_misuse(token, OTHER, at=minted.token.created_at)
    (shown,) = (await fleet.list_tokens()).items
    assert (shown.refused_attempts, shown.used_at) == (1, minted.token.created_at)


async def test_a_second_token_replaces_the_device(fleet: Fleet, enrollment: Enrollment) -> None:
    first = await fleet.mint_token(ADA, EntityKind.SATELLITE, "s1")
    await enrollment.redeem(first.token.id, KEYS, at=first.token.created_at)
    second = await fleet.mint_token(ADA, EntityKind.SATELLITE, "s1")
    await enrollment.redeem(second.token.id, OTHER, at=second.token.created_at)
    assert await enrollment.device(KEYS.device) is None
    assert await enrollment.device(OTHER.device) is not None


async def test_a_deleted_token_is_useless(fleet: Fleet, enrollment: Enrollment) -> None:
    minted = await fleet.mint_token(ADA, EntityKind.SATELLITE, "s1")
    await fleet.delete_token(ADA, minted.token.id)
    assert await enrollment.token(minted.token.id) is None
    with refused("TOKEN_INVALID"):
        await enrollment.redeem(minted.token.id, KEYS, at=minted.token.created_at)
    with refused("TOKEN_UNKNOWN"):
        await fleet.delete_token(ADA, minted.token.id)


async def test_an_operator_needs_a_role_before_a_token(fleet: Fleet, enrollment: Enrollment) -> None:
    with refused("OPERATOR_UNKNOWN"):
        await fleet.mint_token(ADA, EntityKind.OPERATOR, "eve")
    await fleet.init("ada")
    await do(fleet, Upsert(Operator("eve", Role.VIEWER)))
    minted = await fleet.mint_token(ADA, EntityKind.OPERATOR, "eve")
    assert minted.token.spiffe_id == "spiffe://example.org/operator/eve"
    await enrollment.redeem(minted.token.id, KEYS, at=minted.token.created_at)
    await do(fleet, Delete(EntityKind.OPERATOR, "eve"))
    assert await enrollment.device(KEYS.device) is None


async def test_a_deleted_satellite_cannot_renew_and_comes_back_pending(fleet: Fleet, enrollment: Enrollment) -> None:
    await do(fleet, *shop())
    minted = await fleet.mint_token(ADA, EntityKind.SATELLITE, "s1")
    await enrollment.redeem(minted.token.id, KEYS, at=minted.token.created_at)
    await do(fleet, Delete(EntityKind.SATELLITE, "s1"))
    assert await enrollment.device(KEYS.device) is None
    assert (await fleet.attest(S1, BOOT, "")).lifecycle is Lifecycle.PENDING
    assert (await fleet.get_satellite("s1")).groups == ()


async def test_the_first_operator_is_an_admin_and_making_it_again_changes_nothing(fleet: Fleet) -> None:
    first = await fleet.init("ada")
    assert await fleet.init("ada") == first
    async with known(fleet) as roster:
        assert await roster.role_of(ADA) is Role.ADMIN
        assert await roster.role_of("spiffe://example.org/operator/eve") is None


async def test_credentials_are_for_what_is_in_the_callers_state(fleet: Fleet, clock: Clock) -> None:
    del clock
    await do(fleet, *shop())
    await fleet.approve(ADA, "s1")
    await fleet.set_source_credential(ADA, "hub", "robot", "secret")
    found = await fleet.credential("s1", "hub", ["library/nginx"])
    assert (found.username, found.password) == ("robot", "secret")
    for source, repositories in (("hub", ["library/other"]), ("nowhere", []), ("hub", ["library/nginx", "x"])):
        with refused("NOT_IN_STATE"):
            await fleet.credential("s1", source, repositories)
    await fleet.set_source_credential(ADA, "hub", "", "")
    assert (await fleet.credential("s1", "hub")).username == ""
    assert not (await fleet.get_source("hub")).has_credential
    with refused("SOURCE_UNKNOWN"):
        await fleet.set_source_credential(ADA, "nowhere", "u", "p")


async def test_a_credential_survives_writing_its_source(fleet: Fleet) -> None:
    await do(fleet, *shop())
    await fleet.approve(ADA, "s1")
    await fleet.set_source_credential(ADA, "hub", "robot", "secret")
    held = await fleet.get_source("hub")
    await do(fleet, Upsert(replace(held, spec=replace(held.spec, mirrors=("mirror.example",)))))
    assert (await fleet.get_source("hub")).has_credential
    assert (await fleet.credential("s1", "hub")).username == "robot"


@pytest.mark.parametrize("change", [{"address": "elsewhere.example"}, {"plain_http": True}])
async def test_a_secret_does_not_follow_its_source_to_another_host_or_into_the_clear(
    fleet: Fleet, change: dict[str, Any]
) -> None:
    await do(fleet, *shop())
    await fleet.approve(ADA, "s1")
    await fleet.set_source_credential(ADA, "hub", "robot", "secret")
    held = await fleet.get_source("hub")
    await do(fleet, Upsert(replace(held, spec=replace(held.spec, **change))))
    assert not (await fleet.get_source("hub")).has_credential
    assert (await fleet.credential("s1", "hub")).username == ""
