"""The other way: satellites that ask a registry for their state every half minute, as Harbor Satellite in Go does.

One poll is what its satellite asks by crane, with one group: of the satellite's own state and of the group's the
ping, the manifest and the layer; of the configuration the ping and the manifest's HEAD. Eight requests over a
connection that is kept, over TLS and without a login: that of Harbor adds a token for each of the three.

The registry is a Distribution that nothing stands before. It is asked so slowly that the machine is never busy, and
an hour of 10,000 satellites is 10,000 times 120 such polls.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import urllib3
from rich.console import Console

from edge.domain.content import OCI_MANIFEST
from tests.bench.figures import Figure
from tests.bench.scale.served import Cost, cost_of, hour, once
from tests.rig.certificates import KeyAndCertificate, loopback_certificate
from tests.rig.distribution import distribution
from tests.rig.images import describe, encode, layer
from tests.rig.oci_layout import Client
from tests.rig.programs import PROGRAMS, find
from tests.rig.repository import Repository

PEER = "polling a registry every 30 s"
INTERVAL_S = 30.0
POLLERS = 200
POLLS_PER_S = 20.0
MEASURED_S = 30.0
OWN, GROUP, CONFIGURATION = (
    "satellite/satellite-state/shop/state",
    "satellite/group-state/all/state",
    "satellite/config",
)
TAG = "latest"
KIB = 1024


def state_artifact(document: object) -> Repository:
    """Make an image whose one layer holds a state."""
    into = Repository()
    config = describe(into, encode({"os": "", "architecture": ""}), "application/vnd.oci.image.config.v1+json")
    packed = layer({"artifacts.json": encode(document)})
    layers = [describe(into, packed, "application/vnd.oci.image.layer.v1.tar+gzip")]
    manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers}
    into.add_manifest(encode(manifest), OCI_MANIFEST, tag=TAG)
    return into


def _states(host: str) -> dict[str, Repository]:
    artifacts = [
        {"repository": f"library/app-{number}", "tag": ["1"], "type": "IMAGE", "digest": f"sha256:{number:064x}"}
        for number in range(6)
    ]
    own = {"states": [f"{host}/{GROUP}:{TAG}"], "config": f"{host}/{CONFIGURATION}:{TAG}"}
    return {
        OWN: state_artifact(own),
        GROUP: state_artifact({"group": "all", "registry": f"https://{host}", "artifacts": artifacts}),
        CONFIGURATION: state_artifact({"app_config": {"state_replication_interval": "@every 00h00m30s"}}),
    }


@dataclass
class Registry:
    """The registry, and what a poll asks of it."""

    host: str
    process: psutil.Process
    tls: KeyAndCertificate
    asks: list[tuple[str, str]] = field(default_factory=list)
    """Methods and paths, in order."""

    def cost(self) -> Cost:
        """Read the meters."""
        return cost_of([self.process])

    def fill(self) -> None:
        """Put the states there."""
        client = Client(f"https://{self.host}", _pool=urllib3.PoolManager(ca_certs=str(self.tls.authority)))
        for name, held in _states(self.host).items():
            client.push(name, held)
            manifest = f"/v2/{name}/manifests/{TAG}"
            if name == CONFIGURATION:
                self.asks += [("GET", "/v2/"), ("HEAD", manifest)]
            else:
                self.asks += [("GET", "/v2/"), ("GET", manifest), ("GET", f"/v2/{name}/blobs/{list(held.blobs)[-1]}")]


@contextmanager
def running_registry(directory: Path) -> Iterator[Registry]:
    """Run a Distribution that holds the states."""
    pair, ours = loopback_certificate(directory / "tls"), psutil.Process()
    before = set(ours.children())
    with distribution(directory / "registry", pair=pair) as url:
        (process,) = set(ours.children()) - before
        registry = Registry(url.partition("://")[2], process, pair)
        registry.fill()
        yield registry


@dataclass
class Poller:
    """One satellite: a connection that is kept, and all that came and went on it."""

    registry: Registry
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    moved_bytes: int = 0
    requests: int = 0

    async def run(self, delay_s: float, every_s: float) -> None:
        """Poll until cancelled."""
        await asyncio.sleep(delay_s)
        while True:
            due = time.monotonic() + every_s
            for method, path in self.registry.asks:
                await self._ask(method, path)
            await asyncio.sleep(due - time.monotonic())

    async def _ask(self, method: str, path: str) -> None:
        asked = (
            f"{method} {path} HTTP/1.1\r\nHost: {self.registry.host}\r\nUser-Agent: go-containerregistry\r\n"
            f"Accept: {OCI_MANIFEST}\r\nAccept-Encoding: gzip\r\n\r\n"
        ).encode()
        self.writer.write(asked)
        head = await self.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        size = 0 if method == "HEAD" else _length(head)
        await self.reader.readexactly(size)
        self.moved_bytes += len(asked) + len(head) + size
        self.requests += 1


def _length(head: bytes) -> int:
    lines = (line.partition(b":") for line in head.splitlines())
    return next(int(value) for name, _, value in lines if name.lower() == b"content-length")


async def _connected(registry: Registry) -> Poller:
    host, _, port = registry.host.partition(":")
    context = ssl.create_default_context(cafile=str(registry.tls.authority))
    return Poller(registry, *await asyncio.open_connection(host, int(port), ssl=context))


async def _polled(registry: Registry) -> list[Figure]:
    empty = registry.cost()
    pollers: Sequence[Poller] = [await _connected(registry) for _ in range(POLLERS)]
    every_s = POLLERS / POLLS_PER_S
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(one.run(every_s * at / POLLERS, every_s)) for at, one in enumerate(pollers)]
        await asyncio.sleep(2 * every_s)
        before, moved, asked = registry.cost(), *_sums(pollers)
        await asyncio.sleep(MEASURED_S)
        used, moved_after, asked_after = registry.cost().since(before), *_sums(pollers)
        for task in running:
            task.cancel()
    for one in pollers:
        one.writer.close()
    polls = (asked_after - asked) / len(registry.asks)
    # So many satellites poll as often as these did, each every half minute.
    satellites = polls * INTERVAL_S / used.at
    rss = (before.rss_bytes - empty.rss_bytes) / KIB / POLLERS
    return [
        *hour(asked_after - asked, moved_after - moved, used.workers_s, of=satellites, measured_s=used.at),
        Figure("streams/rss-each", "KiB", once(rss)),
    ]


def _sums(pollers: Sequence[Poller]) -> tuple[int, int]:
    return sum(one.moved_bytes for one in pollers), sum(one.requests for one in pollers)


async def measure(directory: Path, talk: Console) -> list[Figure]:
    """Poll; no rows without Distribution."""
    if find("registry") is None:
        talk.print(f"[yellow]no {PEER}: {PROGRAMS['registry'].sentence}")
        return []
    with running_registry(directory) as registry:
        return await _polled(registry)
