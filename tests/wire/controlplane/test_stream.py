"""StreamState on the wire: what a satellite is sent, and when its stream ends."""

from __future__ import annotations

import asyncio
import secrets
from datetime import timedelta

import grpc
import pytest

from controlplane.adapters.opening import open_fleet
from controlplane.domain.commands import Upsert
from controlplane.domain.entities import Group, Membership, Policy
from fleet.digests import scope_digest, state_digest
from fleet.v1 import attestation_pb2, fleet_pb2, state_pb2
from fleet.v1.attestation_pb2_grpc import AttestationServiceStub
from tests.contract.store.words import shut
from tests.rig.identity import GROUND_CONTROL, TRUST_DOMAIN, Realm, eventually
from tests.wire.controlplane.site import (
    ADMIN,
    SatelliteStream,
    Site,
    compacted,
    held_after,
    opened,
    refusal,
    satellite_id,
)

UPDATE = list[state_pb2.StreamStateResponse]


def a_policy(name: str, *images: str) -> Upsert:
    return Upsert(Policy(name, shut(*images)))


def delta_of(update: UPDATE, scope: str) -> state_pb2.Delta:
    parts = [m.delta_part for m in update if m.HasField("delta_part") and m.delta_part.scope == scope]
    return state_pb2.Delta.FromString(b"".join(part.chunk for part in parts))


async def test_the_first_update_is_whole_and_gives_the_promised_digests(site: Site, boot_id: bytes) -> None:
    await site.satellite("kiosk-1")
    await site.fleet.apply(ADMIN, [a_policy("base", "hub/**")])
    update = await (await opened(site, "kiosk-1", boot_id)).update()
    assert [message.sequence for message in update] == list(range(1, len(update) + 1))
    bindings = next(message.bindings for message in update if message.HasField("bindings"))
    held = {}
    for scope in bindings.scopes:
        content = [(r.kind, r.name, r.version) for r in delta_of(update, scope.scope).upserts]
        held[scope.scope] = scope_digest(content)
        assert held[scope.scope] == scope.digest
    assert state_digest(held) == bindings.state_digest
    assert [r.name for r in delta_of(update, "fleet").upserts] == ["base"]


async def test_who_holds_everything_is_sent_one_small_message(site: Site, boot_id: bytes) -> None:
    await site.satellite("kiosk-1")
    await site.fleet.apply(ADMIN, [a_policy("base", "hub/**")])
    first = await (await opened(site, "kiosk-1", boot_id)).update()
    again = await opened(site, "kiosk-1", boot_id, 2, held=held_after(first), position=first[-1].position)
    update = await again.update()
    assert [message.WhichOneof("body") for message in update] == ["unchanged"]


async def test_a_change_arrives_as_its_delta_alone(site: Site, boot_id: bytes) -> None:
    await site.satellite("kiosk-1")
    await site.fleet.apply(ADMIN, [a_policy("base", "hub/**")])
    stream = await opened(site, "kiosk-1", boot_id)
    await stream.update()
    await site.fleet.apply(ADMIN, [a_policy("more", "hub/library/**")])
    update = await stream.update()
    assert [message.WhichOneof("body") for message in update] == ["delta_part"]
    assert [resource.name for resource in delta_of(update, "fleet").upserts] == ["more"]


async def test_what_changed_while_away_is_all_that_is_sent(site: Site, boot_id: bytes) -> None:
    await site.satellite("kiosk-1")
    await site.fleet.apply(ADMIN, [a_policy("base", "hub/**"), a_policy("gone", "x/**")])
    first = await (await opened(site, "kiosk-1", boot_id)).update()
    await site.operators().DeletePolicy(fleet_pb2.DeletePolicyRequest(name="gone"))
    back = await opened(site, "kiosk-1", boot_id, 2, held=held_after(first), position=first[-1].position)
    delta = delta_of(await back.update(), "fleet")
    assert ([r.name for r in delta.upserts], [k.name for k in delta.deletes]) == ([], ["gone"])


