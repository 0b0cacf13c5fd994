from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from controlplane.adapters.sql import statuses
from controlplane.app.fleet import Fleet
from controlplane.domain.commands import Upsert
from controlplane.domain.entities import Assignment, Lifecycle, Satellite
from controlplane.domain.specs import ResourceKind
from controlplane.domain.status import (
    ArtifactState,
    ChangedStatuses,
    Health,
    Report,
    ResourceException,
    SessionKey,
)
from tests.contract.store.conftest import Clock, Open
from tests.contract.store.words import ADA, D2, do, refused, shop
from tests.rig.held_presence import nobody_writes_presence

A, B = b"a" * 16, b"b" * 16


async def approved(fleet: Fleet) -> None:
    await do(fleet, *shop())
    await fleet.approve(ADA, "s1")


async def lifecycle(fleet: Fleet) -> Lifecycle:
    return (await fleet.get_satellite("s1")).lifecycle


async def test_a_satellite_is_online_while_its_stream_is_open(fleet: Fleet) -> None:
    await approved(fleet)
    await fleet.open_session("s1", A, 1)
    assert await lifecycle(fleet) is Lifecycle.ONLINE
    await fleet.close_session("s1", A, 1)
    assert await lifecycle(fleet) is Lifecycle.STALE


async def test_closing_an_old_stream_leaves_the_new_one(fleet: Fleet) -> None:
    await approved(fleet)
    await fleet.open_session("s1", A, 1)
    opened = await fleet.open_session("s1", A, 2)
    assert (opened.superseded, opened.duplicate) == (SessionKey("s1", A, 1), False)
    await fleet.close_session("s1", A, 1)
    assert await lifecycle(fleet) is Lifecycle.ONLINE
    with refused("SESSION_SUPERSEDED"):
        await fleet.open_session("s1", A, 1)


async def test_a_second_stream_of_the_same_number_does_not_share_the_first_ones_session(fleet: Fleet) -> None:
    await approved(fleet)
    opened = await asyncio.gather(*(fleet.open_session("s1", A, 1) for _ in range(2)), return_exceptions=True)
    assert sorted(getattr(each, "reason", "") for each in opened) == ["", "SESSION_SUPERSEDED"]
    await fleet.close_session("s1", A, 1)
    with refused("SESSION_SUPERSEDED"):
        await fleet.open_session("s1", A, 1)
    assert await lifecycle(fleet) is Lifecycle.STALE


async def test_a_restarted_satellite_is_no_duplicate(fleet: Fleet) -> None:
    await approved(fleet)
    await fleet.open_session("s1", A, 7)
    opened = await fleet.open_session("s1", B, 1)
    assert opened.superseded == SessionKey("s1", A, 7)
    assert not opened.duplicate
    assert not (await fleet.satellite_status("s1"))[0].duplicate_identity


async def test_a_boot_id_that_comes_back_is_a_copied_identity(fleet: Fleet, clock: Clock) -> None:
    await approved(fleet)
    for boot in (A, B):
        assert not (await fleet.open_session("s1", boot, 1)).duplicate
    assert (await fleet.open_session("s1", A, 2)).duplicate
    assert (await fleet.satellite_status("s1"))[0].duplicate_identity
    clock.advance(timedelta(hours=3))
    assert not (await fleet.satellite_status("s1"))[0].duplicate_identity


async def test_streams_of_a_process_that_died_count_as_closed(opening: Open, clock: Clock) -> None:
    async with opening("dead") as dead, opening("live") as live:
        await approved(dead.fleet)
        await dead.fleet.open_session("s1", A, 1)
        assert await lifecycle(live.fleet) is Lifecycle.ONLINE
        clock.advance(timedelta(seconds=16))
        assert await lifecycle(live.fleet) is Lifecycle.STALE
        opened = await live.fleet.open_session("s1", A, 2)
        assert opened.superseded is None


async def test_a_process_that_says_so_keeps_its_streams(fleet: Fleet, clock: Clock) -> None:
    await approved(fleet)
    await fleet.open_session("s1", A, 1)
    clock.advance(timedelta(seconds=60))
    running = asyncio.ensure_future(fleet.run())
    async with asyncio.timeout(10):
        while await lifecycle(fleet) is not Lifecycle.ONLINE:  # noqa: ASYNC110 polls a database, with a deadline
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_report_replaces_the_one_before_and_late_ones_do_not(fleet: Fleet) -> None:
    await approved(fleet)
    await fleet.open_session("s1", A, 1)
    desired = await fleet.desired("s1")
    why = ResourceException(
        int(ResourceKind.ARTIFACT), "hub/library/nginx:1", "", ArtifactState.REFUSED, "UNSIGNED", "no signature"
    )
    bad = Report(2, desired.position, desired.state_digest, b"", desired=1, refused=1, exceptions=(why,))
    assert await fleet.record_report("s1", A, 1, bad)
    assert not await fleet.record_report("s1", A, 1, replace(bad, sequence=1))
    assert not await fleet.record_report("s1", B, 1, replace(bad, sequence=9))
    status, (artifact,) = await fleet.satellite_status("s1")
    assert status.report == bad
    assert not status.converged
    assert (artifact.state, artifact.reason) == (ArtifactState.REFUSED, "UNSIGNED")
    good = Report(3, desired.position, desired.state_digest, desired.state_digest, desired=1, published=1)
    assert await fleet.record_report("s1", A, 1, good)
    status, (artifact,) = await fleet.satellite_status("s1")
    assert (status.converged, status.report) == (True, good)
    assert artifact.state is ArtifactState.PUBLISHED
    assert artifact.local_reference == "library/nginx:1"


