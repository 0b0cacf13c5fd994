"""What Ground Control tells an OpenTelemetry collector of its work: the real program, a collector that keeps it all."""

from __future__ import annotations

import asyncio
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from controlplane.tracing import tracing
from fleet.errors import FleetError
from fleet.policy_wire import write_policy
from fleet.v1 import fleet_pb2, state_pb2
from fleet.v1.state_pb2_grpc import StateServiceStub
from tests.contract.store.words import shut
from tests.rig.ground_control import GroundControl
from tests.rig.otlp import Collector, Told, running_collector
from tests.wire.controlplane.site import SatelliteStream

TRACE, SPAN = secrets.token_hex(16), secrets.token_hex(8)
APPLY = "fleet.v1.FleetService/ApplyChanges"
STREAM = "fleet.v1.StateService/StreamState"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with running_collector() as running:
        yield running


@pytest.fixture
def gc(tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> Iterator[GroundControl]:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    with GroundControl(tmp_path) as running:
        yield running


async def only(find: Callable[[], list[Told]]) -> Told:
    async with asyncio.timeout(20):
        while not (found := find()):  # noqa: ASYNC110 - spans leave in batches
            await asyncio.sleep(0.05)
    assert len(found) == 1
    return found[0]


async def test_a_change_and_a_stream_are_traced_from_end_to_end(gc: GroundControl, collector: Collector) -> None:
    admin = await gc.join_operator()
    site = await gc.join_satellite(admin, "kiosk-1")
    async with site.channel() as channel, admin.fleet() as fleet:
        stream = SatelliteStream(StateServiceStub(channel))
        await stream.subscribe(secrets.token_bytes(16))
        await stream.update()
        changes = [fleet_pb2.Change(policy=fleet_pb2.Policy(name="base", spec=write_policy(shut())))]
        parent = (("traceparent", f"00-{TRACE}-{SPAN}-01"),)
        applied = await fleet.ApplyChanges(fleet_pb2.ApplyChangesRequest(changes=changes), metadata=parent)
        await stream.update()
        held = bytes(32)
        await stream.say(report=state_pb2.StateReport(sequence=1, held_digest=held, enforced_digest=held))
        await only(lambda: collector.named("report.record"))

    call = await only(lambda: collector.named(APPLY))
    assert (call.span.trace_id.hex(), call.span.parent_span_id.hex()) == (TRACE, SPAN), "the operator's own trace"
    assert call.facts["caller"] == "spiffe://fleet.test/operator/admin"
    assert call.resource["service.name"] == "ground-control"
    assert str(call.resource["service.instance.id"]).startswith("worker-1-")
    change = await only(lambda: collector.named("changes.apply"))
    assert change.facts["revision"] == applied.position.revision
    assert [each.span.name for each in collector.children(change)] == ["database.write"]

    whole = await only(lambda: collector.named("stream", satellite="kiosk-1"))
    assert whole.facts["goodbye"] == "left"
    assert whole.span.parent_span_id == (await only(lambda: collector.named(STREAM))).span.span_id
    parts = [each.span.name for each in collector.children(whole)]
    assert (parts.count("stream.consult"), parts.count("stream.update")) == (2, 2)
    update = collector.named("stream.update", revision=applied.position.revision)
    made = await only(lambda: [each for each in collector.named("delta.make") if each.facts["generation"] == 1])
    assert made.span.parent_span_id in {each.span.span_id for each in collector.named("stream.update")}
    assert update
    assert collector.named("roster.survey", satellites=1)
    assert not [each for each in collector.named("database.read") if not each.span.parent_span_id], "no poll"


async def test_a_satellite_decides_nothing_about_traces(gc: GroundControl, collector: Collector) -> None:
    admin = await gc.join_operator()
    site = await gc.join_satellite(admin, "kiosk-1")
    async with site.channel() as channel:
        ask = StateServiceStub(channel).GetState
        await ask(state_pb2.GetStateRequest(), metadata=(("traceparent", f"00-{TRACE}-{SPAN}-01"),))
    call = await only(lambda: collector.named("fleet.v1.StateService/GetState"))
    assert call.span.trace_id.hex() != TRACE
    assert not call.span.parent_span_id


async def test_an_error_is_told_by_its_reason_alone(gc: GroundControl, collector: Collector) -> None:
    admin = await gc.join_operator()
    async with admin.fleet() as fleet:
        with pytest.raises(Exception, match="no such satellite"):
            await fleet.GetSatellite(fleet_pb2.GetSatelliteRequest(name="nobody"))
    call = await only(lambda: collector.named("fleet.v1.FleetService/GetSatellite"))
    assert (call.span.status.code, call.span.status.message) == (2, "SATELLITE_UNKNOWN")
    assert not call.span.events


async def test_spans_that_wait_leave_before_the_program_ends(
    tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")
    with GroundControl(tmp_path) as gc:
        await gc.join_operator()
        assert not collector.told
    assert collector.named("fleet.v1.AttestationService/Bootstrap")


async def test_a_collector_that_is_away_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    with GroundControl(tmp_path) as gc:
        admin = await gc.join_operator()
        async with admin.fleet() as fleet:
            await fleet.GetFleetStatus(fleet_pb2.GetFleetStatusRequest())


def test_without_a_collector_nothing_of_opentelemetry_is_loaded() -> None:
    program = (
        "import sys, controlplane.worker, controlplane.tracing\n"
        "with controlplane.tracing.tracing('w') as tracer, tracer.span('x') as span: span.note(a=1)\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, env={})


def test_another_protocol_is_refused_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(FleetError) as refused, tracing("w"):
        pass
    assert refused.value.reason == "TRACING_PROTOCOL"
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    with tracing("w"):
        pass


def test_a_collector_without_opentelemetry_is_refused_with_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    monkeypatch.delitem(sys.modules, "controlplane.adapters.otel", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(FleetError) as refused, tracing("w"):
        pass
    assert refused.value.reason == "TRACING_ABSENT"
