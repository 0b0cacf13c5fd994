"""Copies over a link of 10 Mbit/s with 100 ms that is cut every 2 MiB, ours beside each peer's.

A peer that fails is run again, as a user's script would, until the image is there or it has failed often enough. What
moved is counted at the client's end of the link, all runs together.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import track

from tests.bench.costs import Cost, FailedError, sum_of
from tests.bench.ends import Name, Site, Source, absent, empty_site, kinds, running_source
from tests.bench.figures import Figure, median_of
from tests.bench.ours import running_copier
from tests.bench.peers import Peer, at_hand
from tests.bench.zot_sync import ask_for, following_zot
from tests.rig.bad_link import Quality, bad_link
from tests.rig.images import AMD64, make_image

APP = Name("app")
CASES: Mapping[str, tuple[int, ...]] = {
    "bad-link-6mb-8-layers": (750_000,) * 8,
    "bad-link-6mb-1-layer": (6_000_000,),
}
_PEERS = ("crane copy", "skopeo copy", "regctl image copy")
_RUNS = 3
"""How often a peer may fail."""
_PATIENCE_S = 60.0
"""For a peer that tries again by itself."""
_ROUNDS = 2
EXPECTED_WALL_RATIO = 1.0


@dataclass(frozen=True, slots=True)
class Crossing:
    """What a contender made of a link."""

    cost: Cost
    moved_bytes: int
    runs: int
    share: float = 1.0
    """How much of the image was there in the end."""


Contender = Callable[[Source, str], Crossing]
"""Brings the image to a fresh registry of a kind."""


def measure(name: str, quick: bool, console: Console) -> list[Figure]:
    """Measure one image on every kind of registry at hand."""
    images = {APP: make_image(name, platforms=(AMD64,), layer_sizes=CASES[name])}
    found: list[Figure] = []
    with (
        tempfile.TemporaryDirectory(prefix="bench-source-") as scratch,
        running_source(Path(scratch), images) as source,
    ):
        for kind in kinds():
            crossings: dict[str, list[Crossing]] = {who: [] for who in _contenders(kind)}
            for _ in track(range(1 if quick else _ROUNDS), f"{name} on {kind}", console=console):
                for who, contender in _contenders(kind).items():
                    crossings[who].append(contender(source, kind))
            found += _figures(f"{name}/{kind}", crossings)
    return found


def _contenders(kind: str) -> dict[str, Contender]:
    theirs = {name: partial(_they, peer) for name, peer in at_hand(_PEERS).items()}
    return {"ours": _we} | theirs | ({"zot sync": _zot} if kind == "zot" else {})


def _we(source: Source, kind: str) -> Crossing:
    with bad_link(source.url, Quality()) as (link, url), empty_site(kind) as site:
        with running_copier(source.seen_at(url), site) as copier:
            cost = copier.bring([APP])
        return Crossing(cost, link.delivered, 1, _share(source, site))


def _they(peer: Peer, source: Source, kind: str) -> Crossing:
    costs: list[Cost] = []
    with bad_link(source.url, Quality()) as (link, url), empty_site(kind) as site:
        while len(costs) < _RUNS and absent(source, site, [APP]):
            begun = time.monotonic()
            try:
                costs.append(peer(source.seen_at(url), site, [APP]))
            except FailedError as error:
                costs.append(error.cost or Cost(time.monotonic() - begun))
        return Crossing(sum_of(costs), link.delivered, len(costs), _share(source, site))


def _zot(source: Source, _kind: str) -> Crossing:
    with bad_link(source.url, Quality()) as (link, url), following_zot(source.seen_at(url)) as site:
        begun = time.monotonic()
        try:
            cost = ask_for(source, site, [APP], within_s=_PATIENCE_S)
        except FailedError:
            cost = Cost(time.monotonic() - begun)
        return Crossing(cost, link.delivered, 1, _share(source, site))


def _share(source: Source, site: Site) -> float:
    """Say how much of the image's bytes are at the site; all where it can be pulled."""
    if not absent(source, site, [APP]):
        return 1.0
    client = site.client()
    manifest = json.loads(source.client().send("GET", f"/v2/{APP.repository}/manifests/{APP.tag}", expect=(200,)).data)
    sizes = {blob["digest"]: blob["size"] for blob in (manifest["config"], *manifest["layers"])}
    there = [
        size
        for digest, size in sizes.items()
        if client.send("HEAD", f"/v2/{APP.repository}/blobs/{digest}", expect=(200, 404)).status == 200
    ]
    return min(0.99, float(sum(there) / sum(sizes.values())))


_PARTS: tuple[tuple[str, str, Callable[[Crossing], float | None]], ...] = (
    ("wall", "s", lambda crossing: crossing.cost.wall_s),
    ("cpu", "s", lambda crossing: crossing.cost.cpu_s),
    ("moved", "MB", lambda crossing: crossing.moved_bytes / 1e6),
    ("runs", "", lambda crossing: crossing.runs),
)


def _figures(prefix: str, crossings: Mapping[str, Sequence[Crossing]]) -> list[Figure]:
    """Set ours beside each peer's; how far it got, for a peer whose image never came."""
    ours, found = crossings["ours"], list[Figure]()
    for what, unit, part in _PARTS:
        for peer, theirs in crossings.items():
            values = [value for one in theirs if (value := part(one)) is not None]
            if peer == "ours" or not values:
                continue
            share = min(one.share for one in theirs)
            found.append(
                Figure(
                    f"{prefix}/{what}",
                    unit,
                    median_of([part(one) or 0 for one in ours]),
                    peer,
                    median_of(values),
                    most_ratio=EXPECTED_WALL_RATIO if what in {"wall", "moved"} and peer == "crane copy" else None,
                    in_vain="" if share == 1 else f"in vain, {share:.0%} there",
                )
            )
    return found
