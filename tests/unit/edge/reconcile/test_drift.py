"""What somebody removes or damages at a site is noticed by the periodic scan and put right, for what it costs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.domain.content import RawManifest
from fleet.reference import Digest
from tests.rig import shelves
from tests.rig.cosign import KeyPair
from tests.rig.local_site import artifact, local_site, policy, source
from tests.rig.registries import Central
from tests.rig.shelves import Damage, Files
from tests.unit.edge.reconcile.scenes import KEPT_BYTES, KINDS, LAYER_BYTES, Play, Push

pytestmark = [pytest.mark.needs_cosign, pytest.mark.needs_registry]


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


@pytest.mark.parametrize("kind", KINDS)
async def test_a_transfer_that_takes_for_ever_does_not_put_the_scan_off(
    play: Play, push: Push, key: KeyPair, kind: str
) -> None:
    async with play(kind) as it:
        large, host = push("endless", "1", layer=os.urandom(LAYER_BYTES)), it.link.url.removeprefix("http://")
        before, it.link.bytes_per_s = it.link.received, 100_000
        kept = artifact("hub", "drifting", it.image.digest, "1")
        it.site.want(source("hub", host), policy("base", key), kept, artifact("hub", "endless", large.digest, "1"))
        await it.site.until(lambda: it.link.received > before + 100_000, "the other one is on its way")
        for path in it.files.copies(it.image.digest):
            shelves.unlink(path)
        await it.scan()
        assert {one.name for one in it.site.standing.site.published} == {"hub/drifting:1"}
        it.link.bytes_per_s = 0