async def test_an_unknown_holding_is_asked_for_and_only_the_difference_sent(site: Site, boot_id: bytes) -> None:
    await site.satellite("kiosk-1")
    await site.fleet.apply(ADMIN, [a_policy("base", "hub/**"), a_policy("more", "x/**")])
    whole = delta_of(await (await opened(site, "kiosk-1", boot_id)).update(), "fleet")
    base = next(resource for resource in whole.upserts if resource.name == "base")
    held = [state_pb2.HeldScope(scope="fleet", digest=secrets.token_bytes(32))]
    stream = await opened(site, "kiosk-1", boot_id, 2, held=held)
    assert list((await stream.next()).inventory_request.scopes) == ["fleet"]
    entries = [
        state_pb2.InventoryEntry(kind=base.kind, name="base", version=base.version),
        state_pb2.InventoryEntry(kind=base.kind, name="stale", version=secrets.token_bytes(32)),
    ]
    await stream.say(inventory=state_pb2.Inventory(scope="fleet", entries=entries, complete=True))
    delta = delta_of(await stream.update(), "fleet")
    assert ([r.name for r in delta.upserts], [k.name for k in delta.deletes]) == (["more"], ["stale"])


@pytest.mark.parametrize("remembered", [False, True])
async def test_who_holds_what_was_compacted_is_asked_for_it_and_sent_the_difference(
    site: Site, boot_id: bytes, remembered: bool
) -> None:
    await site.satellite("kiosk-1")
    await site.fleet.apply(ADMIN, [a_policy("base", "hub/**"), a_policy("gone", "x/**")])
    first = await (await opened(site, "kiosk-1", boot_id)).update()
    came_back = {"held": held_after(first), "position": first[-1].position}
    await site.operators().DeletePolicy(fleet_pb2.DeletePolicyRequest(name="gone"))
    # The step from before to what comes next is at hand where both changes are seen at once: see one by itself.
    await site.fleet.roster.desired("kiosk-1", await site.fleet.position())
    if remembered:  # as long as it was kept, a delta from it was at hand
        assert (await (await opened(site, "kiosk-1", boot_id, 2, **came_back)).update())[-1].HasField("delta_part")
    await site.fleet.apply(ADMIN, [Upsert(Group("shops")), Upsert(Membership("kiosk-1", "shops"))])
    await site.fleet.apply(ADMIN, [a_policy("more", "y/**")])
    assert (await compacted(site)).generations
    stream = await opened(site, "kiosk-1", boot_id, 3, **came_back)
    assert list((await stream.next()).inventory_request.scopes) == ["fleet"]
    entries = [
        state_pb2.InventoryEntry(kind=r.kind, name=r.name, version=r.version) for r in delta_of(first, "fleet").upserts
    ]
    await stream.say(inventory=state_pb2.Inventory(scope="fleet", entries=entries, complete=True))
    update = await stream.update()
    assert [m.WhichOneof("body") for m in update] == ["bindings", "delta_part", "delta_part"]
    delta = delta_of(update, "fleet")
    assert ([r.name for r in delta.upserts], [k.name for k in delta.deletes]) == (["more"], ["gone"])


async def test_joining_a_group_brings_its_scope(site: Site, boot_id: bytes) -> None:
    await site.satellite("kiosk-1")
    stream = await opened(site, "kiosk-1", boot_id)
    await stream.update()
    await site.fleet.apply(ADMIN, [Upsert(Group("shops", precedence=7)), Upsert(Membership("kiosk-1", "shops"))])
    update = await stream.update()
    scopes = next(message.bindings for message in update if message.HasField("bindings")).scopes
    assert [(scope.scope, scope.precedence) for scope in scopes if scope.scope == "group/shops"] == [("group/shops", 7)]


async def test_a_pending_satellite_waits_on_an_open_stream_and_gets_its_state_on_approval(
    site: Site, boot_id: bytes
) -> None:
    attest = AttestationServiceStub(site.channel(satellite_id("kiosk-9")))
    await attest.Attest(attestation_pb2.AttestRequest(boot_id=boot_id))
    await site.fleet.apply(ADMIN, [a_policy("base", "hub/**")])
    stream = await opened(site, "kiosk-9", boot_id)
    assert not delta_of(await stream.update(), "fleet").upserts
    await site.fleet.approve(ADMIN, "kiosk-9")
    assert [r.name for r in delta_of(await stream.update(), "fleet").upserts] == ["base"]


async def test_a_pending_satellite_that_holds_something_is_heard_keeps_it_and_is_told_of_its_approval(
    site: Site, boot_id: bytes
) -> None:
    await site.satellite("kiosk-1")
    await site.fleet.apply(ADMIN, [a_policy("base", "hub/**")])
    held = held_after(await (await opened(site, "kiosk-1", boot_id)).update())
    await site.fleet.revoke(ADMIN, "kiosk-1")
    await site.fleet.reinstate(ADMIN, "kiosk-1")
    back = SatelliteStream(site.states(satellite_id("kiosk-1")))
    await back.subscribe(boot_id, 2, held=held)
    first = await back.next()
    assert first.HasField("inventory_request")
    assert not first.inventory_request.scopes
    await site.fleet.approve(ADMIN, "kiosk-1")
    assert (await back.next()).HasField("unchanged")


