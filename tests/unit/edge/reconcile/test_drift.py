"""What somebody removes or damages at a site is noticed by the periodic scan and put right, for what it costs."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from edge.domain.content import Image, RawManifest, read_manifest
from fleet.reference import Digest
from tests.rig import shelves
from tests.rig.cosign import KeyPair
from tests.rig.cutting_proxy import CuttingProxy, cutting_proxy
from tests.rig.local_site import LocalSite, artifact, local_site, policy, source
from tests.rig.registries import Central
from tests.rig.shelves import Damage, Files
from tests.unit.edge.reconcile.conftest import Push

pytestmark = [pytest.mark.needs_cosign, pytest.mark.needs_registry]

KINDS = ["distribution", pytest.param("zot", marks=pytest.mark.needs_zot)]
LAYER_BYTES = 3 << 20
KEPT_BYTES = 2 << 20


@dataclass
class Scene:
    """A site with one image of two layers in two repositories, and what it gets from the source."""

    site: LocalSite
    link: CuttingProxy
    files: Files
    image: RawManifest
    layers: tuple[bytes, ...]

    @property
    def digests(self) -> tuple[Digest, ...]:
        read = read_manifest(self.image.raw, self.image.media_type)
        assert isinstance(read, Image)
        return tuple(layer.digest for layer in read.layers)

    def is_whole(self, *repositories: str) -> bool:
        """Pull all of it, by tag and by digest, as a workload does."""
        for repository in repositories:
            manifests = [self.site.pull(repository, one) for one in ("1", self.image.digest)]
            blobs = [self.site.pull(repository, one, kind="blobs") for one in self.digests]
            if manifests != [(200, self.image.raw)] * 2 or blobs != [(200, layer) for layer in self.layers]:
                return False
        return True

    async def scan(self) -> None:
        """Let the site look, and wait until it is whole again."""
        self.site.reconciler.look()
        await self.site.until(lambda: self.is_whole("drifting"), "whole again")


Play = Callable[..., AbstractAsyncContextManager[Scene]]


@pytest.fixture
def play(central: Central, key: KeyPair, push: Push, directory: Path) -> Play:
    """Open a scene: `(kind, *repositories)`."""
    return partial(_scene, central, key, push, directory)


@asynccontextmanager
async def _scene(
    central: Central, key: KeyPair, push: Push, directory: Path, /, kind: str, *repositories: str
) -> AsyncIterator[Scene]:
    repositories = repositories or ("drifting",)
    layers = (os.urandom(LAYER_BYTES), os.urandom(KEPT_BYTES))
    images = [push(repository, "1", layers=layers) for repository in repositories]
    with cutting_proxy(central.url) as link:
        host = link.url.removeprefix("http://")
        async with local_site(directory, plain_hosts=[host], kind=kind) as site:
            wanted = [artifact("hub", *one, "1") for one in zip(repositories, (i.digest for i in images), strict=True)]
            site.want(source("hub", host), policy("base", key), *wanted)
            await site.published(*(f"hub/{repository}:1" for repository in repositories))
            files = Files(kind, directory / "registry" / kind / "data")
            yield Scene(site, link, files, images[0], layers)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", [shelves.unlink, shelves.cut, shelves.empty])
async def test_a_layer_that_is_gone_or_cut_short_is_fetched_again_and_nothing_else(
    play: Play, kind: str, damage: Damage
) -> None:
    async with play(kind) as it:
        before = it.link.received
        for path in it.files.copies(it.digests[0]):
            damage(path)
        assert not it.is_whole("drifting")
        await it.scan()
        assert LAYER_BYTES <= it.link.received - before < LAYER_BYTES + KEPT_BYTES // 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("damage", [shelves.unlink, shelves.cut, shelves.empty, shelves.flip])
async def test_a_manifest_that_is_gone_or_damaged_costs_the_source_nothing(
    play: Play, kind: str, damage: Damage
) -> None:
    async with play(kind) as it:
        before = it.link.received
        for path in it.files.copies(it.image.digest):
            damage(path)
        assert not it.is_whole("drifting")
        await it.scan()
        assert it.link.received == before


@pytest.mark.parametrize("kind", KINDS)
async def test_a_manifest_that_was_deleted_over_the_api_comes_back(play: Play, kind: str) -> None:
    async with play(kind) as it:
        before = it.link.received
        it.site.registry.site.delete_manifest("drifting", it.image.digest)
        await it.scan()
        assert it.link.received == before


def _layer_link(files: Files, image: RawManifest, layer: Digest) -> Path:
    return files.link("drifting", layer)


def _revision_link(files: Files, image: RawManifest, layer: Digest) -> Path:
    return files.link("drifting", image.digest, manifest=True)


def _tag_link(files: Files, image: RawManifest, layer: Digest) -> Path:
    return files.tag("drifting", "1")


@pytest.mark.parametrize("which", [_layer_link, _revision_link, _tag_link])
@pytest.mark.parametrize("damage", [shelves.unlink, shelves.empty])
async def test_a_link_of_distribution_s_that_a_power_cut_emptied_is_written_again(
    play: Play,
    which: Callable[[Files, RawManifest, Digest], Path],
    damage: Damage,
) -> None:
    async with play("distribution") as it:
        path = which(it.files, it.image, it.digests[0])
        damage(path)
        if damage is shelves.empty:
            os.utime(path, (0, 0))  # what is a minute old is taken for written whole
        assert not it.is_whole("drifting")
        await it.scan()


@pytest.mark.needs_zot
@pytest.mark.parametrize("damage", [shelves.unlink, shelves.cut, shelves.empty])
async def test_zot_s_index_of_a_repository_is_made_anew(play: Play, damage: Damage) -> None:
    async with play("zot") as it:
        before, path = it.link.received, it.files.index("drifting")
        damage(path)
        if path.exists():
            os.utime(path, (0, 0))
        assert not it.is_whole("drifting")
        await it.scan()
        assert it.link.received == before


@pytest.mark.parametrize("kind", KINDS)
async def test_a_layer_that_two_repositories_share_is_fetched_once_for_both(play: Play, kind: str) -> None:
    async with play(kind, "drifting", "sharing") as it:
        before = it.link.received
        for path in it.files.copies(it.digests[0]):
            shelves.cut(path)
        await it.scan()
        read = [it.site.pull("sharing", one, kind="blobs") for one in it.digests]
        await it.site.until(
            lambda: it.site.pull("sharing", it.digests[0], kind="blobs") == (200, it.layers[0]), "the other one"
        )
        assert read[1] == (200, it.layers[1])
        assert it.link.received - before < LAYER_BYTES + KEPT_BYTES // 2


@pytest.mark.parametrize("kind", KINDS)
async def test_a_damaged_registry_still_starts(play: Play, central: Central, directory: Path, kind: str) -> None:
    async with play(kind) as it:
        files, image = it.files, it.image
    for path in files.copies(image.digest):
        shelves.flip(path)
    if kind == "distribution":
        shelves.empty(files.tag("drifting", "1"))
    async with local_site(directory, plain_hosts=[central.host], kind=kind) as again:
        assert again.pull("drifting", image.digest)[0] == 404
