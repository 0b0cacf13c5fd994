"""What is no longer to be served goes whole: tags, index, children, signatures and layers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.rig import cosign
from tests.rig.estate import TAG, V2, V3, Estate, Image, scope
from tests.rig.forgery import bundle_of, fallback_tag
from tests.rig.hammer import blob_path, hammering, manifest_path
from tests.rig.images import AMD64
from tests.rig.oci_layout import Client
from tests.rig.satellite import Satellite

pytestmark = [pytest.mark.needs_cosign, pytest.mark.needs_registry]


@pytest.fixture
def image(estate: Estate, site: Satellite) -> Image:
    """A published index of two platforms with signatures in both formats."""
    image = estate.image()
    image.sign(estate.release, V2, V3)
    estate.allow(site, image, estate.release)
    site.await_published(estate.assign(site, image))
    served = {path for path in named_by(image) if is_served(site, path)}
    assert set(named_by(image)) - served <= {manifest_path(image.repository, fallback_tag(image.root))}
    return image


def named_by(image: Image) -> Iterator[str]:
    """Everything that publishing it put at the site."""
    tags = (TAG, fallback_tag(image.root), f"{fallback_tag(image.root)}.sig")
    for reference in (*tags, *image.content.manifests, bundle_of(image).digest):
        yield manifest_path(image.repository, reference)
    for digest in image.content.blobs:
        yield blob_path(image.repository, digest)


def is_served(site: Satellite, path: str) -> bool:
    return Client(site.url).send("GET", path, expect=(200, 404)).status == 200


def assert_gone(site: Satellite, image: Image) -> None:
    site.await_that(lambda: site.pull(image.repository, TAG)[0] == 404, "its tag is gone")
    site.await_that(lambda: not any(is_served(site, path) for path in named_by(image)), "all of it is gone")
    client = Client(site.url)
    assert client.tags(image.repository) == []
    answer = client.send("GET", f"/v2/{image.repository}/referrers/{image.root}", expect=(200, 404))
    assert answer.status == 404 or not answer.json()["manifests"]


def test_an_index_that_is_no_longer_wanted_leaves_nothing_behind(estate: Estate, site: Satellite, image: Image) -> None:
    estate.unassign(site, image)
    assert_gone(site, image)


def test_a_policy_that_now_refuses_it_withdraws_it(estate: Estate, site: Satellite, image: Image) -> None:
    estate.allow(site, image, estate.stranger)
    site.await_refused(image.name, "SIGNATURE_INVALID")
    assert_gone(site, image)


def test_without_its_policy_it_is_withdrawn(estate: Estate, site: Satellite, image: Image) -> None:
    estate.forbid(image.repository.replace("/", "-"))
    site.await_refused(image.name, "NO_POLICY")
    assert_gone(site, image)


@pytest.mark.parametrize("part", ["root", "child", "layer"])
def test_a_block_of_any_part_of_it_withdraws_it(estate: Estate, site: Satellite, image: Image, part: str) -> None:
    blocked = {"root": image.root, "child": image.children[1], "layer": next(iter(image.content.blobs))}
    estate.block(site, blocked[part])
    site.await_refused(image.name, "BLOCKED")
    assert_gone(site, image)


def test_what_another_image_holds_too_stays_all_the_while(estate: Estate, site: Satellite, image: Image) -> None:
    path = manifest_path(image.repository, image.children[0])
    child = image.child(0)
    child.sign(estate.release, V2, V3)
    site.await_published(estate.assign(site, child))
    with hammering(site.url, [path]) as puller:
        estate.unassign(site, image)
        site.await_that(lambda: site.pull(image.repository, image.root)[0] == 404, "the index is gone")
    assert puller.answers == {image.children[0]}
    assert site.pull(image.repository, image.children[1])[0] == 404
    assert site.states()[child.name][0] == "published", scope(site)


def test_a_platform_that_is_no_longer_wanted_goes_and_the_index_stays(
    estate: Estate, site: Satellite, image: Image
) -> None:
    wanted, other = image.children
    estate.assign(site, image, platforms=(AMD64,))
    site.await_that(lambda: site.pull(image.repository, other)[0] == 404, "the other platform is gone")
    site.await_published(image.name)
    whole = image.content.manifests[image.root].raw
    site.await_that(lambda: site.pull(image.repository, TAG) == (200, whole), "Zot has its index again")
    assert site.pull(image.repository, wanted)[0] == 200
    for form in (V2, V3):
        cosign.verify(f"{site.url.removeprefix('http://')}/{image.repository}:{TAG}", estate.release, form)
    estate.assign(site, image)
    site.await_that(lambda: site.pull(image.repository, other)[0] == 200, "it is wanted again")
