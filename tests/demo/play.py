"""The demo's scenes, in order."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from fleet.v1 import fleet_pb2, resource_pb2, state_pb2
from tests.demo.cast import Cast, Site, gather
from tests.demo.options import Options
from tests.demo.registry import Puller
from tests.demo.screen import Board, Cell, Screen
from tests.rig import fixtures

GROUP = "shops"
SOURCE = "central"
SETTLE_S = 60.0
LOOK_S = 0.02
_STATES = {
    state_pb2.ARTIFACT_STATE_UNSPECIFIED: "told",
    state_pb2.ARTIFACT_STATE_PUBLISHED: "published",
    state_pb2.ARTIFACT_STATE_WAITING: "under way",
    state_pb2.ARTIFACT_STATE_REFUSED: "refused",
    state_pb2.ARTIFACT_STATE_FAILED: "failed",
}


class DemoFailedError(Exception):
    """Something did not go as it must."""


@dataclass(slots=True)
class Plot:
    """What the scenes share."""

    options: Options
    screen: Screen
    cast: Cast
    board: Board
    assigned_at: dict[tuple[str, str], float] = field(default_factory=dict)
    """When an image was assigned to a site, monotonic seconds."""

    @property
    def images(self) -> tuple[str, ...]:
        """All images of the central registry."""
        return tuple(sorted(recipe.name for recipe in fixtures.RECIPES))


def is_good(image: str) -> bool:
    """Say whether the operator's key signed an image."""
    recipe = next(recipe for recipe in fixtures.RECIPES if recipe.name == image)
    return any(key == fixtures.OPERATOR for key, _ in recipe.signatures)


async def play(options: Options, screen: Screen, directory: Path) -> None:
    """Play all scenes.

    Raises:
        DemoFailedError: with what did not happen.
    """
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        cast = await gather(stack, options, screen, directory)
        plot = Plot(options, screen, cast, Board([site.name for site in cast.sites]))
        await _prepare(plot)
        await _assign(plot)
        await _pull(plot)
        await _refuse(plot)
        await _change(plot)
        screen.played = True
        screen.say(f"[dim]played in {time.monotonic() - began:.0f} s[/]")
        if options.as_json:
            print(json.dumps(_outcome(plot)), flush=True)
        if options.stays:
            await _stay(plot)


# Scenes -------------------------------------------------------------------------------------------------------


async def _prepare(plot: Plot) -> None:
    plot.screen.scene("The operator says where images come from and whose signatures count")
    key = fixtures.OPERATOR.public.read_text()
    formats = [
        resource_pb2.SIGNATURE_FORMAT_COSIGN_SIMPLE_SIGNING,
        resource_pb2.SIGNATURE_FORMAT_SIGSTORE_BUNDLE,
    ]
    authority = resource_pb2.Authority(name="release", formats=formats, keys=resource_pb2.KeySet(public_keys_pem=[key]))
    spec = resource_pb2.SourceSpec(address=plot.cast.central.removeprefix("http://"), plain_http=True)
    policy = resource_pb2.PolicySpec(images=[f"{SOURCE}/**"], authorities=[authority])
    await _apply(
        plot,
        fleet_pb2.Change(source=fleet_pb2.Source(name=SOURCE, spec=spec)),
        fleet_pb2.Change(policy=fleet_pb2.Policy(name="release", spec=policy)),
    )
    plot.screen.say(
        f"source [bold]{SOURCE}[/] is {plot.cast.central}; policy [bold]release[/] wants the operator's key"
    )


async def _assign(plot: Plot) -> None:
    plot.screen.scene(f"All {len(plot.images)} images are assigned to both sites, one change for all")
    now = time.monotonic()
    for image in plot.images:
        for site in plot.cast.sites:
            plot.assigned_at[image, site.name] = now
            plot.board.cells[image, site.name] = Cell("told")
    changes = [_assignment(image, f"group/{GROUP}") for image in plot.images]
    position = await _apply(plot, *changes)
    plot.screen.say(f"written as revision {position.revision}; the sites get the delta on their open streams")
    with plot.screen.live(plot.board):
        await _settle(plot, {(image, site.name): is_good(image) for image in plot.images for site in plot.cast.sites})


async def _pull(plot: Plot) -> None:
    site = plot.cast.sites[0]
    plot.screen.scene(f"A workload at {site.name} pulls one, from its own registry")
    puller = Puller(site.url)
    pulled = await asyncio.to_thread(puller.pull, "demo/signed-v3", fixtures.TAG)
    origin = await asyncio.to_thread(Puller(plot.cast.central).digest, "demo/signed-v3", fixtures.TAG)
    if pulled.digest != origin:
        raise DemoFailedError(f"the digest at the site is {pulled.digest}, at the source {origin}")
    plot.screen.say(
        f"demo/signed-v3:{fixtures.TAG}: {pulled.blobs} blobs, {pulled.size_bytes} bytes, all digests right"
    )
    plot.screen.say(f"the index is the source's own, byte for byte: {pulled.digest}")


async def _refuse(plot: Plot) -> None:
    plot.screen.scene("The others are refused, and cannot be pulled by tag or by digest")
    source = Puller(plot.cast.central)
    for image in plot.images:
        if is_good(image):
            continue
        digest = await asyncio.to_thread(source.digest, f"demo/{image}", fixtures.TAG)
        for site in plot.cast.sites:
            for reference in (fixtures.TAG, digest):
                if await asyncio.to_thread(Puller(site.url).digest, f"demo/{image}", reference):
                    raise DemoFailedError(f"{image} can be pulled at {site.name} by {reference}")
        status = await _status(plot, plot.cast.sites[0])
        plot.screen.say(f"[red]{image}[/]: {status[image].reason}: {status[image].text}")


