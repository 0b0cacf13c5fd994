"""What happens at the source, or to the rules, while layers are under way: what was admitted is what is published."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.rig import cosign
from tests.rig.estate import TAG, V2, V3, Estate
from tests.rig.forgery import strip_signatures
from tests.rig.hammer import hammering, manifest_path
from tests.rig.images import AMD64, make_image
from tests.rig.oci_layout import Client
from tests.rig.slow_source import SlowSource, slow_source

pytestmark = [pytest.mark.needs_cosign, pytest.mark.needs_registry]


@pytest.fixture(scope="module")
def slow(estate: Estate, kind: str) -> Iterator[SlowSource]:
    with slow_source(estate, kind) as running:
        yield running


def test_a_tag_that_moves_and_a_signature_that_goes_change_nothing(slow: SlowSource) -> None:
    image = slow.admitted()
    repository = slow.at_the_site(image)
    path = manifest_path(repository, TAG)
    other = make_image(tag=TAG, platforms=(AMD64,))
    smuggled = manifest_path(repository, other.tags[TAG])
    with hammering(slow.site.url, [path, smuggled]) as puller:
        Client(slow.estate.central.url).push(image.repository, other)
        strip_signatures(image)
        assert slow.layers_come(image), "the layers were there before the source changed"
        assert puller.told(path) == {"404"}
        slow.proxy.bytes_per_s = 0
        slow.site.await_published(image.name)
        puller.go_on()
    assert puller.told(path) == {"404", image.root}
    assert puller.told(smuggled) == {"404"}
    there = f"{slow.site.url.removeprefix('http://')}/{repository}:{TAG}"
    for form in (V2, V3):
        cosign.verify(there, slow.estate.release, form)


def test_a_policy_that_goes_meanwhile_keeps_it_out(slow: SlowSource) -> None:
    image = slow.admitted()
    repository = slow.at_the_site(image)
    paths = [manifest_path(repository, reference) for reference in (TAG, *image.content.manifests)]
    with hammering(slow.site.url, paths) as puller:
        slow.estate.allow(slow.site, image, slow.estate.stranger)
        slow.site.await_that(lambda: _holds_what_it_should(slow), "it holds the new policy")
        assert slow.layers_come(image), "the layers were there before the policy changed"
        slow.proxy.bytes_per_s = 0
        slow.site.await_refused(image.name, "SIGNATURE_INVALID")
        puller.go_on()
    assert puller.answers == {"404"}


def test_a_block_that_comes_meanwhile_keeps_it_out(slow: SlowSource) -> None:
    image = slow.admitted()
    repository = slow.at_the_site(image)
    paths = [manifest_path(repository, reference) for reference in (TAG, *image.content.manifests)]
    with hammering(slow.site.url, paths) as puller:
        slow.estate.block(slow.site, image.root)
        slow.site.await_that(lambda: _holds_what_it_should(slow), "it holds the block")
        assert slow.layers_come(image), "the layers were there before the block came"
        slow.proxy.bytes_per_s = 0
        slow.site.await_refused(image.name, "BLOCKED")
        puller.go_on()
    assert puller.answers == {"404"}


def _holds_what_it_should(slow: SlowSource) -> bool:
    wanted = slow.estate.status(slow.site).desired_digest.hex()
    return bool(slow.site.status().get("state", {}).get("held") == wanted)
