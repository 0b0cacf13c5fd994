"""A source and its mirrors: who is asked, who rests, and whose word counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from edge.adapters.mirrors import FIRST_REST, LONGEST_REST, Mirrored
from edge.domain.content import OCI_MANIFEST, Descriptor, RawManifest, raw_manifest
from fleet.errors import FleetError, Kind
from fleet.reference import Digest, digest_of

MANIFEST = raw_manifest(b"{}", OCI_MANIFEST)
LAYER = bytes(range(256)) * 1000
LAYER_DIGEST = digest_of(LAYER)
REFERRER = Descriptor(OCI_MANIFEST, digest_of(b"a signature"), 11)
AWAY = FleetError(Kind.UNAVAILABLE, "SOURCE_UNREACHABLE", "away")
BUSY = FleetError(Kind.EXHAUSTED, "SOURCE_BUSY", "busy", retry_after=timedelta(minutes=5))
CUT = FleetError(Kind.UNAVAILABLE, "SOURCE_CUT", "cut")
REFUSED = FleetError(Kind.REFUSED, "SOURCE_REFUSED", "refused")


@dataclass
class FakeUpstream:
    """One address: implements `edge.app.ports.Upstream`."""

    failure: FleetError | None = None
    manifests: dict[str, RawManifest] = field(default_factory=lambda: {MANIFEST.digest: MANIFEST, "v1": MANIFEST})
    referring: tuple[Descriptor, ...] = (REFERRER,)
    layer: bytes = LAYER
    cut_at: int = 0
    asked: int = 0
    offsets: list[int] = field(default_factory=list)

    def _answer(self) -> None:
        self.asked += 1
        if self.failure:
            raise self.failure

    def manifest(self, repository: str, reference: str) -> RawManifest:
        self._answer()
        if reference not in self.manifests:
            raise FleetError(Kind.UNKNOWN, "MANIFEST_ABSENT", "absent")
        return self.manifests[reference]

    def referrers(self, repository: str, digest: Digest) -> list[Descriptor]:
        self._answer()
        return list(self.referring)

    @contextmanager
    def blob(
        self,
        repository: str,
        digest: Digest,
        *,
        offset: int = 0,
        size_bytes: int | None = None,
        dropped: Callable[[int], None] | None = None,
    ) -> Iterator[Iterator[bytes]]:
        self._answer()
        self.offsets.append(offset)
        yield self._chunks(offset)

    def _chunks(self, offset: int) -> Iterator[bytes]:
        yield self.layer[offset : self.cut_at or None]
        if self.cut_at:
            raise CUT


@dataclass
class World:
    own: FakeUpstream = field(default_factory=FakeUpstream)
    mirror: FakeUpstream = field(default_factory=FakeUpstream)
    now: float = 0.0

    def __post_init__(self) -> None:
        self.source = Mirrored([self.own, self.mirror], monotonic=lambda: self.now)

    def get(self, reference: str = MANIFEST.digest) -> RawManifest:
        return self.source.manifest("a/b", reference)

    def read(self, offset: int = 0) -> bytes:
        with self.source.blob("a/b", LAYER_DIGEST, offset=offset) as chunks:
            return b"".join(chunks)

    def pass_by(self, span: timedelta) -> None:
        self.now += span.total_seconds()


def test_a_source_that_is_well_is_the_only_one_that_is_asked() -> None:
    world = World()
    world.get()
    assert world.source.referrers("a/b", MANIFEST.digest) == [REFERRER]
    assert world.read() == LAYER
    assert (world.own.asked, world.mirror.asked) == (3, 0)


def test_one_that_does_not_answer_costs_one_request_and_not_one_each_time() -> None:
    world = World(own=FakeUpstream(AWAY))
    for _ in range(10):
        assert world.get() == MANIFEST
    assert (world.own.asked, world.mirror.asked) == (1, 10)


def test_one_that_is_well_again_is_the_first_again() -> None:
    world = World(own=FakeUpstream(AWAY))
    world.get()
    world.own.failure = None
    world.pass_by(FIRST_REST)
    for _ in range(3):
        world.get()
    assert (world.own.asked, world.mirror.asked) == (4, 1)


def test_one_that_stays_away_rests_longer_each_time_up_to_a_limit() -> None:
    world = World(own=FakeUpstream(AWAY))
    for _ in range(3600):
        world.get()
        world.pass_by(timedelta(seconds=1))
    assert 3600 / LONGEST_REST.total_seconds() <= world.own.asked < 40


def test_one_that_asks_for_patience_gets_it() -> None:
    world = World(own=FakeUpstream(BUSY))
    for _ in range(299):
        world.get()
        world.pass_by(timedelta(seconds=1))
    assert world.own.asked == 1


def test_when_all_are_away_each_is_asked_and_the_source_s_own_failure_is_told() -> None:
    world = World(own=FakeUpstream(AWAY), mirror=FakeUpstream(CUT))
    for asked in (1, 2):
        with pytest.raises(FleetError) as caught:
            world.get()
        assert caught.value is AWAY
        assert (world.own.asked, world.mirror.asked) == (asked, asked)


@pytest.mark.parametrize("failure", [REFUSED, FleetError(Kind.UNKNOWN, "MANIFEST_ABSENT", "absent")])
def test_the_source_s_own_word_counts(failure: FleetError) -> None:
    world = World(own=FakeUpstream(failure))
    with pytest.raises(FleetError) as caught:
        world.get()
    assert caught.value is failure
    assert world.mirror.asked == 0


@pytest.mark.parametrize("failure", [REFUSED, AWAY])
def test_a_mirror_that_does_not_help_does_not_end_it(failure: FleetError) -> None:
    own, last = FakeUpstream(AWAY), FakeUpstream()
    source = Mirrored([own, FakeUpstream(failure), FakeUpstream(manifests={}), last])
    assert source.manifest("a/b", MANIFEST.digest) == MANIFEST
    assert last.asked == 1


def test_what_a_mirror_lacks_is_not_absent_while_the_source_is_away() -> None:
    world = World(own=FakeUpstream(AWAY), mirror=FakeUpstream(manifests={}))
    with pytest.raises(FleetError) as caught:
        world.get()
    assert caught.value is AWAY


def test_what_a_mirror_lacks_is_asked_of_a_source_that_rests_after_a_hiccup() -> None:
    world = World(own=FakeUpstream(AWAY), mirror=FakeUpstream(manifests={}, referring=()))
    with pytest.raises(FleetError):
        world.get()
    world.own.failure = None
    assert world.get("v1") == MANIFEST
    assert world.source.referrers("a/b", MANIFEST.digest) == [REFERRER]


def test_a_tag_or_referrer_that_mirrors_lack_is_absent_while_the_source_stays_away_and_costs_it_nothing() -> None:
    world = World(own=FakeUpstream(AWAY), mirror=FakeUpstream(manifests={MANIFEST.digest: MANIFEST}, referring=()))
    for _ in range(20):
        world.get()
        with pytest.raises(FleetError) as caught:
            world.get("v1")
        assert caught.value.reason == "MANIFEST_ABSENT"
        assert world.source.referrers("a/b", MANIFEST.digest) == []
    assert world.own.asked == 2


def test_a_layer_that_breaks_off_goes_on_at_the_next() -> None:
    world = World(own=FakeUpstream(cut_at=1000))
    with pytest.raises(FleetError) as caught:
        world.read()
    assert caught.value is CUT
    assert world.read(1000) == LAYER[1000:]
    assert (world.own.offsets, world.mirror.offsets) == ([0], [1000])


@pytest.mark.parametrize("spoiled", ["own", "mirror"])
def test_one_that_serves_other_bytes_is_passed_by_from_then_on(spoiled: str) -> None:
    bad = FakeUpstream(layer=LAYER[:-1] + b"!")
    world = World(own=bad) if spoiled == "own" else World(own=FakeUpstream(AWAY), mirror=bad)
    with pytest.raises(FleetError) as caught:
        world.read()
    assert (caught.value.kind, caught.value.reason) == (Kind.CORRUPT, "DIGEST_MISMATCH")
    world.own.failure = None
    assert world.read() == LAYER


def test_while_one_thread_tries_a_source_again_the_others_do_not_wait_for_it() -> None:
    world = World(own=FakeUpstream(AWAY))
    world.get()
    world.pass_by(FIRST_REST)
    trying = world.source._order()[0]
    assert trying.place == 0
    assert world.source._order()[0].place == 1
