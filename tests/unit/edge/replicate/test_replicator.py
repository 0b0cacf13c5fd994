"""The data plane over a registry in memory that can fail at any step: what a crash leaves is found again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import pytest

from edge.app.footprint import Footprint, footprint
from edge.app.replicate import Replicator
from edge.domain.admission import Admission
from edge.domain.content import Image, Index, read_manifest
from fleet.errors import FleetError, Kind
from tests.rig.dossiers import admission, referrer, signature
from tests.rig.memory_journal import MemoryJournal
from tests.rig.memory_registry import EXCLUSIVE, REPOSITORY, Crash, MemorySite, MemorySource
from tests.rig.registries import index_manifest


@dataclass
class World:
    source: MemorySource = field(default_factory=MemorySource)
    site: MemorySite = field(default_factory=MemorySite)
    journal: MemoryJournal = field(default_factory=MemoryJournal)

    @contextmanager
    def replicator(self) -> Iterator[Replicator]:
        replicator = Replicator(self.site, self.journal, self.journal, staging=self.journal)
        try:
            yield replicator
        finally:
            replicator.close()

    def publish(self, admitted: Admission) -> None:
        with self.replicator() as replicator:
            replicator.replicate(admitted, self.source, lambda same: same)

    def is_whole(self) -> bool:
        """Say whether everything that can be named has all that it names."""
        for (repository, _), manifest in self.site.manifests.items():
            read = read_manifest(manifest.raw, manifest.media_type)
            if isinstance(read, Image) and not all(
                self.site.has_blob(repository, one.digest) for one in (read.config, *read.layers)
            ):
                return False
            if isinstance(read, Index) and not any(self.site.head(repository, one.digest) for one in read.children):
                return False
        return all((repository, digest) in self.site.manifests for (repository, _), digest in self.site.by_tag.items())


def image_with_everything(world: World) -> Admission:
    children = {name: world.source.add(os.urandom(3000), architecture=name) for name in ("amd64", "arm64")}
    index = world.source.put(index_manifest(children))
    evidence = (referrer(index), signature(index))
    return admission(world.source, REPOSITORY, index, "v1", evidence=evidence)


@pytest.mark.parametrize("shared", [False, True], ids=["exclusive", "shared"])
def test_a_crash_before_any_write_leaves_nothing_half_and_nothing_unknown(shared: bool) -> None:
    capabilities = replace(EXCLUSIVE, sole_writer=not shared)
    for crash_at in range(40):
        world = World(site=MemorySite(capabilities))
        admitted = image_with_everything(world)
        world.site.crash_at = crash_at
        try:
            world.publish(admitted)
        except Crash:
            world.site.crash_at = -1
            assert world.is_whole()
            known = world.journal.ours().get(REPOSITORY, ())
            assert world.site.known_manifests(REPOSITORY) | set(world.site.tags(REPOSITORY)) <= set(known)
            with world.replicator() as replicator:
                replicator.sweep({})
            assert world.site.manifests == {}
            world.publish(admitted)
        assert world.site.head(REPOSITORY, "v1") == admitted.root.digest
        if world.site.crash_at >= 0:
            return
    raise AssertionError("publishing never came to its end")


def test_a_crash_in_a_withdrawal_is_made_good_by_the_next() -> None:
    def withdraw(replicator: Replicator, going: Admission, held: Footprint) -> None:
        replicator.withdraw(going, lambda: held)

    for crash_at in range(40):
        world = World()
        going, staying = image_with_everything(world), world.source.add(b"another")
        other = admission(world.source, REPOSITORY, staying, "v2")
        world.publish(going)
        world.publish(other)
        held = footprint(other, world.site.capabilities)
        world.site.crash_at = crash_at
        with world.replicator() as replicator:
            try:
                withdraw(replicator, going, held)
            except Crash:
                world.site.crash_at = -1
                assert world.site.head(REPOSITORY, "v1") in {None, going.root.digest}
                withdraw(replicator, going, held)
            finished = world.site.crash_at >= 0
            world.site.crash_at = -1
            assert replicator.sweep({REPOSITORY: held}) == []
        assert world.site.known_manifests(REPOSITORY) == held.manifests
        assert {digest for _, digest in world.site.blobs} == held.blobs
        if finished:
            return
    raise AssertionError("withdrawing never came to its end")


def test_a_cut_source_is_asked_again_from_where_it_broke() -> None:
    world = World()
    image = world.source.add(os.urandom(4_000_000))
    cut = FleetError(Kind.UNAVAILABLE, "SOURCE_CUT", "cut")
    world.source.breaks = [cut, cut]
    world.publish(admission(world.source, REPOSITORY, image, "v1"))
    assert world.site.head(REPOSITORY, "v1") == image.digest


def test_a_registry_that_keeps_cut_uploads_gets_the_bytes_as_they_come() -> None:
    world = World(site=MemorySite(replace(EXCLUSIVE, keeps_cut_uploads=True)))
    image = world.source.add(os.urandom(4_000_000))
    world.source.breaks = [FleetError(Kind.UNAVAILABLE, "SOURCE_CUT", "cut")]
    world.publish(admission(world.source, REPOSITORY, image, "v1"))
    assert world.site.head(REPOSITORY, "v1") == image.digest
    assert world.source.received < 4_100_000


def test_a_segment_that_the_registry_does_not_take_is_sent_again_with_what_came_after_it() -> None:
    world = World()
    image = world.source.add(os.urandom(13_000_000))
    admitted = admission(world.source, REPOSITORY, image, "v1")
    world.site.append_errors = [None, FleetError(Kind.UNAVAILABLE, "REGISTRY_UNREACHABLE", "away")]
    with pytest.raises(FleetError, match="away"):
        world.publish(admitted)
    world.publish(admitted)
    assert world.site.head(REPOSITORY, "v1") == image.digest


def test_an_upload_that_is_lost_under_way_is_begun_anew() -> None:
    world = World()
    image = world.source.add(os.urandom(13_000_000))
    world.site.append_errors = [None, None, FleetError(Kind.UNAVAILABLE, "UPLOAD_LOST", "gone")]
    world.publish(admission(world.source, REPOSITORY, image, "v1"))
    assert world.site.head(REPOSITORY, "v1") == image.digest
    assert world.source.received > 13_000_000


def test_what_cannot_fit_is_refused_before_its_first_byte() -> None:
    world = World()
    world.site.free = 1_000_000
    image = world.source.add(os.urandom(2_000_000))
    with pytest.raises(FleetError) as caught:
        world.publish(admission(world.source, REPOSITORY, image, "v1"))
    assert caught.value.reason == "REGISTRY_FULL"
    assert world.site.uploads == {}
    assert world.site.manifests == {}


def test_a_blob_that_went_meanwhile_is_brought_again() -> None:
    world = World()
    image = world.source.add(b"layer")
    taken: list[str] = []

    def take_one(admitted: Admission) -> Admission:
        if not taken:
            taken.append(admitted.blobs[0].digest)
            world.site.blobs.discard((REPOSITORY, taken[0]))
        return admitted

    with world.replicator() as replicator:
        replicator.replicate(admission(world.source, REPOSITORY, image, "v1"), world.source, take_one)
    assert world.is_whole()
    assert world.site.head(REPOSITORY, "v1") == image.digest


def test_a_tag_that_was_moved_since_is_not_removed_with_its_former_image() -> None:
    world = World()
    old, new = world.source.add(b"old"), world.source.add(b"new")
    before, after = (admission(world.source, REPOSITORY, one, "v1") for one in (old, new))
    for one in (before, after):
        world.publish(one)
    with world.replicator() as replicator:
        replicator.withdraw(before, Footprint)
    assert world.site.head(REPOSITORY, "v1") == new.digest
    assert world.site.head(REPOSITORY, old.digest) is None


def test_foreign_content_is_found_and_named() -> None:
    world = World()
    ours = admission(world.source, REPOSITORY, world.source.add(b"ours"), "v1")
    theirs = admission(world.source, REPOSITORY, world.source.add(b"theirs"), "evil", local_repository="evil")
    for one in (ours, theirs):
        world.publish(one)
    world.site.put_manifest(REPOSITORY, "alias", ours.root)
    with world.replicator() as replicator:
        found = replicator.sweep({REPOSITORY: replicator.footprint(ours)})
    named = {(one.repository, one.reference) for one in found}
    assert named == {("evil", "evil"), ("evil", theirs.root.digest), (REPOSITORY, "alias")}
    assert world.site.repositories() == [REPOSITORY]
    assert world.site.tags(REPOSITORY) == ["v1"]
