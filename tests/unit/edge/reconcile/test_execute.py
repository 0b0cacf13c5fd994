"""What the executor does where desired state, rules or the site change between a decision and its deed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from edge.adapters.registry.shelf import ZotShelf
from edge.app.reconcile import Reconciler
from edge.domain.content import OCI_MANIFEST, RawManifest, raw_manifest
from edge.domain.holding import Resource
from edge.domain.plan import Edition, Retag
from fleet import resources
from fleet.errors import FleetError, Kind
from fleet.reference import Digest
from fleet.v1 import resource_pb2 as pb
from tests.rig.local_site import artifact, block, resource, utc_now
from tests.rig.memory_plane import MemoryPlane

_UNREADABLE = b"\xfa\x7f\x01x"
"""A field that no version knows yet."""


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[MemoryPlane]:
    made = MemoryPlane(tmp_path)
    yield made
    made.close()


def _held(kind: int) -> Resource:
    payload = pb.ResourcePayload(if_unknown=pb.IF_UNKNOWN_HOLD).SerializeToString()
    return resource(kind, "of-tomorrow", payload + _UNREADABLE)


@pytest.mark.parametrize(
    "kind", [resources.POLICY, resources.TRUST_ROOT, resources.BLOCK, resources.CONFIGURATION, resources.ARTIFACT]
)
def test_what_is_under_way_is_not_published_once_something_is_held(plane: MemoryPlane, kind: int) -> None:
    wanted = (*plane.base, plane.push("app"))
    plane.want(*wanted)
    with pytest.raises(FleetError) as caught:
        plane.publish("hub/app:1", meanwhile=lambda: plane.want(*wanted, _held(kind)))
    assert caught.value.reason == "AGENT_TOO_OLD"
    assert plane.site.manifests == {}
    assert plane.editions.site().published == frozenset()


def test_a_tag_is_not_moved_to_what_is_not_published(plane: MemoryPlane) -> None:
    plane.want(*plane.base, plane.push("app"))
    digest = plane.edition("hub/app:1").digest
    with pytest.raises(FleetError) as caught:
        plane.executor.retag(Retag("app", "1", digest, "TAG_MOVED"))
    assert (caught.value.kind, caught.value.reason) == (Kind.CONFLICT, "NOT_PUBLISHED")


def test_a_tag_that_goes_while_tags_are_looked_at_is_not_put_again(
    plane: MemoryPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    plane.want(*plane.base, plane.push("first"), plane.push("second"))
    staying, going = plane.publish("hub/first:1"), plane.publish("hub/second:1")
    events: dict[tuple[str, str], Callable[[], object]] = {
        ("first", "1"): lambda: plane.site.delete_tag("first", "1"),
        ("second", "1"): lambda: plane.executor.withdraw(going),
    }
    look = plane.site.head

    def head(repository: str, reference: str) -> Digest | None:
        if happens := events.pop((repository, reference), None):
            happens()
        return look(repository, reference)

    monkeypatch.setattr(plane.site, "head", head)
    assert plane.executor.check() == [staying]
    assert plane.site.by_tag["first", "1"] == staying.digest
    assert plane.editions.site().tags == {("first", "1"): staying.digest}


async def test_no_defect_in_a_thread_keeps_the_loop_waiting_for_ever(
    plane: MemoryPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mend(*, idle_s: float) -> NoReturn:
        raise StopIteration(idle_s)

    monkeypatch.setattr(plane.executor, "mend", mend)
    reconciler = Reconciler(plane.executor, plane.editions, now=utc_now)
    async with asyncio.timeout(2):
        with pytest.raises(RuntimeError):
            await reconciler.prepare()


def test_a_tag_that_another_artifact_wins_while_an_image_comes_is_not_taken(plane: MemoryPlane) -> None:
    shared = plane.push("app", message="for all")
    plane.want(*plane.base, shared)
    edition = plane.edition("hub/app:1")
    own = plane.push("app", message="for one")
    with pytest.raises(FleetError) as caught:
        plane.publish("hub/app:1", meanwhile=lambda: plane.want(*plane.base, shared, one=(own,)))
    assert (caught.value.kind, caught.value.reason) == (Kind.CONFLICT, "TAG_CHANGED")
    asked = len(plane.upstream.asked)
    plane.executor.publish(edition)
    assert plane.site.head("app", edition.digest) == edition.digest
    assert ("app", "1") not in plane.site.by_tag.keys() | plane.editions.site().tags.keys()
    assert len(plane.upstream.asked) == asked


class _Unsteady(ZotShelf):
    """Lets something happen before it is read for the first time."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.events: list[Callable[[], object]] = []

    @contextmanager
    def read(self, repository: str, digest: Digest) -> Iterator[Iterator[bytes]]:
        happens = self.events.pop()() if self.events else None
        with super().read(repository, digest) as chunks:
            yield chunks if happens is None else iter((b"misread",))