async def test_what_is_under_way_is_kept_as_it_was_told_and_is_no_change(fleet: Fleet, clock: Clock) -> None:
    await approved(fleet)
    await fleet.open_session("s1", A, 1)
    desired = await fleet.desired("s1")
    moving = ResourceException(
        int(ResourceKind.ARTIFACT),
        "hub/library/nginx:1",
        state=ArtifactState.WAITING,
        reason="TRANSFERRING",
        done_bytes=1 << 40,
        total_bytes=1 << 41,
        rate_bytes_per_s=1 << 33,
    )
    later = clock() + timedelta(minutes=3)
    cut = replace(moving, state=ArtifactState.FAILED, reason="SOURCE_CUT", rate_bytes_per_s=0, retry_at=later)
    for sequence, told in enumerate((moving, cut), start=1):
        report = Report(sequence, desired.position, desired.state_digest, desired=1, exceptions=(told,))
        assert await fleet.record_report("s1", A, 1, report)
        (status,) = [one for one in (await fleet.statuses_since(clock())).statuses if one.satellite == "s1"]
        assert status.report == report
        _, (artifact,) = await fleet.satellite_status("s1")
        shown = (artifact.done_bytes, artifact.total_bytes, artifact.rate_bytes_per_s, artifact.retry_at)
        assert shown == (told.done_bytes, told.total_bytes, told.rate_bytes_per_s, told.retry_at)
    assert await fleet.position() == desired.position


async def test_sequences_begin_anew_with_each_session(fleet: Fleet) -> None:
    await approved(fleet)
    report = Report(5, None, bytes(32))
    await fleet.open_session("s1", A, 1)
    assert await fleet.record_report("s1", A, 1, report)
    await fleet.open_session("s1", A, 2)
    assert not await fleet.record_report("s1", A, 1, replace(report, sequence=6))
    assert await fleet.record_report("s1", A, 2, replace(report, sequence=1))


async def test_what_was_assigned_since_the_report_is_not_called_published(fleet: Fleet) -> None:
    await approved(fleet)
    await fleet.open_session("s1", A, 1)
    desired = await fleet.desired("s1")
    await fleet.record_report("s1", A, 1, Report(1, desired.position, desired.state_digest, desired.state_digest))
    await do(fleet, Upsert(Assignment(f"hub/b:1@{D2}", "fleet")))
    status, artifacts = await fleet.satellite_status("s1")
    assert not status.converged
    assert [(each.name, each.state) for each in artifacts] == [
        ("hub/b:1", ArtifactState.UNREPORTED),
        ("hub/library/nginx:1", ArtifactState.UNREPORTED),
    ]


async def test_health_is_kept_as_it_came(fleet: Fleet, clock: Clock) -> None:
    await approved(fleet)
    await fleet.open_session("s1", A, 1)
    health = Health(measured_at=clock(), cpu_fraction=0.25, disk_free_bytes=1 << 40, registry_healthy=True)
    clock.advance(timedelta(minutes=1))
    await fleet.record_healths({"s1": Health(), "nobody": health})
    await fleet.record_healths({"nobody": health, "s1": health})
    status = (await fleet.satellite_status("s1"))[0]
    assert (status.health, status.last_seen_at) == (health, clock())


async def test_the_fleet_is_counted(fleet: Fleet) -> None:
    await approved(fleet)
    await do(fleet, *(Upsert(Satellite(f"p{number}")) for number in range(3)))
    await fleet.revoke(ADA, "p0")
    await fleet.open_session("s1", A, 1)
    desired = await fleet.desired("s1")
    await fleet.record_report("s1", A, 1, Report(1, desired.position, desired.state_digest, desired.state_digest))
    status = await fleet.fleet_status()
    counted = (status.satellites, status.online, status.stale, status.pending, status.revoked)
    assert counted == (4, 1, 0, 2, 1)
    assert (status.converged, status.groups, status.artifacts) == (1, 1, 1)
    page = await fleet.satellite_statuses(2)
    assert [each.satellite for each in page.items] == ["p0", "p1"]
    rest = await fleet.satellite_statuses(2, page.next_page_token)
    assert [each.satellite for each in rest.items] == ["p2", "s1"]


async def test_statuses_that_changed_can_be_asked_for(fleet: Fleet, clock: Clock) -> None:
    await approved(fleet)
    clock.advance(timedelta(seconds=1))
    since = clock()
    assert await fleet.statuses_since(since) == ChangedStatuses(())
    await fleet.open_session("s1", A, 1)
    found = await fleet.statuses_since(since)
    assert [each.satellite for each in found.statuses] == ["s1"]
    assert found.more_after is None


