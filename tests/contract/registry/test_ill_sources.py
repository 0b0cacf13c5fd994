"""Sources that err while a layer comes, at a site of every kind: what is served is whole, what came is kept."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edge.adapters.mirrors import Mirrored
from edge.adapters.oci.client import Client
from edge.adapters.oci.endpoint import parse_endpoint
from edge.adapters.oci.failures import SOURCE
from edge.adapters.oci.upstream import OciUpstream
from edge.app.ports import Credential
from edge.domain.content import Image, RawManifest, read_manifest
from fleet.errors import FleetError, Kind
from fleet.reference import Digest, digest_of
from tests.contract.registry.test_replication import Rig
from tests.rig.cutting_proxy import cutting_proxy
from tests.rig.dossiers import admission
from tests.rig.http_source import Answer, Asked, http_source
from tests.rig.registries import Central, RunningSite, running_central
from tests.rig.token_realm import token_realm

MIB = 1024 * 1024
LOGIN = Credential("puller", "secret")


@pytest.fixture
def rig(opened: RunningSite) -> Iterator[Rig]:
    rig = Rig(opened)
    yield rig
    rig.replicator.close()


def reader(url: str) -> OciUpstream:
    return OciUpstream(Client(parse_endpoint(url, plaintext=True), voice=SOURCE, credential=lambda _: LOGIN))


def layer_of(image: RawManifest) -> Digest:
    read = read_manifest(image.raw, image.media_type)
    assert isinstance(read, Image)
    return read.layers[0].digest


@dataclass
class IllSource:
    """The central registry's manifests, and one layer as each request in turn is told to answer."""

    central: Central
    layer: bytes
    answers: list[Answer]
    ranges: list[str] = field(default_factory=list)

    def __call__(self, asked: Asked) -> Answer:
        if asked.path.endswith(f"/blobs/{digest_of(self.layer)}"):
            self.ranges.append(asked.headers.get("Range", ""))
            return self.answers.pop(0)
        got = self.central.request(asked.method, asked.path, Accept=asked.headers.get("Accept", "*/*"))
        return Answer(got.status, got.data, {"Content-Type": got.headers.get("Content-Type", "")})


def rest(layer: bytes, start: int, **headers: str) -> Answer:
    return Answer(206, layer[start:], {"Content-Range": f"bytes {start}-{len(layer) - 1}/{len(layer)}", **headers})


def test_a_source_that_ignores_range_never_takes_an_upload_backward(
    rig: Rig, central: Central, repository: str
) -> None:
    layer = os.urandom(4 * MIB)
    image = central.push_image(repository, layers=(layer,))
    ill = IllSource(central, layer, [Answer(200, layer, cut=2 * MIB), Answer(200, layer, cut=MIB), Answer(200, layer)])
    with http_source(ill) as source:
        upstream = reader(source.url)
        rig.publish(admission(upstream, repository, image, "v1"), upstream)
    assert rig.head(repository, "v1") == image.digest
    starts = [int(asked.removeprefix("bytes=").rstrip("-") or 0) for asked in ill.ranges]
    assert starts == sorted(starts)
    assert starts[1] >= MIB
    assert starts[2] >= 2 * MIB


