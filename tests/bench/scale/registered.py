"""A hundred thousand satellites that are registered, and none of them there: what reading and starting cost."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from rich.console import Console

from fleet.v1 import fleet_pb2 as pb
from tests.bench.figures import Figure, Measured, median_of
from tests.bench.scale.estate import GROUP, Estate, running_estate

BATCH = 500
PAGES = 20


async def measure(directory: Path, kind: str, count: int, talk: Console) -> list[Figure]:
    """Register, list, and start again."""
    async with running_estate(directory, kind, 2, talk) as estate:
        await estate.apply(pb.Change(group=pb.Group(name=GROUP)))
        begun = time.monotonic()
        for at in range(0, count, BATCH):
            await estate.apply(*_registered(range(at, min(at + BATCH, count))))
        talk.print(f"{count} registered in {time.monotonic() - begun:.0f} s")
        satellites = await _paged(estate, statuses=False)
        statuses = await _paged(estate, statuses=True)
        counted = [await _counted(estate) for _ in range(3)]
        begun = time.monotonic()
        await asyncio.to_thread(_restart, estate)
        started_s = time.monotonic() - begun
    name = f"registered-{count}-{kind}"
    return [
        Figure(f"{name}/list-page", "ms", median_of(satellites), most=50.0),
        Figure(f"{name}/status-page", "ms", median_of(statuses), most=50.0),
        Figure(f"{name}/fleet-status", "ms", median_of(counted)),
        Figure(f"{name}/start", "s", Measured(started_s, started_s, started_s), most=10.0),
    ]


def _registered(numbers: range) -> list[pb.Change]:
    names = [f"site-{number:06}" for number in numbers]
    made = [pb.Change(satellite=pb.Satellite(name=name, region="scale")) for name in names]
    return made + [pb.Change(membership=pb.Membership(satellite=name, group=GROUP)) for name in names]


async def _paged(estate: Estate, *, statuses: bool) -> list[float]:
    """Read pages one after the other: `→ milliseconds of each`."""
    took, token = [], ""
    for _ in range(PAGES):
        begun = time.monotonic()
        if statuses:
            asked = pb.ListSatelliteStatusesRequest(page_size=100, page_token=token)
            token = (await estate.client.call(estate.client.fleet.ListSatelliteStatuses, asked)).next_page_token
        else:
            listed = pb.ListSatellitesRequest(page_size=100, page_token=token)
            token = (await estate.client.call(estate.client.fleet.ListSatellites, listed)).next_page_token
        took.append(1000 * (time.monotonic() - begun))
    return took


async def _counted(estate: Estate) -> float:
    begun = time.monotonic()
    await estate.client.call(estate.client.fleet.GetFleetStatus, pb.GetFleetStatusRequest())
    return 1000 * (time.monotonic() - begun)


def _restart(estate: Estate) -> None:
    estate.control.kill()
    estate.control.start()