async def test_a_report_is_what_operators_see(site: Site, boot_id: bytes) -> None:
    await site.satellite("kiosk-1")
    stream = await opened(site, "kiosk-1", boot_id)
    update = await stream.update()
    digest = next(m.bindings for m in update if m.HasField("bindings")).state_digest
    report = state_pb2.StateReport(sequence=1, position=update[-1].position, held_digest=digest, enforced_digest=digest)
    await stream.say(report=report)
    admin = site.operators()
    async with asyncio.timeout(10):
        converged = False
        while not converged:
            status = await admin.GetSatelliteStatus(fleet_pb2.GetSatelliteStatusRequest(name="kiosk-1"))
            converged = status.status.converged
    assert status.status.lifecycle == attestation_pb2.LIFECYCLE_ONLINE


async def test_a_revoked_satellite_is_out_within_five_seconds(site: Site, boot_id: bytes) -> None:
    await site.satellite("kiosk-1")
    stream = await opened(site, "kiosk-1", boot_id)
    await stream.update()
    await site.operators().RevokeSatellite(fleet_pb2.RevokeSatelliteRequest(name="kiosk-1"))
    goodbye = await stream.goodbye(within_s=5)
    assert goodbye.reason == state_pb2.GOODBYE_REASON_REVOKED
    assert goodbye.retry_after.ToTimedelta() == timedelta(hours=1)
    assert (
        await refusal(site.states(satellite_id("kiosk-1")).GetState(state_pb2.GetStateRequest()))
    ).reason == "REVOKED"


async def test_a_satellite_revoked_by_another_process_is_out_within_five_seconds(site: Site, boot_id: bytes) -> None:
    await site.satellite("kiosk-1")
    stream = await opened(site, "kiosk-1", boot_id)
    await stream.update()
    async with open_fleet(site.url, private=site.private, trust_domain=TRUST_DOMAIN) as elsewhere:
        await elsewhere.fleet.revoke(ADMIN, "kiosk-1")
        assert (await stream.goodbye(within_s=5)).reason == state_pb2.GOODBYE_REASON_REVOKED


async def test_a_stream_ends_within_five_seconds_of_its_certificate(site: Site, boot_id: bytes) -> None:
    await site.satellite("kiosk-1")
    brief = site.realm.material(satellite_id("kiosk-1"), ttl=timedelta(seconds=2))
    stream = SatelliteStream(site.states(brief))
    await stream.subscribe(boot_id)
    await stream.update()
    assert (await stream.goodbye(within_s=7)).reason == state_pb2.GOODBYE_REASON_SVID_EXPIRED


async def test_a_stream_ends_when_its_root_leaves_the_bundle(site: Site, boot_id: bytes) -> None:
    await site.satellite("kiosk-1")
    stream = await opened(site, "kiosk-1", boot_id)
    await stream.update()
    other = Realm()
    site.source.change(other.material(GROUND_CONTROL, dns_names=("localhost",)), other.bundle)
    assert (await stream.goodbye(within_s=5)).reason == state_pb2.GOODBYE_REASON_SVID_EXPIRED


async def test_the_newest_session_wins(site: Site, boot_id: bytes) -> None:
    await site.satellite("kiosk-1")
    old = await opened(site, "kiosk-1", boot_id, 1)
    await old.update()
    new = await opened(site, "kiosk-1", boot_id, 2)
    await new.update()
    assert (await old.goodbye()).reason == state_pb2.GOODBYE_REASON_SUPERSEDED
    late = await opened(site, "kiosk-1", boot_id, 1)
    assert (await late.goodbye()).reason == state_pb2.GOODBYE_REASON_SUPERSEDED
    await site.fleet.apply(ADMIN, [a_policy("base", "hub/**")])
    await new.update()


async def test_a_draining_server_says_goodbye(site: Site, boot_id: bytes) -> None:
    await site.satellite("kiosk-1")
    stream = await opened(site, "kiosk-1", boot_id)
    await stream.update()
    await site.listener.board.drain(timedelta(seconds=1))
    assert (await stream.goodbye()).reason == state_pb2.GOODBYE_REASON_DRAINING


async def test_a_satellite_ahead_of_the_database_keeps_what_it_has(site: Site, boot_id: bytes) -> None:
    await site.satellite("kiosk-1")
    ahead = state_pb2.Position(epoch=1, revision=1000)
    stream = await opened(site, "kiosk-1", boot_id, position=ahead)
    assert (await stream.goodbye()).reason == state_pb2.GOODBYE_REASON_STORE_BEHIND
    assert [message.WhichOneof("body") for message in stream.received] == ["goodbye"]
    status = await site.operators().GetSatelliteStatus(fleet_pb2.GetSatelliteStatusRequest(name="kiosk-1"))
    assert status.status.store_behind


