"""Nobody but the satellite fills a site's registry: pushes are refused, what is put on the disk is withdrawn."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.rig.distribution import distribution
from tests.rig.estate import TAG, V2, V3, Estate, Image
from tests.rig.hammer import blob_path, hammering, manifest_path
from tests.rig.images import AMD64
from tests.rig.oci_layout import Client, RegistryError
from tests.rig.programs import require
from tests.rig.satellite import Satellite
from tests.rig.zot import zot

pytestmark = [pytest.mark.needs_cosign, pytest.mark.needs_registry]

TWIN = "evil/twin"


@pytest.fixture
def image(estate: Estate, site: Satellite) -> Image:
    """A published image."""
    image = estate.image(platforms=(AMD64,))
    image.sign(estate.release, V2, V3)
    estate.allow(site, image, estate.release)
    site.await_published(estate.assign(site, image))
    return image


@pytest.mark.needs_crane
def test_crane_can_push_nothing(estate: Estate, site: Satellite, image: Image) -> None:
    foreign = estate.image(platforms=(AMD64,))
    host = site.url.removeprefix("http://")
    source = f"{estate.central.host}/{foreign.repository}:{TAG}"
    for target in (f"{host}/{image.repository}:{TAG}", f"{host}/{image.repository}:2", f"{host}/{TWIN}:{TAG}"):
        done = subprocess.run(
            [require("crane"), "copy", source, target], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode != 0, target
    assert site.pull(image.repository, TAG) == (200, image.content.manifests[image.root].raw)
    assert {site.pull(place, foreign.root)[0] for place in (image.repository, TWIN)} == {404}


def test_no_request_that_writes_is_taken(estate: Estate, site: Satellite, image: Image) -> None:
    client, manifest = Client(site.url), image.content.manifests[image.root]
    blob = next(iter(image.content.blobs))
    place = f"/v2/{image.repository}"
    attempts = (
        ("PUT", f"{place}/manifests/2", manifest.raw, manifest.media_type),
        ("PUT", f"/v2/{TWIN}/manifests/{manifest.digest}", manifest.raw, manifest.media_type),
        ("POST", f"{place}/blobs/uploads/", b"", ""),
        ("POST", f"/v2/{TWIN}/blobs/uploads/?mount={blob}&from={image.repository}", b"", ""),
        ("DELETE", f"{place}/manifests/{manifest.digest}", b"", ""),
        ("DELETE", f"{place}/manifests/{TAG}", b"", ""),
        ("DELETE", f"{place}/blobs/{blob}", b"", ""),
    )
    for method, path, body, kind in attempts:
        with pytest.raises(RegistryError, match=r": (401|403|405) "):
            client.send(method, path, expect=(), body=body, kind=kind)
    assert site.pull(image.repository, TAG)[0] == 200
    assert TAG in client.tags(image.repository)
    assert "2" not in client.tags(image.repository)


@contextmanager
def thief(directory: Path, site: Satellite, kind: str) -> Iterator[Client]:
    """Run a registry of the same kind, open to all, on the disk of a site that is stopped."""
    directory.mkdir()
    (directory / "content").symlink_to(site.data_dir / "registry" / kind / "data")
    with (distribution if kind == "distribution" else zot)(directory) as url:
        yield Client(url)


def test_what_is_put_on_its_disk_is_gone_before_anybody_can_ask(
    estate: Estate, site: Satellite, kind: str, image: Image, tmp_path: Path
) -> None:
    foreign, url = estate.image(), site.url
    assert site.stop() == 0
    with thief(tmp_path / "thief", site, kind) as disk:
        disk.push(image.repository, foreign.content)  # the published tag stands for it now
        disk.push(TWIN, foreign.content)
    paths = [manifest_path(place, one) for place in (image.repository, TWIN) for one in foreign.content.manifests]
    blobs = [blob_path(place, one) for place in (image.repository, TWIN) for one in foreign.content.blobs]
    tag = manifest_path(image.repository, TAG)
    with hammering(url, [tag, manifest_path(TWIN, TAG), *paths, *blobs]) as puller:
        site.start()
        site.await_that(lambda: site.pull(image.repository, TAG)[0] == 200, "the published tag is right again")
        puller.go_on()
    assert site.url == url
    assert puller.answers <= {"unreachable", "404", image.root}
    assert image.root in puller.told(tag)
    assert not any(image.root in puller.told(path) for path in (*paths, *blobs))
    assert Client(site.url).tags(TWIN) == []
    assert "foreign.withdrawn" in site.log()
    site.await_link()
    site.await_that(lambda: estate.status(site).report.foreign_withdrawn > 0, "Ground Control hears of it")
