"""A real containerd pulls through the site by hosts.toml, and gets there what was signed and nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.rig.containerd import Containerd, containerd
from tests.rig.estate import TAG, V2, Estate, Image
from tests.rig.satellite import Satellite

pytestmark = [
    pytest.mark.needs_cosign,
    pytest.mark.needs_registry,
    pytest.mark.needs_containerd,
    pytest.mark.skipif(os.geteuid() != 0, reason="containerd runs as root"),
]
REGISTRY = "registry.example"


@pytest.fixture(scope="module")
def node() -> Iterator[Containerd]:
    with containerd() as running:
        yield running


@pytest.mark.parametrize("docker", [False, True], ids=["oci", "docker"])
def test_a_signed_image_comes_by_tag_and_by_digest(
    estate: Estate, site: Satellite, node: Containerd, docker: bool
) -> None:
    image = estate.image(docker=docker)
    image.sign(estate.release, V2)
    estate.allow(site, image, estate.release)
    site.await_published(estate.assign(site, image))
    node.mirror(REGISTRY, site.url)
    for reference in (f"{_name(image)}:{TAG}", f"{_name(image)}@{image.root}"):
        done = node.pull(reference)
        assert done.returncode == 0, done.stderr
        listed = node.ctr("images", "ls", f"name=={reference}").stdout
        assert image.root in listed


def test_a_refused_image_comes_neither_by_tag_nor_by_digest(estate: Estate, site: Satellite, node: Containerd) -> None:
    image = estate.image()
    estate.allow(site, image, estate.release)
    site.await_refused(estate.assign(site, image), "UNSIGNED")
    node.mirror(REGISTRY, site.url)
    for reference in (f"{_name(image)}:{TAG}", f"{_name(image)}@{image.root}"):
        assert node.pull(reference).returncode != 0, reference
        assert reference not in node.ctr("images", "ls", "--quiet").stdout


def _name(image: Image) -> str:
    return f"{REGISTRY}/{image.repository}"