async def test_another_protocol_version_is_told_to_upgrade(site: Site, boot_id: bytes) -> None:
    await site.satellite("kiosk-1")
    stream = SatelliteStream(site.states(satellite_id("kiosk-1")))
    await stream.say(subscribe=state_pb2.Subscribe(protocol_version=9, boot_id=boot_id, session_number=1))
    assert (await stream.goodbye()).reason == state_pb2.GOODBYE_REASON_UPGRADE_REQUIRED


async def test_a_second_subscribe_breaks_the_protocol(site: Site, boot_id: bytes) -> None:
    await site.satellite("kiosk-1")
    stream = await opened(site, "kiosk-1", boot_id)
    await stream.update()
    await stream.subscribe(boot_id)
    assert (await stream.goodbye()).reason == state_pb2.GOODBYE_REASON_PROTOCOL_VIOLATION


async def test_a_subscribe_in_another_name_is_refused(site: Site, boot_id: bytes) -> None:
    await site.satellite("kiosk-1")
    stream = await opened(site, "kiosk-1", boot_id, satellite="kiosk-2")
    assert (await refusal(stream.call.read())).reason == "NOT_YOURS"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"boot_id": b"short", "session_number": 1}, "BOOT_ID_MALFORMED"),
        ({"boot_id": bytes(16)}, "SESSION_NUMBER"),
        (
            {"boot_id": bytes(16), "session_number": 1, "held": [state_pb2.HeldScope(scope="fleet", digest=b"x")]},
            "DIGEST_MALFORMED",
        ),
    ],
)
async def test_a_malformed_subscribe_gets_its_reason(site: Site, fields: dict[str, object], reason: str) -> None:
    await site.satellite("kiosk-1")
    stream = SatelliteStream(site.states(satellite_id("kiosk-1")))
    await stream.say(subscribe=state_pb2.Subscribe(protocol_version=1, **fields))  # type: ignore[arg-type] # as parametrized
    assert (await refusal(stream.call.read())).reason == reason


async def test_a_cut_delta_goes_on_where_it_was_cut(site: Site, boot_id: bytes) -> None:
    await site.satellite("kiosk-1")
    globs = [f"hub/{number}/{'x' * 200}/**" for number in range(900)]
    await site.fleet.apply(ADMIN, [a_policy(f"p{number}", *globs) for number in range(3)])
    update = await (await opened(site, "kiosk-1", boot_id)).update()
    parts = [m.delta_part for m in update if m.HasField("delta_part") and m.delta_part.scope == "fleet"]
    assert len(parts) > 1
    assert max(len(part.chunk) for part in parts) <= 256 * 1024
    first = parts[0]
    staged = state_pb2.StagedDelta(scope="fleet", delta_digest=first.delta_digest, received_bytes=len(first.chunk))
    again = await (await opened(site, "kiosk-1", boot_id, 2, staged=[staged])).update()
    resumed = [m.delta_part for m in again if m.HasField("delta_part") and m.delta_part.scope == "fleet"]
    assert resumed[0].offset == len(first.chunk)
    assert b"".join(p.chunk for p in (first, *resumed)) == b"".join(p.chunk for p in parts)


async def test_a_stream_without_a_subscribe_is_refused(site: Site) -> None:
    await site.satellite("kiosk-1")
    stream = SatelliteStream(site.states(satellite_id("kiosk-1")))
    await stream.say(report=state_pb2.StateReport(sequence=1))
    error = await refusal(stream.call.read())
    assert error.reason == "SUBSCRIBE_MISSING"
    assert await stream.call.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_reader_that_stops_reading_is_cut_when_its_time_is_up(site: Site, boot_id: bytes) -> None:
    await site.satellite("kiosk-1")
    globs = [f"hub/{number}/{'x' * 200}/**" for number in range(900)]
    for batch in range(8):
        await site.fleet.apply(ADMIN, [a_policy(f"p{batch}-{number}", *globs) for number in range(12)])
    stream = await opened(site, "kiosk-1", boot_id)  # 17 MB: more than flow control lets through unread
    await eventually(lambda: len(site.listener.board) == 1)
    await site.fleet.revoke(ADMIN, "kiosk-1")
    await eventually(lambda: len(site.listener.board) == 0, within_s=8)
    stream.call.cancel()
