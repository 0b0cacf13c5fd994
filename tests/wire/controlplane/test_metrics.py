"""What Ground Control tells of itself over HTTP, read from the real program by Prometheus' own parser."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import urllib3
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from fleet.policy_wire import write_policy
from fleet.v1 import attestation_pb2, fleet_pb2, health_pb2, state_pb2
from fleet.v1.attestation_pb2_grpc import AttestationServiceStub
from fleet.v1.health_pb2_grpc import HealthServiceStub
from fleet.v1.state_pb2_grpc import StateServiceStub
from tests.contract.store.words import shut
from tests.rig.ground_control import GroundControl, Member
from tests.rig.postgres import Postgres, running_postgres
from tests.wire.controlplane.site import SatelliteStream

SITES = 8
WITHIN_S = 60.0


@dataclass(frozen=True)
class Scrape:
    """One reading of `/metrics`."""

    samples: list[Sample]

    def value(self, name: str, **labels: str) -> float:
        """Add up what has these labels; a name that is nowhere is a mistake in the test."""
        assert self.has(name), f"no {name}"
        return sum(sample.value for sample in self._named(name) if labels.items() <= sample.labels.items())

    def rise(self, before: Scrape, name: str, **labels: str) -> float:
        return self.value(name, **labels) - before.value(name, **labels)

    def has(self, name: str, **labels: str) -> bool:
        return any(labels.items() <= sample.labels.items() for sample in self._named(name))

    def _named(self, name: str) -> list[Sample]:
        return [sample for sample in self.samples if sample.name == f"ground_control_{name}"]


def page(gc: GroundControl, path: str) -> tuple[int, str]:
    answer = urllib3.request("GET", f"http://{gc.facts['metrics']}{path}", timeout=15, retries=False)
    return answer.status, answer.data.decode()


def scrape(gc: GroundControl) -> Scrape:
    status, text = page(gc, "/metrics")
    assert status == 200
    return Scrape([sample for family in text_string_to_metric_families(text) for sample in family.samples])


async def scrape_until(gc: GroundControl, holds: Callable[[Scrape], bool]) -> Scrape:
    async with asyncio.timeout(WITHIN_S):
        while not holds(seen := await asyncio.to_thread(scrape, gc)):  # noqa: ASYNC110 - a scraper polls
            await asyncio.sleep(0.1)
    return seen


@asynccontextmanager
async def streaming(site: Member) -> AsyncIterator[SatelliteStream]:
    """A satellite's stream that has had its first update."""
    async with site.channel() as channel:
        boot_id = secrets.token_bytes(16)
        await AttestationServiceStub(channel).Attest(attestation_pb2.AttestRequest(boot_id=boot_id))
        stream = SatelliteStream(StateServiceStub(channel))
        await stream.subscribe(boot_id)
        await stream.update()
        yield stream


async def change(admin: Member, name: str = "base") -> None:
    policy = fleet_pb2.Policy(name=name, spec=write_policy(shut()))
    async with admin.fleet() as fleet:
        await fleet.CreatePolicy(fleet_pb2.CreatePolicyRequest(policy=policy))


@pytest.fixture(scope="module")
def gc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GroundControl]:
    """One worker on SQLite; tests read how numbers rise."""
    with GroundControl(tmp_path_factory.mktemp("metrics"), {"metrics": "127.0.0.1:0"}) as running:
        yield running


async def test_streams_and_what_is_sent_on_them_are_counted(gc: GroundControl) -> None:
    admin = await gc.join_operator()
    site = await gc.join_satellite(admin, "kiosk-1")
    before = scrape(gc)
    async with streaming(site) as stream:
        await change(admin, "counted")
        await stream.update()
        # It counts when gRPC has taken the message, a moment after we may have read it.
        seen = await scrape_until(gc, lambda seen: seen.rise(before, "change_delivery_seconds_count") == 1)
        assert seen.value("streams") == 1
        assert seen.rise(before, "stream_messages_total") == len(stream.received)
        assert seen.rise(before, "stream_message_bytes_total") == sum(each.ByteSize() for each in stream.received)
        for kind in ("delta", "snapshot", "bindings"):
            assert seen.rise(before, "stream_messages_total", kind=kind) >= 1
        assert seen.rise(before, "attestations_total", lifecycle="stale") == 1
    seen = await scrape_until(gc, lambda seen: seen.value("streams") == 0)
    assert seen.rise(before, "streams_ended_total", reason="left") == 1
    assert seen.rise(before, "streams_opened_total") == 1


async def test_one_delta_is_made_for_all_who_need_it(gc: GroundControl) -> None:
    admin = await gc.join_operator("ada")
    sites = [await gc.join_satellite(admin, f"shop-{number}") for number in range(4)]
    async with AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(streaming(site)) for site in sites]
        before = scrape(gc)
        await change(admin, "shared")
        await asyncio.gather(*(stream.update() for stream in streams))
        seen = scrape(gc)
    assert seen.rise(before, "delta_requests_total") == 4
    assert seen.rise(before, "deltas_made_total") == 1


async def test_reports_and_heartbeats_are_counted(gc: GroundControl) -> None:
    admin = await gc.join_operator("bob")
    site = await gc.join_satellite(admin, "tram-1")
    beats = {"method": "fleet.v1.HealthService/ReportHealth", "code": "OK"}
    async with streaming(site) as stream, site.channel() as channel:
        held = bytes(32)
        await stream.say(report=state_pb2.StateReport(sequence=1, held_digest=held, enforced_digest=held))
        request = health_pb2.ReportHealthRequest(health=health_pb2.Health())
        await HealthServiceStub(channel).ReportHealth(request)
        await stream.say(health=health_pb2.Health())
        seen = await scrape_until(gc, lambda seen: seen.value("health_reports_total") == 1)
        assert seen.value("reports_total", written="at_once") == 1
    assert seen.value("rpcs_total", **beats) == 1
    assert seen.value("rpc_seconds_count", method=beats["method"]) == 1