async def test_many_statuses_that_changed_are_asked_for_bit_by_bit(
    fleet: Fleet, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statuses, "MAX_CHANGED", 2)
    names = [f"m{number}" for number in range(5)]
    await do(fleet, *(Upsert(Satellite(name, "north")) for name in names))
    clock.advance(timedelta(seconds=1))
    since: datetime | None = clock()
    for name in names:
        await fleet.approve(ADA, name)
        clock.advance(timedelta(seconds=1))
        await fleet.open_session(name, A, 1)
    seen: list[str] = []
    while since is not None:
        found = await fleet.statuses_since(since)
        seen += [each.satellite for each in found.statuses]
        since = found.more_after
    assert sorted(set(seen)) == names
    assert len(seen) < 2 * len(names)


async def test_what_had_to_wait_for_the_database_is_told_as_changed_when_it_is_written(
    fleet: Fleet, clock: Clock, url: str
) -> None:
    names = [f"c{number}" for number in range(6)]
    await do(fleet, *(Upsert(Satellite(name)) for name in names))
    for name in names:
        await fleet.open_session(name, A, 1)
    with nobody_writes_presence(url):
        writing = asyncio.gather(
            fleet.record_report("c0", A, 1, Report(1, None, bytes(32))),
            fleet.open_session("c1", A, 2),
            fleet.close_session("c2", A, 1),
            fleet.mark_behind("c3"),
            fleet.attest("spiffe://example.org/satellite/region/default/c4", A, "2"),
            fleet.approve(ADA, "c5"),
        )
        await asyncio.sleep(0.3)  # they have come, and wait
        clock.advance(timedelta(minutes=1))
    await writing
    assert sorted(each.satellite for each in (await fleet.statuses_since(clock())).statuses) == names


async def test_a_session_that_is_closed_late_was_seen_until_its_stream_ended(fleet: Fleet, clock: Clock) -> None:
    names = [f"c{number}" for number in range(3)]
    await do(fleet, *(Upsert(Satellite(name)) for name in names))
    ends = {name: clock() + timedelta(seconds=number) for number, name in enumerate(names)}
    for name in names:
        await fleet.open_session(name, A, 1)
    clock.advance(timedelta(minutes=1))
    await asyncio.gather(*(fleet.close_session(name, A, 1, at) for name, at in ends.items()))
    closed = (await fleet.statuses_since(clock())).statuses
    assert {each.satellite: each.last_seen_at for each in closed} == ends
    assert not any(each.lifecycle is Lifecycle.ONLINE for each in closed)


async def test_what_was_heard_after_a_stream_ended_is_not_forgotten_when_it_is_closed(
    fleet: Fleet, clock: Clock
) -> None:
    await approved(fleet)
    await fleet.open_session("s1", A, 1)
    ended = clock()
    clock.advance(timedelta(minutes=1))
    await fleet.record_healths({"s1": Health()})
    await fleet.close_session("s1", A, 1, ended)
    assert (await fleet.satellite_status("s1"))[0].last_seen_at == clock()


async def test_a_satellite_ahead_of_the_log_is_shown(fleet: Fleet) -> None:
    await approved(fleet)
    await fleet.open_session("s1", A, 1)
    await fleet.mark_behind("s1")
    assert (await fleet.satellite_status("s1"))[0].store_behind
    await fleet.open_session("s1", A, 2)
    assert not (await fleet.satellite_status("s1"))[0].store_behind


async def test_one_satellite_may_say_many_things_at_once(fleet: Fleet) -> None:
    await approved(fleet)
    await fleet.open_session("s1", A, 1)
    why = ResourceException(1, "hub/library/nginx:1", "", ArtifactState.FAILED, "SOURCE_UNREACHABLE")
    reports = [Report(number, None, bytes(32), exceptions=(why,) * (number % 3)) for number in range(1, 20)]
    await asyncio.gather(
        *(fleet.record_report("s1", A, 1, report) for report in reports),
        *(fleet.record_healths({"s1": Health(cpu_fraction=0.5), "s2": Health()}) for _ in range(20)),
        *(fleet.attest("spiffe://example.org/satellite/region/default/s1", A, "1") for _ in range(5)),
    )
    status, _ = await fleet.satellite_status("s1")
    assert status.report == reports[-1]
    assert status.health == Health(cpu_fraction=0.5)


async def test_many_satellites_report_at_once(fleet: Fleet) -> None:
    names = [f"s{number}" for number in range(60)]
    await do(fleet, *(Upsert(Satellite(name)) for name in names))
    opened = await asyncio.gather(*(fleet.open_session(name, A, 1) for name in names), return_exceptions=True)
    assert not any(isinstance(each, BaseException) for each in opened)
    late = await asyncio.gather(
        *(fleet.open_session(name, A, 0 if name == "s7" else 2) for name in names), return_exceptions=True
    )
    assert [name for name, each in zip(names, late, strict=True) if isinstance(each, BaseException)] == ["s7"]
