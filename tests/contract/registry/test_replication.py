"""From a source to a site's registry of every kind: whole, resumable, isolated, and gone again."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from edge.adapters.oci.client import Client
from edge.adapters.oci.endpoint import parse_endpoint
from edge.adapters.oci.failures import SOURCE
from edge.adapters.oci.upstream import OciUpstream
from edge.app.footprint import Footprint
from edge.app.ports import Credential, Upstream
from edge.app.replicate import Replicator
from edge.app.transfer import Untold
from edge.domain.admission import Admission
from edge.domain.content import Platform, RawManifest, read_manifest
from fleet.errors import FleetError, Kind
from fleet.reference import digest_of
from tests.contract.registry.test_site import push
from tests.rig.cutting_proxy import CuttingProxy, cutting_proxy
from tests.rig.dossiers import EMPTY, admission, referrer, signature
from tests.rig.memory_journal import MemoryJournal
from tests.rig.registries import Central, RunningSite

AMD64 = (Platform("linux", "amd64"),)
MIB = 1024 * 1024
DAMAGES = {"flip": "DIGEST_MISMATCH", "cut": "BODY_TRUNCATED", "grow": "DIGEST_MISMATCH"}


class Rig:
    """A replicator over one site, with a journal that a test can look into."""

    def __init__(self, site: RunningSite) -> None:
        self.site = site
        self.journal = MemoryJournal()
        self.replicator = self.restarted()

    def restarted(self) -> Replicator:
        self.replicator = Replicator(self.site.site, self.journal, self.journal, staging=self.journal)
        return self.replicator

    def publish(self, admitted: Admission, upstream: Upstream) -> None:
        self.replicator.replicate(admitted, upstream, lambda same: same)

    def withdraw(self, admitted: Admission, *held: Admission) -> None:
        whole = Footprint()
        for one in held:
            whole |= self.replicator.footprint(one)
        self.replicator.withdraw(admitted, lambda: whole)

    def head(self, repository: str, reference: str) -> str | None:
        return self.site.site.head(repository, reference)


@pytest.fixture
def rig(opened: RunningSite) -> Iterator[Rig]:
    rig = Rig(opened)
    yield rig
    rig.replicator.close()


def multi(central: Central, repository: str, *tags: str) -> tuple[RawManifest, RawManifest, RawManifest]:
    amd64 = central.push_image(repository)
    arm64 = central.push_image(repository, architecture="arm64")
    index = central.push_index(repository, *tags, children={"amd64": amd64, "arm64": arm64})
    return index, amd64, arm64


def through(proxy: CuttingProxy, central: Central) -> OciUpstream:
    endpoint = parse_endpoint(proxy.url, plaintext=True)
    return OciUpstream(Client(endpoint, voice=SOURCE, credential=lambda _: central.login))


def test_a_filtered_index_arrives_whole_with_its_evidence(rig: Rig, central: Central, repository: str) -> None:
    index, amd64, arm64 = multi(central, repository, "v1")
    upstream = central.upstream()
    evidence = (referrer(index), signature(index))
    rig.publish(admission(upstream, repository, index, "v1", platforms=AMD64, evidence=evidence), upstream)
    assert rig.site.site.manifest(repository, "v1") == index
    assert rig.head(repository, amd64.digest) == amd64.digest
    assert rig.head(repository, arm64.digest) is None
    for one in evidence:
        assert rig.head(repository, one.manifests[0].digest) == one.manifests[0].digest
    assert rig.head(repository, evidence[1].tag) == evidence[1].manifests[0].digest
    layers = read_manifest(amd64.raw, amd64.media_type)
    assert all(rig.site.site.has_blob(repository, layer.digest) for layer in layers.layers)  # type: ignore[union-attr]


def test_its_referrers_are_found_as_clients_look_for_them(own: RunningSite, central: Central, repository: str) -> None:
    rig = Rig(own)
    image, upstream = central.push_image(repository), central.upstream()
    evidence = (referrer(image, b"one"), referrer(image, b"two"))
    rig.publish(admission(upstream, repository, image, "v1", evidence=evidence), upstream)
    rig.replicator.close()
    own.open()
    endpoint = parse_endpoint(own.registry.public_url, plaintext=True)
    found = OciUpstream(Client(endpoint, voice=SOURCE)).referrers(repository, image.digest)
    assert {one.digest for one in found} == {one.manifests[0].digest for one in evidence}
    assert {one.artifact_type for one in found} == {"application/vnd.dev.sigstore.bundle.v0.3+json"}


def test_what_is_withdrawn_leaves_nothing_behind(rig: Rig, central: Central, repository: str) -> None:
    index, _, _ = multi(central, repository, "v1")
    upstream = central.upstream()
    content = repository.encode()
    evidence = (referrer(index, content), signature(index, content))
    admitted = admission(upstream, repository, index, "v1", platforms=AMD64, evidence=evidence)
    rig.publish(admitted, upstream)
    rig.withdraw(admitted)
    footprint = rig.replicator.footprint(admitted)
    assert [one for one in (*footprint.manifests, *footprint.tags) if rig.head(repository, one)] == []
    assert rig.site.site.known_manifests(repository) == set()
    assert not rig.journal.ours().get(repository)
    if rig.site.site.capabilities.sole_writer:
        own = footprint.blobs - {digest_of(EMPTY)}  # Zot finds a blob wherever another repository has it
        assert [blob for blob in own if rig.site.site.has_blob(repository, blob)] == []


def test_what_another_image_holds_stays(rig: Rig, central: Central, repository: str) -> None:
    index, amd64, _ = multi(central, repository, "v1")
    upstream = central.upstream()
    whole = admission(upstream, repository, index, "v1", platforms=AMD64)
    alone = admission(upstream, repository, amd64, "amd64")
    for one in (whole, alone):
        rig.publish(one, upstream)
    rig.withdraw(whole, alone)
    assert rig.head(repository, "v1") is None
    assert rig.head(repository, index.digest) is None
    assert rig.head(repository, "amd64") == amd64.digest
    assert rig.head(repository, amd64.digest) == amd64.digest
    assert all(rig.site.site.has_blob(repository, blob.digest) for blob in alone.blobs)


def test_an_image_that_lost_its_tag_is_still_there_by_digest(rig: Rig, central: Central, repository: str) -> None:
    upstream = central.upstream()
    old, old_amd64, _ = multi(central, repository, "v1")
    new = central.push_image(repository, "v1")
    rig.publish(admission(upstream, repository, old, "v1", platforms=AMD64), upstream)
    rig.publish(admission(upstream, repository, new, "v1"), upstream)
    assert rig.head(repository, "v1") == new.digest
    assert rig.head(repository, old.digest) == old.digest
    assert rig.head(repository, old_amd64.digest) == old_amd64.digest
    rig.replicator.untag(repository, "v1", new.digest)
    assert rig.head(repository, "v1") is None
    assert rig.head(repository, new.digest) == new.digest


def test_an_image_that_is_there_costs_the_source_nothing(rig: Rig, central: Central, repository: str) -> None:
    with cutting_proxy(central.url) as proxy:
        upstream = through(proxy, central)
        admitted = admission(upstream, repository, central.push_image(repository), "v1")
        rig.publish(admitted, upstream)
        before = proxy.received
        rig.publish(admitted, upstream)
        assert proxy.received == before


def test_layers_that_another_repository_has_are_not_fetched_again(rig: Rig, central: Central, repository: str) -> None:
    layer = os.urandom(2 * MIB)
    first = central.push_image(repository, layers=(layer,))
    second = central.push_image(f"{repository}-b", layers=(layer,))
    with cutting_proxy(central.url) as proxy:
        upstream = through(proxy, central)
        rig.publish(admission(upstream, repository, first, "v1"), upstream)
        rig.publish(admission(upstream, f"{repository}-b", second, "v1"), upstream)
        assert proxy.received < 2.1 * MIB
    assert rig.head(f"{repository}-b", "v1") == second.digest


def test_a_cut_costs_hardly_a_byte_twice(rig: Rig, central: Central, repository: str) -> None:
    image = central.push_image(repository, layers=(os.urandom(24 * MIB),))
    with cutting_proxy(central.url) as proxy:
        upstream = through(proxy, central)
        admitted = admission(upstream, repository, image, "v1")
        proxy.cuts = [5 * MIB, 13 * MIB, 20 * MIB]
        rig.publish(admitted, upstream)
        assert proxy.cuts == []
        assert proxy.received < 24 * MIB * 1.05  # what a cut finds in sockets' buffers is lost
    assert rig.head(repository, "v1") == image.digest


def test_a_transfer_goes_on_after_a_restart(rig: Rig, central: Central, repository: str) -> None:
    image = central.push_image(repository, layers=(os.urandom(24 * MIB),))
    with cutting_proxy(central.url) as proxy:
        upstream = through(proxy, central)
        admitted = admission(upstream, repository, image, "v1")
        stopped = _StoppingAfter(rig, 12 * MIB).replicator
        with pytest.raises(FleetError) as caught:
            stopped.replicate(admitted, upstream, lambda same: same)
        assert caught.value.reason == "TRANSFER_STOPPED"
        assert rig.head(repository, image.digest) is None
        before = proxy.received
        _await_put_away(rig, 11 * MIB)
        rig.restarted()
        rig.publish(admitted, upstream)
        assert proxy.received - before < 12.5 * MIB
    assert rig.head(repository, "v1") == image.digest
    assert rig.journal.uploads == {}


def _await_put_away(rig: Rig, size_bytes: int) -> None:
    """Wait until the registry has noticed that a request ended and put away what came with it."""
    (location,) = rig.journal.uploads.values()
    deadline = time.monotonic() + 20
    while (found := rig.site.site.resume(location)) is None or found.offset < size_bytes:
        assert time.monotonic() < deadline, found
        time.sleep(0.01)


class _StoppingAfter(Untold):
    """Stops a replicator when so many bytes have come."""

    def __init__(self, rig: Rig, size_bytes: int) -> None:
        self._left = size_bytes
        self.replicator = Replicator(rig.site.site, rig.journal, rig.journal, staging=rig.journal, progress=self)

    def came(self, name: str, size_bytes: int) -> None:
        self._left -= size_bytes
        if self._left <= 0:
            self.replicator.stop()


@pytest.mark.parametrize("size", [3000, 3 * MIB], ids=["small", "large"])
@pytest.mark.parametrize("damage", ["flip", "cut", "grow"])
def test_a_damaged_layer_is_named_and_the_other_images_go_on(
    rig: Rig, central: Central, repository: str, damage: str, size: int
) -> None:
    layer = os.urandom(size)
    bad, good = central.push_image(repository, layers=(layer,)), central.push_image(f"{repository}-good")
    upstream = central.upstream()
    admitted = admission(upstream, repository, bad, "v1")
    file = central.blob_file(read_manifest(bad.raw, bad.media_type).layers[0].digest)  # type: ignore[union-attr]
    file.write_bytes({"flip": b"!" + layer[1:], "cut": layer[:-1], "grow": layer + b"!"}[damage])
    with pytest.raises(FleetError) as caught:
        rig.publish(admitted, upstream)
    assert (caught.value.kind, caught.value.reason) == (Kind.CORRUPT, DAMAGES[damage])
    assert rig.head(repository, "v1") is None
    assert rig.head(repository, bad.digest) is None
    assert rig.journal.uploads == {}
    rig.publish(admission(upstream, f"{repository}-good", good, "v1"), upstream)
    file.write_bytes(layer)
    rig.publish(admitted, upstream)
    assert rig.head(repository, "v1") == bad.digest


def test_what_no_longer_stands_is_not_published(rig: Rig, central: Central, repository: str) -> None:
    image, upstream = central.push_image(repository), central.upstream()

    def refuse(_: Admission) -> Admission:
        raise FleetError(Kind.REFUSED, "POLICY_CHANGED", "a policy changed")

    with pytest.raises(FleetError) as caught:
        rig.replicator.replicate(admission(upstream, repository, image, "v1"), upstream, refuse)
    assert caught.value.reason == "POLICY_CHANGED"
    assert rig.site.site.known_manifests(repository) == set()
    assert rig.journal.history == []


def test_a_wrong_password_is_named(rig: Rig, central: Central, repository: str) -> None:
    image = central.push_image(repository)
    admitted = admission(central.upstream(), repository, image, "v1")
    with pytest.raises(FleetError) as caught:
        rig.publish(admitted, central.upstream(Credential("puller", "wrong")))
    assert (caught.value.kind, caught.value.reason) == (Kind.REFUSED, "SOURCE_REFUSED")


def test_a_tag_of_somebody_else_s_is_theirs(opened: RunningSite, central: Central, repository: str) -> None:
    if opened.site.capabilities.sole_writer:
        return
    rig = Rig(opened)
    theirs = push(opened.site, repository)
    opened.site.put_manifest(repository, "v1", theirs)
    image, upstream = central.push_image(repository), central.upstream()
    admitted = admission(upstream, repository, image, "v1")
    with pytest.raises(FleetError) as caught:
        rig.publish(admitted, upstream)
    assert (caught.value.kind, caught.value.reason) == (Kind.EXISTS, "TAG_TAKEN")
    assert rig.head(repository, "v1") == theirs.digest
    found = rig.replicator.sweep({})
    rig.replicator.close()
    assert found == []  # nothing was written
    assert rig.head(repository, image.digest) is None
    assert rig.head(repository, theirs.digest) == theirs.digest


def test_every_write_has_an_intent_before_it(rig: Rig, central: Central, repository: str) -> None:
    index, _, _ = multi(central, repository, "v1")
    upstream = central.upstream()
    admitted = admission(upstream, repository, index, "v1", evidence=(referrer(index),))
    rig.publish(admitted, upstream)
    footprint = rig.replicator.footprint(admitted)
    written = {*footprint.manifests, *footprint.tags}
    assert {one for what, _, one in rig.journal.history if what == "intend_put"} == written
    assert {one for what, _, one in rig.journal.history if what == "put_done"} == written
    rig.withdraw(admitted)
    assert {one for what, _, one in rig.journal.history if what == "intend_delete"} == written
