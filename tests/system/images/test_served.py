"""What a site serves is what was signed: real clients pull it, the real cosign verifies it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from fleet.policy import SignatureFormat
from fleet.reference import digest_of
from tests.rig import cosign
from tests.rig.estate import TAG, V2, V3, Estate, Image
from tests.rig.hammer import hammering, manifest_path
from tests.rig.images import AMD64, ARM64
from tests.rig.programs import require
from tests.rig.satctl import Satctl
from tests.rig.satellite import Satellite

pytestmark = [pytest.mark.needs_cosign, pytest.mark.needs_registry]


def host_of(site: Satellite) -> str:
    return site.url.removeprefix("http://")


def tool(name: str, *arguments: str | Path) -> str:
    done = subprocess.run([require(name), *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Shelf:
    """Images that are published at one site, each made once for all tests that look at it."""

    def __init__(self, estate: Estate, site: Satellite) -> None:
        self._estate = estate
        self._site = site
        self._made: dict[object, Image] = {}

    def take(
        self,
        form: SignatureFormat = V3,
        *,
        docker: bool = False,
        filtered: bool = False,
        platforms: tuple[tuple[str, str], ...] = (AMD64, ARM64),
    ) -> Image:
        """Publish an image that is signed in one format only."""
        key = (form, docker, filtered, platforms)
        if key not in self._made:
            image = self._estate.image(docker=docker, platforms=platforms)
            image.sign(self._estate.release, form)
            self._estate.allow(self._site, image, self._estate.release)
            wanted = (AMD64,) if filtered else ()
            self._site.await_published(self._estate.assign(self._site, image, platforms=wanted))
            self._made[key] = image
        return self._made[key]


@pytest.fixture(scope="module")
def shelf(estate: Estate, site: Satellite) -> Shelf:
    return Shelf(estate, site)


@pytest.mark.needs_crane
@pytest.mark.parametrize("docker", [False, True], ids=["oci", "docker"])
def test_crane_pulls_by_tag_and_by_digest(shelf: Shelf, site: Satellite, docker: bool, tmp_path: Path) -> None:
    image = shelf.take(docker=docker)
    for number, reference in enumerate((f":{TAG}", f"@{image.root}")):
        there = f"{host_of(site)}/{image.repository}{reference}"
        assert tool("crane", "digest", there).strip() == image.root
        tool("crane", "pull", "--format=oci", there, tmp_path / str(number))
        tool("crane", "validate", "--remote", there)


@pytest.mark.needs_skopeo
@pytest.mark.parametrize("docker", [False, True], ids=["oci", "docker"])
def test_skopeo_pulls_by_tag_and_by_digest(shelf: Shelf, site: Satellite, docker: bool, tmp_path: Path) -> None:
    image = shelf.take(docker=docker)
    for number, reference in enumerate((f":{TAG}", f"@{image.root}")):
        there = f"docker://{host_of(site)}/{image.repository}{reference}"
        plain = ("--insecure-policy", "copy", "--src-tls-verify=false", "--all", "--preserve-digests")
        tool("skopeo", *plain, there, f"dir:{tmp_path / str(number)}")
        assert digest_of((tmp_path / str(number) / "manifest.json").read_bytes()) == image.root


@pytest.mark.parametrize("docker", [False, True], ids=["oci", "docker"])
@pytest.mark.parametrize("platforms", [(AMD64, ARM64), (AMD64,)], ids=["index", "image"])
def test_every_manifest_has_the_source_s_bytes(
    shelf: Shelf, site: Satellite, docker: bool, platforms: tuple[tuple[str, str], ...]
) -> None:
    image = shelf.take(docker=docker, platforms=platforms)
    assert len(image.content.manifests) == (3 if len(platforms) > 1 else 1)
    for digest, manifest in image.content.manifests.items():
        assert site.pull(image.repository, digest) == (200, manifest.raw)
    assert site.pull(image.repository, TAG) == (200, image.content.manifests[image.root].raw)


@pytest.mark.parametrize("filtered", [False, True], ids=["whole", "one-platform"])
@pytest.mark.parametrize("form", [V2, V3], ids=["v2", "v3"])
def test_cosign_verifies_at_the_site(
    estate: Estate, shelf: Shelf, site: Satellite, form: SignatureFormat, filtered: bool
) -> None:
    image = shelf.take(form, filtered=filtered)
    for reference in (f":{TAG}", f"@{image.root}"):
        there = f"{host_of(site)}/{image.repository}{reference}"
        assert image.root in cosign.verify(there, estate.release, form)
        with pytest.raises(cosign.CosignError):
            cosign.verify(there, estate.stranger, form)


@pytest.mark.needs_skopeo
def test_a_platform_filter_keeps_the_index_and_leaves_the_others_out(
    shelf: Shelf, site: Satellite, tmp_path: Path
) -> None:
    image = shelf.take(filtered=True)
    wanted, other = image.children
    assert site.pull(image.repository, TAG) == (200, image.content.manifests[image.root].raw)
    assert site.pull(image.repository, wanted)[0] == 200
    assert site.pull(image.repository, other)[0] == 404
    there = f"docker://{host_of(site)}/{image.repository}:{TAG}"
    platform = ("--override-os=linux", "--override-arch=amd64")
    tool("skopeo", "--insecure-policy", *platform, "copy", "--src-tls-verify=false", there, f"dir:{tmp_path / 'out'}")
    assert digest_of((tmp_path / "out" / "manifest.json").read_bytes()) == wanted


@pytest.mark.needs_crane
def test_what_can_be_named_can_be_pulled_whole(estate: Estate, site: Satellite) -> None:
    image = estate.image(layer_sizes=(2 << 20,))
    image.sign(estate.release)
    estate.allow(site, image, estate.release)
    path = manifest_path(image.repository, TAG)
    with hammering(site.url, [path]) as puller:
        estate.assign(site, image)
        site.await_that(lambda: image.root in puller.told(path), "the tag answers")
        tool("crane", "validate", "--remote", f"{host_of(site)}/{image.repository}:{TAG}")
    assert puller.told(path) == {"404", image.root}


def test_operators_see_how_the_site_is(estate: Estate, site: Satellite, tmp_path: Path) -> None:
    satctl = Satctl(tmp_path)
    satctl.ok("login", estate.ground_control.operator_string("nurse"))
    name = site.directory.name
    site.await_that(lambda: "registry answers" in satctl.ok("status", name), "its health is told")
    told = {line.partition("  ")[0]: line.partition("  ")[2].strip() for line in satctl.ok("status", name).splitlines()}
    assert told["registry answers"] == "yes"
    assert told["disk"].endswith("free")