@pytest.fixture
def twice(plane: MemoryPlane, tmp_path: Path) -> tuple[_Unsteady, RawManifest]:
    """Lay the same manifest down in two repositories on the disk of a registry of ours."""
    manifest = raw_manifest(b'{"schemaVersion": 2}', OCI_MANIFEST)
    plane.site.disk = disk = _Unsteady(tmp_path / "data")
    index = json.dumps({"manifests": [{"digest": manifest.digest}]})
    for repository in ("first", "second"):
        plane.site.manifests[repository, manifest.digest] = manifest
        copy = _copy(tmp_path, repository, manifest.digest)
        copy.parent.mkdir(parents=True)
        copy.write_bytes(manifest.raw)
        (tmp_path / "data" / repository / "index.json").write_text(index)
    return disk, manifest


def _copy(directory: Path, repository: str, digest: Digest) -> Path:
    return directory / "data" / repository / "blobs/sha256" / digest.removeprefix("sha256:")


def test_a_copy_that_is_withdrawn_before_it_is_read_is_no_damage(
    plane: MemoryPlane, twice: tuple[_Unsteady, RawManifest], tmp_path: Path
) -> None:
    disk, manifest = twice
    disk.events = [_copy(tmp_path, "first", manifest.digest).unlink]
    plane.executor.mend(idle_s=0.0)
    assert _copy(tmp_path, "second", manifest.digest).read_bytes() == manifest.raw


def test_what_is_read_wrong_once_is_read_again(
    plane: MemoryPlane, twice: tuple[_Unsteady, RawManifest], tmp_path: Path
) -> None:
    disk, manifest = twice
    disk.events = [lambda: "a bit that turned on its way"]
    plane.executor.mend(idle_s=0.0)
    assert _copy(tmp_path, "first", manifest.digest).read_bytes() == manifest.raw


def test_a_copy_that_is_wrong_goes_from_every_repository(
    plane: MemoryPlane, twice: tuple[_Unsteady, RawManifest], tmp_path: Path
) -> None:
    _, manifest = twice
    _copy(tmp_path, "first", manifest.digest).write_bytes(b"damaged")
    plane.executor.mend(idle_s=0.0)
    assert not any(_copy(tmp_path, repository, manifest.digest).exists() for repository in ("first", "second"))


@pytest.fixture
def away(plane: MemoryPlane) -> Edition:
    """Publish an image, refuse it by a rule that is taken back, and lose the source."""
    plane.want(*plane.base, plane.push("app"))
    edition = plane.publish("hub/app:1")
    plane.editions.refuse(edition)
    plane.upstream.repositories.clear()
    plane.upstream.asked.clear()
    return edition


async def test_what_a_rule_refused_that_was_taken_back_stays_without_the_source(
    plane: MemoryPlane, away: Edition
) -> None:
    changed = asyncio.Event()
    reconciler = Reconciler(plane.executor, plane.editions, now=utc_now, changed=changed.set)
    loop = asyncio.create_task(reconciler.run())
    async with asyncio.timeout(5):
        while away not in plane.editions.site().admitted:
            changed.clear()
            await changed.wait()
    loop.cancel()
    await asyncio.wait((loop,))
    assert plane.site.by_tag["app", "1"] == away.digest
    assert plane.upstream.asked == []


async def test_a_restart_keeps_what_a_rule_refused_that_was_taken_back(plane: MemoryPlane, away: Edition) -> None:
    await Reconciler(plane.executor, plane.editions, now=utc_now).prepare()
    assert away in plane.editions.site().admitted
    assert plane.site.by_tag["app", "1"] == away.digest
    assert plane.upstream.asked == []


async def test_a_restart_withdraws_what_the_rules_refuse(plane: MemoryPlane, away: Edition) -> None:
    plane.want(*plane.base, artifact("hub", "app", away.digest, "1"), block("bad", away.digest))
    await Reconciler(plane.executor, plane.editions, now=utc_now).prepare()
    assert plane.site.manifests == {}
    assert plane.editions.site().begun == frozenset()


def test_an_image_of_which_a_withdrawal_left_a_part_does_not_count_as_published(
    plane: MemoryPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(repository: str, digest: Digest) -> NoReturn:
        raise FleetError(Kind.UNAVAILABLE, "REGISTRY_UNREACHABLE", "away", subject=digest)

    plane.want(*plane.base, plane.push("app"))
    edition = plane.publish("hub/app:1")
    monkeypatch.setattr(plane.site, "delete_manifest", away)
    with pytest.raises(FleetError):
        plane.executor.withdraw(edition)
    site = plane.editions.site()
    assert edition in site.begun
    assert edition not in site.published