async def test_who_is_turned_away_is_counted_by_reason(gc: GroundControl) -> None:
    admin = await gc.join_operator("eve")
    site = await gc.join_satellite(admin, "kiosk-9")
    async with admin.fleet() as fleet:
        await fleet.RevokeSatellite(fleet_pb2.RevokeSatelliteRequest(name="kiosk-9"))
    before = scrape(gc).value("tls_handshakes_total", listener="fleet")
    async with site.channel() as channel:
        with pytest.raises(Exception, match="revoked"):
            await AttestationServiceStub(channel).Attest(attestation_pb2.AttestRequest(boot_id=bytes(16)))
    seen = scrape(gc)
    assert seen.value("tls_handshakes_total", listener="fleet") == before + 1
    assert seen.value("rpc_refusals_total", reason="REVOKED", method="fleet.v1.AttestationService/Attest") == 1
    assert seen.value("lifecycle_changes_total", verb="revoke") == 1
    assert seen.value("svids_issued_total", by="bootstrap") >= 2
    assert seen.value("tls_handshakes_total", listener="bootstrap") >= 2


async def test_it_tells_of_the_fleet_of_the_log_and_of_our_processes(gc: GroundControl) -> None:
    admin = await gc.join_operator("zoe")
    site = await gc.join_satellite(admin, "lone-1")
    async with streaming(site):
        seen = await scrape_until(gc, lambda seen: seen.value("fleet_satellites", lifecycle="online") == 1)
        assert seen.value("fleet_satellites_behind", lifecycle="online") == 1
        assert seen.value("fleet_behind_oldest_seconds", lifecycle="online") > 0
        assert seen.has("fleet_behind_worst_seconds", satellite="lone-1")
    assert seen.value("fleet_log_revision") == seen.value("log_revision") > 0
    for process in ("supervisor", "authority", "worker-1", "web"):
        assert seen.value("process_resident_memory_bytes", process=process) > 1e6
        assert 3 <= seen.value("process_open_fds", process=process) < seen.value("process_max_fds", process=process)
    assert seen.value("build_info") == 1
    assert seen.value("database_transaction_seconds_count", way="write") > 0


async def test_it_is_healthy_and_ready_on_loopback(gc: GroundControl) -> None:
    assert [page(gc, path)[0] for path in ("/healthz", "/readyz", "/")] == [200, 200, 404]
    assert gc.facts["metrics"].startswith("127.0.0.1:")


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    with running_postgres(durable=True) as server:
        yield server


@pytest.fixture
def two(tmp_path: Path, postgres: Postgres) -> Iterator[GroundControl]:
    """Two workers on PostgreSQL."""
    options = {"database_url": postgres.make_database(), "workers": "2", "metrics": "127.0.0.1:0"}
    with GroundControl(tmp_path, options) as running:
        yield running


@pytest.mark.needs_postgres
async def test_a_killed_worker_takes_its_numbers_along_and_begins_anew(two: GroundControl) -> None:
    admin = await two.join_operator()
    sites = [await two.join_satellite(admin, f"kiosk-{number}") for number in range(SITES)]
    async with AsyncExitStack() as stack:
        for site in sites:
            await stack.enter_async_context(streaming(site))
        await change(admin)
        before = await scrape_until(two, lambda seen: seen.value("change_delivery_seconds_count") == SITES)
        held = {name: before.value("streams", worker=name) for name in ("worker-1", "worker-2")}
        assert sum(held.values()) == SITES
        os.kill(two.facts["processes"]["worker-1"], 9)
        gone = await scrape_until(two, lambda seen: not seen.value("worker_up", worker="worker-1"))
        assert gone.value("streams") == held["worker-2"], "no gauge of the dead"
        assert not gone.has("streams", worker="worker-1")
        back = await scrape_until(two, lambda seen: seen.value("worker_up") == 2)
        assert back.value("streams", worker="worker-1") == 0
        assert back.value("stream_messages_total", worker="worker-1") == 0, "a counter's reset is seen in its series"
        messages = {"worker": "worker-2", "kind": "delta"}
        assert back.value("stream_messages_total", **messages) == before.value("stream_messages_total", **messages)
        started = "process_start_time_seconds"
        assert back.value(started, process="worker-1") > before.value(started, process="worker-1")


@pytest.mark.needs_postgres
async def test_a_database_that_is_away_shows_and_leaves_no_old_number(two: GroundControl, postgres: Postgres) -> None:
    await two.join_operator()
    before = await scrape_until(two, lambda seen: seen.value("database_up") == 1)
    assert before.has("fleet_satellites")
    await asyncio.to_thread(postgres.stop)
    away = await scrape_until(two, lambda seen: seen.value("database_up") == 0)
    assert not away.has("fleet_satellites")
    assert page(two, "/readyz")[0] == 503
    assert away.value("worker_up") == 2
    failed = "database_errors_total"
    await scrape_until(two, lambda seen: seen.value(failed, reason="store_unavailable") > before.value(failed))
    await asyncio.to_thread(postgres.start)
    await scrape_until(two, lambda seen: seen.value("database_up") == 1)
    assert page(two, "/readyz")[0] == 200
