"""What Ground Control tells of itself over HTTP, read from the real program by Prometheus' own parser."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import urllib3
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from fleet.v1 import fleet_pb2
from fleet.v1.state_pb2_grpc import StateServiceStub
from tests.rig.ground_control import GroundControl
from tests.wire.controlplane.site import SatelliteStream


@dataclass(frozen=True)
class Scrape:
    """One reading of `/metrics`."""

    samples: list[Sample]

    def value(self, name: str, **labels: str) -> float:
        """Add up what has these labels; a name that is nowhere is a mistake in the test."""
        named = [sample for sample in self.samples if sample.name == f"ground_control_{name}"]
        assert named, f"no {name}"
        return sum(sample.value for sample in named if labels.items() <= sample.labels.items())


def scrape(gc: GroundControl) -> Scrape:
    answer = urllib3.request("GET", f"http://{gc.facts['metrics']}/metrics", timeout=10, retries=False)
    assert answer.status == 200
    families = text_string_to_metric_families(answer.data.decode())
    return Scrape([sample for family in families for sample in family.samples])


@pytest.fixture
def gc(tmp_path: Path) -> Iterator[GroundControl]:
    with GroundControl(tmp_path, {"metrics": "127.0.0.1:0"}) as running:
        yield running


async def test_streams_and_messages_are_counted(gc: GroundControl) -> None:
    admin = await gc.join_operator()
    site = await gc.join_satellite(admin, "kiosk-1")
    assert scrape(gc).value("streams") == 0
    async with site.channel() as channel, admin.fleet() as fleet:
        stream = SatelliteStream(StateServiceStub(channel))
        await stream.subscribe(secrets.token_bytes(16))
        await stream.update()
        await fleet.CreatePolicy(fleet_pb2.CreatePolicyRequest(policy=fleet_pb2.Policy(name="base")))
        await stream.update()
        seen = scrape(gc)
        assert seen.value("streams", worker="worker-1") == 1
        assert seen.value("stream_messages_total") == len(stream.received)
        assert seen.value("stream_messages_total", kind="delta") == 1
        assert seen.value("worker_up", worker="worker-1") == 1