async def _change(plot: Plot) -> None:
    first, second = plot.cast.sites
    plot.screen.scene(f"Desired state changes: signed-v2 leaves the group and stays at {second.name} alone")
    removal = fleet_pb2.Deletion(assignment=fleet_pb2.Assignment(artifact=_name("signed-v2"), scope=f"group/{GROUP}"))
    began = time.monotonic()
    position = await _apply(
        plot, _assignment("signed-v2", f"satellite/{second.name}"), fleet_pb2.Change(delete=removal)
    )
    plot.screen.say(f"revision {position.revision}: one delta for the group, one for {second.name}'s own scope")
    await _until_gone(first, "signed-v2")
    plot.board.cells.pop(("signed-v2", first.name), None)
    plot.screen.say(f"{first.name}: withdrawn after {time.monotonic() - began:.2f} s, tag, index and children")
    if not await asyncio.to_thread(Puller(second.url).digest, "demo/signed-v2", fixtures.TAG):
        raise DemoFailedError(f"signed-v2 is gone at {second.name}, too")
    plot.screen.say(f"{second.name}: still pullable, nothing was moved")


async def _stay(plot: Plot) -> None:
    plot.screen.scene("It is yours now; Ctrl-C ends it and removes everything")
    plot.screen.commands(plot.cast.lines())
    await asyncio.Event().wait()


# What the scenes use ------------------------------------------------------------------------------------------


def _name(image: str) -> str:
    return f"{SOURCE}/demo/{image}:{fixtures.TAG}"


def _assignment(image: str, scope: str) -> fleet_pb2.Change:
    return fleet_pb2.Change(assignment=fleet_pb2.Assignment(artifact=_name(image), scope=scope))


async def _apply(plot: Plot, *changes: fleet_pb2.Change) -> state_pb2.Position:
    async with plot.cast.fleet() as fleet:
        answer = await fleet.ApplyChanges(fleet_pb2.ApplyChangesRequest(changes=changes))
    return answer.position


async def _status(plot: Plot, site: Site) -> Mapping[str, fleet_pb2.ArtifactStatus]:
    async with plot.cast.fleet() as fleet:
        answer = await fleet.GetSatelliteStatus(fleet_pb2.GetSatelliteStatusRequest(name=site.name))
    return {status.name.rpartition("/")[2].partition(":")[0]: status for status in answer.artifacts}


async def _settle(plot: Plot, wanted: dict[tuple[str, str], bool]) -> None:
    """Watch until every good image is pullable and every other refused."""
    deadline = time.monotonic() + SETTLE_S
    async with asyncio.TaskGroup() as tasks:
        for site in plot.cast.sites:
            tasks.create_task(_watch(plot, site, [i for i, s in wanted if s == site.name and wanted[i, s]], deadline))
            tasks.create_task(
                _hear(plot, site, [i for i, s in wanted if s == site.name and not wanted[i, s]], deadline)
            )


async def _watch(plot: Plot, site: Site, images: list[str], deadline: float) -> None:
    """Ask the site's registry itself until all of them can be pulled."""
    puller, left = Puller(site.url), set(images)
    while left:
        for image in sorted(left):
            if await asyncio.to_thread(puller.digest, f"demo/{image}", fixtures.TAG):
                seconds = time.monotonic() - plot.assigned_at[image, site.name]
                plot.board.cells[image, site.name] = Cell("pullable", seconds=seconds)
                left.discard(image)
        if time.monotonic() > deadline:
            raise DemoFailedError(f"not pullable at {site.name} after {SETTLE_S:.0f} s: {', '.join(sorted(left))}")
        await asyncio.sleep(LOOK_S)


async def _hear(plot: Plot, site: Site, images: list[str], deadline: float) -> None:
    """Ask Ground Control until it has heard of all refusals."""
    left = set(images)
    while left:
        for image, status in (await _status(plot, site)).items():
            if image in left:
                plot.board.cells[image, site.name] = Cell(_STATES.get(status.state, "?"), status.reason)
            if status.state == state_pb2.ARTIFACT_STATE_REFUSED:
                left.discard(image)
        if time.monotonic() > deadline:
            raise DemoFailedError(f"{site.name} has not said that it refuses {', '.join(sorted(left))}")
        await asyncio.sleep(LOOK_S * 10)


async def _until_gone(site: Site, image: str) -> None:
    deadline = time.monotonic() + SETTLE_S
    while await asyncio.to_thread(Puller(site.url).digest, f"demo/{image}", fixtures.TAG):
        if time.monotonic() > deadline:
            raise DemoFailedError(f"{image} can still be pulled at {site.name}")
        await asyncio.sleep(LOOK_S)


def _outcome(plot: Plot) -> dict[str, object]:
    """Sum it up for programs; an image counts as pullable where the last site says so, the slowest site's time."""
    images: dict[str, object] = {}
    for image in plot.images:
        cells = [cell for (name, _), cell in plot.board.cells.items() if name == image]
        seconds = [cell.seconds for cell in cells if cell.seconds is not None]
        images[image] = {
            "pullable": all(cell.state == "pullable" for cell in cells),
            "reason": next((cell.reason for cell in cells if cell.reason), ""),
            "seconds": round(max(seconds), 3) if seconds else None,
        }
    return {"registry": plot.cast.registry, "identity": plot.cast.identity, "images": images}
