"""Cold copy of large images from a source to a site's registry, beside `crane copy` and `skopeo copy`.

The source is one Distribution. Every run has a site's registry of its own, empty, run and locked as a satellite runs
it. The contenders take turns, and who begins changes from round to round, so that what else the machine does hits
all of them alike.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import psutil
from rich.console import Console

from edge.adapters.oci.near import NearClient
from edge.adapters.oci.site import OciSite
from edge.adapters.registry.choose import choose_registry
from edge.adapters.registry.listener import Listener
from fleet.reference import Digest
from tests.bench.costs import Cost, FailedError, cost_of, reaped
from tests.bench.figures import Figure, median_of
from tests.rig.distribution import distribution
from tests.rig.images import AMD64, make_image
from tests.rig.oci_layout import Client
from tests.rig.programs import find
from tests.rig.registries import running_site
from tests.rig.signer import Signer, sign_v3

TAG = "1.0"
IMAGES: Mapping[str, tuple[int, ...]] = {
    "copy-220mb-5-layers": (55_000_000,) * 4,
    "copy-46mb-60-layers": (780_000,) * 59,
}
"""Layers beside the first, which is a small program's."""
EXPECTED_WALL_RATIO = 1.2


@dataclass(frozen=True, slots=True)
class Source:
    """The registry that images come from, and who signed them."""

    url: str
    process: psutil.Process
    signer: Signer
    images: dict[str, Digest] = field(default_factory=dict)

    @property
    def host(self) -> str:
        return self.url.removeprefix("http://")

    def sent_bytes(self) -> int:
        """How much it has written in its life: what it sends to clients."""
        return int(self.process.io_counters().write_chars)


@dataclass(frozen=True, slots=True)
class Site:
    """An empty registry of a site, and its writer."""

    kind: str
    directory: Path
    url: str
    username: str
    password: str

    @property
    def host(self) -> str:
        return self.url.removeprefix("http://")


@dataclass(frozen=True, slots=True)
class Run:
    """One copy by one contender."""

    work: Cost
    """Of the work alone: ours is timed from the moment that its modules are there."""
    process: Cost
    """Of the process from start to end."""
    moved_bytes: int


Copier = Callable[[Source, str, Site], tuple[Cost, Cost]]


def _ours(source: Source, name: str, site: Site) -> tuple[Cost, Cost]:
    job = {
        "source": source.url,
        "repository": name,
        "tag": TAG,
        "digest": source.images[name],
        "site": site.url,
        "kind": site.kind,
        "username": site.username,
        "password": site.password,
        "data": str(site.directory / site.kind / "data"),
        "journal": str(site.directory / "journal.db"),
        "key": source.signer.pem.decode(),
    }
    begun = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.copier"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin
    assert process.stdout
    process.stdout.readline()
    process.stdin.write(json.dumps(job).encode() + b"\n")
    process.stdin.close()
    said = process.stdout.readline()
    whole = reaped(process, begun)
    if process.returncode:
        raise FailedError(f"our copier ended with {process.returncode}")
    return Cost(**json.loads(said)), whole


def _crane(source: Source, name: str, site: Site) -> tuple[Cost, Cost]:
    secret = base64.b64encode(f"{site.username}:{site.password}".encode()).decode()
    (site.directory / "config.json").write_text(json.dumps({"auths": {site.host: {"auth": secret}}}))
    command = (str(find("crane")), "copy", f"{source.host}/{name}:{TAG}", f"{site.host}/{name}:{TAG}")
    cost = cost_of(command, {"DOCKER_CONFIG": str(site.directory)})
    return cost, cost


def _skopeo(source: Source, name: str, site: Site) -> tuple[Cost, Cost]:
    plain = ("--src-tls-verify=false", "--dest-tls-verify=false", "--dest-creds", f"{site.username}:{site.password}")
    ends = (f"docker://{source.host}/{name}:{TAG}", f"docker://{site.host}/{name}:{TAG}")
    cost = cost_of((str(find("skopeo")), "copy", "--quiet", "--preserve-digests", *plain, *ends))
    return cost, cost


