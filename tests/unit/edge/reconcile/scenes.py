"""A site with an image whose files a test damages, and a counted link to its source."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge.domain.content import Image, RawManifest, read_manifest
from fleet.reference import Digest
from tests.rig.cosign import KeyPair
from tests.rig.cutting_proxy import CuttingProxy, cutting_proxy
from tests.rig.local_site import LocalSite, artifact, local_site, policy, source
from tests.rig.registries import Central
from tests.rig.shelves import Files

Push = Callable[..., RawManifest]
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


@asynccontextmanager
async def scene(
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
