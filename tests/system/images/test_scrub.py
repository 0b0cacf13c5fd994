"""`satellite scrub` on a real site: what somebody damaged on its disk is found, told and fetched again."""

from __future__ import annotations

import json

import pytest

from tests.rig import shelves
from tests.rig.estate import TAG, V3, Estate, Image
from tests.rig.images import AMD64
from tests.rig.satellite import Satellite
from tests.rig.shelves import Files

pytestmark = [pytest.mark.needs_cosign, pytest.mark.needs_registry]


@pytest.fixture
def image(estate: Estate, site: Satellite) -> Image:
    """A published image."""
    image = estate.image(platforms=(AMD64,))
    image.sign(estate.release, V3)
    estate.allow(site, image, estate.release)
    site.await_published(estate.assign(site, image))
    return image


def test_a_flipped_bit_is_found_told_and_repaired(estate: Estate, site: Satellite, kind: str, image: Image) -> None:
    files = Files(kind, site.data_dir / "registry" / kind / "data")
    digest, content = max(image.content.blobs.items(), key=lambda one: len(one[1]))
    for path in files.copies(digest):
        shelves.flip(path)
        break
    assert site.pull_blob(image.repository, digest)[1] != content
    done = site.run("scrub", "--json", "--rate", "0")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["damaged"] == [digest]
    assert told["lacking"] == [image.name]
    assert (told["repairing"], told["lost"], told["reason"]) == ([], [], None)
    assert site.pull_blob(image.repository, digest) == (200, content)
    assert site.pull(image.repository, TAG)[0] == 200
    again = site.run("scrub")
    assert again.returncode == 0
    assert "all of it is sound" in again.stdout


def test_what_cannot_be_fetched_again_is_told_and_not_served(
    estate: Estate, site: Satellite, kind: str, image: Image
) -> None:
    files = Files(kind, site.data_dir / "registry" / kind / "data")
    digest = max(image.content.blobs, key=lambda one: len(image.content.blobs[one]))
    for path in files.copies(digest):
        shelves.flip(path)
        break
    source = estate.central.blob_file(digest)
    away = source.rename(source.with_name("away"))
    done = site.run("scrub")
    away.rename(source)
    assert done.returncode == 1, done.stdout
    assert f"not repaired: {image.name}" in done.stdout
    assert "BLOB_ABSENT" in done.stdout
    site.await_published(image.name)
    assert site.pull_blob(image.repository, digest)[0] == 200


def test_without_a_satellite_there_is_nobody_to_ask(tmp_path_factory: pytest.TempPathFactory) -> None:
    done = Satellite(tmp_path_factory.mktemp("nobody")).run("scrub")
    assert done.returncode == 4
    assert "NOT_RUNNING" in done.stderr
