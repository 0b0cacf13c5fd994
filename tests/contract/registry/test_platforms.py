"""A choice of platforms that changes, at a site of every kind: only the difference moves, and no pull notices."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from edge.app.evidence import EvidenceFetcher
from edge.domain.admission import Admission
from edge.domain.content import Image, Platform, RawManifest, read_manifest
from fleet.reference import Digest
from tests.contract.registry.test_replication import Rig, through
from tests.rig import cosign
from tests.rig.cosign import KeyPair
from tests.rig.cutting_proxy import cutting_proxy
from tests.rig.dossiers import admission
from tests.rig.hammer import blob_path, hammering, manifest_path
from tests.rig.registries import Central, RunningSite

pytestmark = [pytest.mark.needs_cosign, pytest.mark.needs_registry]

LAYER_BYTES = 300_000
SLACK_BYTES = 60_000
"""Manifests, configs, and HTTP around them."""
AMD64, ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")


@pytest.fixture
def rig(opened: RunningSite) -> Iterator[Rig]:
    rig = Rig(opened)
    yield rig
    rig.replicator.close()


@dataclass
class Fat:
    """A signed image for two platforms, with a layer of its own each and one that they share."""

    hub: Central
    repository: str = field(default_factory=lambda: f"library/{secrets.token_hex(6)}")

    def __post_init__(self) -> None:
        shared = os.urandom(LAYER_BYTES)
        self.children = {
            name: self.hub.push_image(self.repository, layers=(shared, os.urandom(LAYER_BYTES)), architecture=name)
            for name in ("amd64", "arm64")
        }
        self.index = self.hub.push_index(self.repository, "v1", children=self.children)

    def layers(self, name: str) -> list[Digest]:
        read = read_manifest(self.children[name].raw, self.children[name].media_type)
        assert isinstance(read, Image)
        return [layer.digest for layer in read.layers]

    def admission(self, *platforms: Platform) -> Admission:
        upstream = self.hub.upstream()
        evidence = EvidenceFetcher(upstream, self.repository, self.index.digest).gather(())
        return admission(upstream, self.repository, self.index, "v1", platforms=platforms, evidence=evidence)


@pytest.fixture
def fat(hub: Central, key: KeyPair) -> Fat:
    made = Fat(hub)
    cosign.sign(f"{hub.host}/{made.repository}@{made.index.digest}", key)
    return made


def path_of(site: RunningSite, fat: Fat) -> str:
    return f"edge/site-1/{fat.repository}" if site.kind == "external" else fat.repository


def verify(site: RunningSite, fat: Fat, key: KeyPair) -> None:
    host = site.registry.public_url.removeprefix("http://")
    cosign.verify(f"{host}/{path_of(site, fat)}@{fat.index.digest}", key, login=site.owner)


def served(rig: Rig, fat: Fat) -> list[RawManifest]:
    """What of the image the site serves; it must be the very bytes."""
    found = [rig.site.site.manifest(fat.repository, one.digest) for one in (fat.index, *fat.children.values())]
    return [one for one in found if one]


def test_only_the_difference_moves_and_the_signature_stays_good(
    rig: Rig, fat: Fat, key: KeyPair, opened: RunningSite
) -> None:
    both, one = fat.admission(), fat.admission(AMD64)
    with cutting_proxy(fat.hub.url) as link:
        upstream = through(link, fat.hub)

        def moved(to: Admission, *former: Admission) -> int:
            before = link.received
            rig.publish(to, upstream)
            for old in former:
                rig.withdraw(old, to)
            verify(opened, fat, key)
            assert rig.head(fat.repository, "v1") == fat.index.digest
            return link.received - before

        assert 2 * LAYER_BYTES < moved(one) < 2 * LAYER_BYTES + SLACK_BYTES
        assert served(rig, fat) == [fat.index, fat.children["amd64"]]
        assert LAYER_BYTES < moved(both, one) < LAYER_BYTES + SLACK_BYTES
        assert served(rig, fat) == [fat.index, fat.children["amd64"], fat.children["arm64"]]
        assert moved(one, both) < SLACK_BYTES
        assert served(rig, fat) == [fat.index, fat.children["amd64"]]
        own = fat.layers("arm64")[1]
        if opened.site.capabilities.sole_writer:
            assert not opened.site.has_blob(fat.repository, own)
            assert opened.pull(fat.repository, own, kind="blobs")[0] == 404
        assert moved(both, one) < LAYER_BYTES + SLACK_BYTES
        assert served(rig, fat) == [fat.index, fat.children["amd64"], fat.children["arm64"]]
        other = fat.admission(ARM64)
        assert moved(other, both) < SLACK_BYTES
        assert served(rig, fat) == [fat.index, fat.children["arm64"]]
        rig.withdraw(other)
        assert served(rig, fat) == []
        assert not rig.journal.ours().get(fat.repository)


def test_no_pull_of_what_stays_fails_while_platforms_come_and_go(rig: Rig, fat: Fat, opened: RunningSite) -> None:
    if opened.owner:
        return  # whoever pulls from a registry of the user's own has a password, which a hammer has not
    both, one = fat.admission(), fat.admission(AMD64)
    upstream = fat.hub.upstream()
    rig.publish(both, upstream)
    place = path_of(opened, fat)
    paths = [manifest_path(place, name) for name in ("v1", fat.index.digest, fat.children["amd64"].digest)]
    paths += [blob_path(place, layer) for layer in fat.layers("amd64")]
    with hammering(opened.registry.public_url, paths) as hammer:
        for _ in range(3):
            rig.publish(one, upstream)
            rig.withdraw(both, one)
            hammer.go_on()
            rig.publish(both, upstream)
            rig.withdraw(one, both)
            hammer.go_on()
    whole = {fat.index.digest, fat.children["amd64"].digest, *fat.layers("amd64")}
    assert hammer.answers == whole