@pytest.mark.parametrize("is_restarted", [False, True], ids=["one-run", "restarted"])
def test_a_layer_that_changes_under_way_is_refused_and_begun_afresh(
    rig: Rig, central: Central, repository: str, is_restarted: bool
) -> None:
    layer = os.urandom(4 * MIB)
    image = central.push_image(repository, layers=(layer,))
    other = os.urandom(4 * MIB)
    fail = Answer(503, headers={"Retry-After": "1"})
    cut = Answer(200, other, {"ETag": '"other"'}, cut=2 * MIB)
    ill = IllSource(central, layer, [cut, fail])
    with http_source(ill) as source:
        upstream = reader(source.url)
        admitted = admission(upstream, repository, image, "v1")
        with pytest.raises(FleetError) as caught:
            rig.publish(admitted, upstream)
        assert caught.value.reason == "SOURCE_FAILED"
        assert list(rig.journal.uploads) != []
        if is_restarted:
            rig.replicator.close()
            rig.restarted()
        have = int(ill.ranges[1].removeprefix("bytes=").rstrip("-"))
        ill.answers = [rest(layer, have, ETag='"right"')]
        with pytest.raises(FleetError) as caught:
            rig.publish(admitted, upstream)
        assert (caught.value.kind, caught.value.reason) == (Kind.CORRUPT, "DIGEST_MISMATCH")
        assert rig.journal.uploads == {}
        assert not rig.site.site.has_blob(repository, digest_of(layer))
        ill.answers = [Answer(200, layer)]
        rig.publish(admitted, upstream)
    assert ill.ranges[-1] == ""
    assert rig.head(repository, "v1") == image.digest


def test_a_token_that_ends_while_a_layer_comes_is_replaced_and_the_layer_goes_on(
    rig: Rig, repository: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("token")
    layer = os.urandom(6 * MIB)
    with (
        token_realm(directory, LOGIN, life_s=1.0, says_s=300) as realm,
        running_central(directory / "open") as seeded,
    ):
        (directory / "guarded").mkdir()
        (directory / "guarded" / "data").symlink_to(seeded.directory / "data")
        image = seeded.push_image(repository, layers=(layer,))
        with running_central(directory / "guarded", auth=realm.auth) as guarded, cutting_proxy(guarded.url) as link:
            upstream = reader(link.url)
            admitted = admission(upstream, repository, image, "v1")
            begun, link.bytes_per_s = link.received, 2 * MIB

            def loses() -> bool:
                """Cut once, in mid-layer, when the token that let it begin is of no use any more."""
                is_due = link.received - begun > MIB and time.monotonic() > realm.ends[-1] + 1
                if is_due:
                    link.loses = lambda: False
                return is_due

            link.loses = loses
            rig.publish(admitted, upstream)
            assert link.received - begun < 7 * MIB
            assert len(realm.ends) >= 2
    assert rig.head(repository, "v1") == image.digest


@pytest.fixture
def twins(tmp_path: Path) -> Iterator[tuple[Central, Central]]:
    """A source and its mirror: two registries with the same content."""
    with running_central(tmp_path / "own") as own:
        (tmp_path / "mirror").mkdir()
        (tmp_path / "mirror" / "data").symlink_to(own.directory / "data")
        with running_central(tmp_path / "mirror") as mirror:
            yield own, mirror


def test_a_source_that_goes_away_in_mid_layer_is_replaced_by_its_mirror_and_comes_back(
    rig: Rig, twins: tuple[Central, Central], repository: str
) -> None:
    own, mirror = twins
    layers = [os.urandom(6 * MIB) for _ in range(3)]
    images = [own.push_image(f"{repository}-{number}", "v1", layers=(layer,)) for number, layer in enumerate(layers)]
    with cutting_proxy(own.url) as link, cutting_proxy(mirror.url) as other:
        is_away = False
        link.loses = lambda: is_away or link.received > 2 * MIB
        clock = [0.0]
        upstream = Mirrored([reader(link.url), reader(other.url)], monotonic=lambda: clock[0])

        def bring(number: int) -> None:
            place = f"{repository}-{number}"
            rig.publish(admission(upstream, place, images[number], "v1"), upstream)
            assert rig.head(place, "v1") == images[number].digest

        bring(0)
        assert 2 * MIB <= link.received < 3 * MIB
        assert link.received + other.received < 6.5 * MIB
        is_away, from_mirror = True, other.received
        bring(1)
        assert other.received > from_mirror + 6 * MIB
        is_away, from_mirror, clock[0] = False, other.received, 3600.0
        link.loses = lambda: False
        upstream.manifest(f"{repository}-2", "v1")  # one request finds out; others would not wait for it
        bring(2)
        assert other.received == from_mirror
