"""From assignment to pullable: a change is sent to Ground Control, and the site's registry serves the image.

Real programs on loopback with the product's own settings. The clock starts when ApplyChanges is sent and stops when
a workload's first GET of the manifest by its tag succeeds, asked without pause but for a millisecond.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

import urllib3
from rich.console import Console
from rich.progress import track

from edge.adapters.oci.descriptors import ACCEPT
from fleet.v1 import fleet_pb2 as pb
from fleet.v1.fleet_pb2_grpc import FleetServiceStub
from tests.bench.costs import FailedError
from tests.bench.figures import Figure, median_of, p99_of
from tests.bench.fleet import SATELLITE, Fleet, running_fleet
from tests.rig.images import AMD64, make_image
from tests.rig.oci_layout import Client
from tests.rig.programs import find
from tests.rig.signer import sign_v3

NAME = "assignment-to-pullable"
EXPECTED_S = 1.0
_TAG = "1.0"
_LAYER_BYTES = 100_000
_POLL_S = 0.001
_PATIENCE_S = 30.0
_WARM_UPS = 2
"""Images before the first that counts: connections and modules of a satellite that runs are there."""


def measure(images: int, console: Console) -> list[Figure]:
    """Measure on every kind of registry at hand."""
    kinds = [kind for kind, program in (("distribution", "registry"), ("zot", "zot")) if find(program)]
    found: list[Figure] = []
    for kind in kinds:
        with tempfile.TemporaryDirectory(prefix="bench-fleet-") as scratch:
            times = asyncio.run(_times(Path(scratch), kind, images, console))
        found += [
            Figure(f"{NAME}/{kind}/median", "s", median_of(times), most=EXPECTED_S),
            Figure(f"{NAME}/{kind}/p99", "s", p99_of(times), most=EXPECTED_S),
        ]
    return found


async def _times(directory: Path, kind: str, images: int, console: Console) -> list[float]:
    async with running_fleet(directory, kind) as fleet, fleet.admin.fleet() as stub:
        names = [f"app-{number}" for number in range(images + _WARM_UPS)]
        await asyncio.to_thread(_push, fleet, names)
        told = track(names, f"{NAME} on {kind}", console=console)
        return [await _time(fleet, stub, name) for name in told][_WARM_UPS:]


async def replicate_one(fleet: Fleet) -> None:
    """Bring one image to the site."""
    await asyncio.to_thread(_push, fleet, ["app"])
    async with fleet.admin.fleet() as stub:
        await _time(fleet, stub, "app")


def _push(fleet: Fleet, names: list[str]) -> None:
    client = Client(fleet.source)
    for name in names:
        image = make_image(tag=_TAG, platforms=(AMD64,), layer_sizes=(_LAYER_BYTES,))
        sign_v3(image, image.tags[_TAG], fleet.signer)
        client.push(name, image)


async def _time(fleet: Fleet, stub: FleetServiceStub, name: str) -> float:
    """Assign one image by its tag and wait until it can be pulled."""
    wanted = pb.Assignment(artifact=f"hub/{name}:{_TAG}", scope=f"satellite/{SATELLITE}")
    begun = time.monotonic()
    polling = asyncio.create_task(asyncio.to_thread(_await_pullable, f"{fleet.site.url}/v2/{name}", begun))
    await stub.ApplyChanges(pb.ApplyChangesRequest(changes=[pb.Change(assignment=wanted)]))
    return await polling


def _await_pullable(repository: str, begun: float) -> float:
    with urllib3.PoolManager(retries=False) as http:
        while time.monotonic() - begun < _PATIENCE_S:
            if http.request("GET", f"{repository}/manifests/{_TAG}", headers={"Accept": ACCEPT}).status == 200:
                return time.monotonic() - begun
            time.sleep(_POLL_S)
    raise FailedError(f"{repository} did not become pullable within {_PATIENCE_S:g} s")
