"""The log as operators follow it: pages, WatchFleet, and when a watch ends."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import grpc
import grpc.aio
import pytest

from controlplane.adapters.opening import open_fleet
from controlplane.domain.commands import Delete, EntityKind, Upsert
from controlplane.domain.entities import Group, Role
from controlplane.domain.lifecycle import WORKER_LEASE
from fleet.errors import FleetError, Kind
from fleet.v1 import attestation_pb2, fleet_pb2, state_pb2
from tests.rig.identity import Realm, utc_now
from tests.wire.controlplane.site import ADMIN, SatelliteStream, Site, compacted, refusal, satellite_id

WatchCall = grpc.aio.UnaryStreamCall[fleet_pb2.WatchFleetRequest, fleet_pb2.WatchFleetResponse]


async def make_groups(site: Site, *names: str) -> None:
    for name in names:
        await site.fleet.apply(ADMIN, [Upsert(Group(name))])


async def changes_until(call: WatchCall, name: str) -> list[str]:
    """Read the names of what changed, up to one."""
    names: list[str] = []
    async with asyncio.timeout(10):
        while name not in names:
            event = await call.read()
            assert isinstance(event, fleet_pb2.WatchFleetResponse), names
            names += [result.name for result in event.change.results]
    return names


async def until_lifecycle(call: WatchCall, wanted: int, *names: str) -> None:
    """Read until the statuses of satellites say so."""
    missing = set(names)
    async with asyncio.timeout(20):
        while missing:
            event = await call.read()
            assert isinstance(event, fleet_pb2.WatchFleetResponse), missing
            if event.status.lifecycle == wanted:
                missing.discard(event.status.satellite)


async def test_the_log_is_read_in_pages_from_a_position_on(site: Site) -> None:
    await make_groups(site, "a", "b", "c")
    admin = site.operators()
    first = await admin.ListChanges(fleet_pb2.ListChangesRequest(page_size=2))
    assert first.more
    rest = await admin.ListChanges(fleet_pb2.ListChangesRequest(after=first.changes[-1].position))
    revisions = [change.position.revision for change in (*first.changes, *rest.changes)]
    assert revisions == sorted(set(revisions))
    assert [change.results[0].name for change in rest.changes][-2:] == ["b", "c"]


async def test_a_position_that_is_not_kept_any_more_says_to_list_anew(site: Site) -> None:
    admin = site.operators()
    start = (await admin.GetFleetStatus(fleet_pb2.GetFleetStatusRequest())).position
    await make_groups(site, "a", "b")
    await compacted(site)
    listed = await refusal(admin.ListChanges(fleet_pb2.ListChangesRequest(after=start)))
    watched = await refusal(admin.WatchFleet(fleet_pb2.WatchFleetRequest(after=start, statuses=True)).read())
    for error in (listed, watched):
        assert (error.kind, error.reason) == (Kind.PRECONDITION, "POSITION_COMPACTED")
        assert "list everything anew" in error.text
    whole = await admin.ListChanges(fleet_pb2.ListChangesRequest())
    assert [change.results[0].name for change in whole.changes] == ["b"]
    watch = admin.WatchFleet(fleet_pb2.WatchFleetRequest(after=whole.changes[-1].position))
    await make_groups(site, "c")
    assert await changes_until(watch, "c") == ["c"]
    watch.cancel()


async def test_a_watch_goes_on_from_where_it_was_cut(site: Site) -> None:
    admin = site.operators()
    start = (await admin.GetFleetStatus(fleet_pb2.GetFleetStatusRequest())).position
    await make_groups(site, "a")
    watch = admin.WatchFleet(fleet_pb2.WatchFleetRequest(after=start))
    assert await changes_until(watch, "a") == ["a"]
    seen = (await admin.GetFleetStatus(fleet_pb2.GetFleetStatusRequest())).position
    watch.cancel()
    await make_groups(site, "b", "c")
    again = admin.WatchFleet(fleet_pb2.WatchFleetRequest(after=seen))
    assert await changes_until(again, "c") == ["b", "c"]
    await make_groups(site, "d")
    assert await changes_until(again, "d") == ["d"]
    again.cancel()


async def test_a_watch_tells_satellites_statuses_as_they_change(site: Site, boot_id: bytes) -> None:
    await site.satellite("kiosk-1")
    watch = site.operators().WatchFleet(fleet_pb2.WatchFleetRequest(statuses=True))
    first = await watch.read()
    assert isinstance(first, fleet_pb2.WatchFleetResponse)
    assert first.status.lifecycle == attestation_pb2.LIFECYCLE_STALE
    stream = SatelliteStream(site.states(satellite_id("kiosk-1")))
    await stream.subscribe(boot_id)
    await until_lifecycle(watch, attestation_pb2.LIFECYCLE_ONLINE, "kiosk-1")
    watch.cancel()


async def test_a_watch_tells_of_the_satellites_of_a_process_that_died_and_of_one_that_was_only_slow(
    site: Site, realm: Realm, boot_id: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controlplane.adapters.sql.statuses.MAX_CHANGED", 2)
    names = [f"kiosk-{number}" for number in range(5)]
    async with open_fleet(site.url, private=site.private, trust_domain=realm.root.trust_domain) as other:
        for name in names:
            await site.satellite(name)
            await other.fleet.open_session(name, boot_id, 1)
        watch = site.operators().WatchFleet(fleet_pb2.WatchFleetRequest(statuses=True))
        await until_lifecycle(watch, attestation_pb2.LIFECYCLE_ONLINE, *names)
        await asyncio.sleep(3)  # nobody writes of these satellites any more
        await other.fleet._store.beat(utc_now() - WORKER_LEASE)
        await until_lifecycle(watch, attestation_pb2.LIFECYCLE_STALE, *names)
        await other.fleet._store.beat(utc_now())
        await until_lifecycle(watch, attestation_pb2.LIFECYCLE_ONLINE, *names)
        watch.cancel()


async def test_a_position_ahead_of_the_log_is_refused(site: Site) -> None:
    ahead = state_pb2.Position(epoch=9, revision=1)
    watch = site.operators().WatchFleet(fleet_pb2.WatchFleetRequest(after=ahead))
    error = await refusal(watch.read())
    assert (error.kind, error.reason) == (Kind.PRECONDITION, "STORE_BEHIND")


async def test_a_watch_ends_with_its_operators_role(site: Site) -> None:
    viewer = await site.operator("casey", Role.VIEWER)
    watch = site.operators(viewer).WatchFleet(fleet_pb2.WatchFleetRequest(statuses=True))
    assert await watch.read() is not grpc.aio.EOF
    await site.fleet.apply(ADMIN, [Delete(EntityKind.OPERATOR, "casey")])
    async with asyncio.timeout(5):
        assert (await ended(watch)).reason == "ROLE_MISSING"


async def test_a_watch_ends_with_its_certificate(site: Site) -> None:
    brief = site.realm.material(ADMIN, ttl=timedelta(seconds=2))
    watch = site.operators(brief).WatchFleet(fleet_pb2.WatchFleetRequest(statuses=True))
    async with asyncio.timeout(7):
        assert (await ended(watch)).reason == "SVID_EXPIRED"


async def ended(call: WatchCall) -> FleetError:
    """Read on until the server ends the call: the reason why."""

    async def drain() -> None:
        while await call.read() is not grpc.aio.EOF:
            pass

    return await refusal(drain())