def contenders() -> dict[str, Copier]:
    """List who copies: we, and each peer that is at hand."""
    peers: dict[str, Copier] = {"crane copy": _crane, "skopeo copy": _skopeo}
    return {"ours": _ours} | {name: peer for name, peer in peers.items() if find(name.split()[0])}


@contextmanager
def running_source(directory: Path, names: list[str]) -> Iterator[Source]:
    """Run a registry that holds the images of these names, signed."""
    ours = psutil.Process()
    before = set(ours.children())
    with distribution(directory) as url:
        (process,) = set(ours.children()) - before
        source = Source(url, process, Signer())
        for name in names:
            image = make_image(name, tag=TAG, platforms=(AMD64,), layer_sizes=IMAGES[name])
            sign_v3(image, image.tags[TAG], source.signer)
            Client(url).push(name, image)
            source.images[name] = image.tags[TAG]
        yield source


@contextmanager
def empty_site(kind: str) -> Iterator[Site]:
    """Run an empty registry as a satellite runs it, before it opens to the public."""
    with tempfile.TemporaryDirectory(prefix="bench-site-") as scratch:
        directory = Path(scratch)
        with running_site(choose_registry(directory, Listener(), wanted=kind), directory) as running:
            client = cast("OciSite", running.site)._client
            secret = cast("NearClient", client)._headers["Authorization"].removeprefix("Basic ")
            username, _, password = base64.b64decode(secret).decode().partition(":")
            yield Site(kind, directory, client.origin.url, username, password)


def _run(copier: Copier, source: Source, name: str, kind: str) -> Run:
    with empty_site(kind) as site:
        before = source.sent_bytes()
        work, process = copier(source, name, site)
        moved = source.sent_bytes() - before
        answer = Client(site.url, f"{site.username}:{site.password}").send(
            "GET", f"/v2/{name}/manifests/{TAG}", expect=(200,)
        )
        if answer.headers.get("Docker-Content-Digest") != source.images[name]:
            raise FailedError(f"{name} arrived as another image")
        return Run(work, process, moved)


def measure(name: str, *, rounds: int, console: Console) -> list[Figure]:
    """Measure one image on every kind of registry at hand."""
    kinds = [kind for kind, program in (("distribution", "registry"), ("zot", "zot")) if find(program)]
    found: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="bench-source-") as scratch:
        console.print(f"{name}: preparing the image")
        with running_source(Path(scratch), [name]) as source:
            for kind in kinds:
                console.print(f"{name}: {rounds} rounds on {kind}")
                found += _figures(f"{name}/{kind}", _rounds(source, name, kind, rounds))
    return found


def _rounds(source: Source, name: str, kind: str, rounds: int) -> dict[str, list[Run]]:
    """Let everybody copy as often; one run of ours before the first makes Python compile its modules."""
    who = contenders()
    runs: dict[str, list[Run]] = {one: [] for one in who}
    order = list(who)
    _run(_ours, source, name, kind)
    for _ in range(rounds):
        for one in order:
            runs[one].append(_run(who[one], source, name, kind))
        order = [*order[1:], order[0]]
    return runs


_PARTS: tuple[tuple[str, str, Callable[[Run], float]], ...] = (
    ("wall", "s", lambda run: run.work.wall_s),
    ("cpu", "s", lambda run: run.work.cpu_s),
    ("moved", "MB", lambda run: run.moved_bytes / 1e6),
    ("wall-with-start", "s", lambda run: run.process.wall_s),
    ("cpu-with-start", "s", lambda run: run.process.cpu_s),
)


def _figures(prefix: str, runs: dict[str, list[Run]]) -> list[Figure]:
    """Set ours beside each peer's; alone where there is none."""
    found = []
    for what, unit, part in _PARTS:
        medians = {who: median_of([part(run) for run in theirs]) for who, theirs in runs.items()}
        ours = medians.pop("ours")
        if not medians:
            found.append(Figure(f"{prefix}/{what}", unit, ours))
        for peer, theirs in medians.items():
            most = EXPECTED_WALL_RATIO if (what, peer) == ("wall", "crane copy") else None
            found.append(Figure(f"{prefix}/{what}", unit, ours, peer, theirs, most_ratio=most))
    return found
