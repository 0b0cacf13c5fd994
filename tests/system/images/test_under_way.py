"""What happens at the source, or to the rules, while layers are under way: what was admitted is what is published."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.rig import cosign
from tests.rig.cutting_proxy import CuttingProxy, cutting_proxy
from tests.rig.estate import TAG, V2, V3, Estate, Image
from tests.rig.forgery import strip_signatures
from tests.rig.hammer import hammering, manifest_path
from tests.rig.images import AMD64, make_image
from tests.rig.oci_layout import Client
from tests.rig.satellite import Satellite

pytestmark = [pytest.mark.needs_cosign, pytest.mark.needs_registry]

LAYER_BYTES = 4 << 20
SLOW = 256 << 10
"""Bytes a second of each connection: a layer takes longer than what a test does meanwhile."""


@dataclass
class SlowSource:
    """A source whose layers come as slowly as the test says, and a site that trusts it."""

    estate: Estate
    site: Satellite
    proxy: CuttingProxy
    name: str

    def admitted(self) -> Image:
        """Sign and assign an image, and wait until it is admitted and its layers are under way."""
        image = self.estate.image(platforms=(AMD64,), layer_sizes=(LAYER_BYTES,), source=self.name)
        image.sign(self.estate.release, V2, V3)
        self.estate.allow(self.site, image, self.estate.release)
        self.proxy.bytes_per_s = SLOW
        self.estate.assign(self.site, image)
        self.site.await_that(lambda: self.layers_come(image), "its layers are under way")
        return image

    def layers_come(self, image: Image) -> bool:
        rows = [row for row in self.site.status().get("artifacts", ()) if row["name"] == image.name]
        return bool(rows) and 0 < rows[0]["done_bytes"] < rows[0]["total_bytes"]

    def at_the_site(self, image: Image) -> str:
        """The repository as workloads name it."""
        return f"{self.name}/{image.repository}"


@pytest.fixture(scope="module")
def slow(estate: Estate, kind: str) -> Iterator[SlowSource]:
    with cutting_proxy(estate.central.url) as proxy:
        name = f"slow-{secrets.token_hex(4)}"
        host = proxy.url.removeprefix("http://")
        estate.add_source(name, host, prefix=name)
        yield SlowSource(estate, estate.site(kind, name, plain_hosts=[host]), proxy, name)
        proxy.bytes_per_s = 0
        estate.retire(name)


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
