"""What the governor lets through: in which requests, how much, and what it says where it lets nothing through."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from edge.app.govern import HEADER_BYTES, LEAST_RANGE_BYTES, Governor
from edge.app.governed import GovernedUpstream
from edge.app.meter import Meter
from edge.domain.content import OCI_MANIFEST, Descriptor, RawManifest, raw_manifest
from edge.domain.link import Period
from fleet.errors import FleetError, Kind
from fleet.link import Link, Window
from fleet.reference import Digest, digest_of

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
BLOB = bytes(range(256)) * 4096
DIGEST = digest_of(BLOB)
CHUNK = 64 << 10
KIB = 1024


@dataclass
class Traffic:
    """Implements `TrafficLog`."""

    quarters: dict[int, int] = field(default_factory=dict)
    is_full: bool = False

    def count(self, quarter: int, size_bytes: int) -> None:
        if self.is_full:
            raise FleetError(Kind.UNAVAILABLE, "JOURNAL_FULL", "no space")
        self.quarters[quarter] = self.quarters.get(quarter, 0) + size_bytes

    def traffic(self, first: int, last: int) -> int:
        return sum(size for quarter, size in self.quarters.items() if first <= quarter <= last)


@dataclass
class Ranged:
    """A source with one blob that remembers its requests: `(offset, size)`, None for all."""

    knows_ranges: bool = True
    requests: list[tuple[int, int | None]] = field(default_factory=list)
    cut_at: int | None = None

    def manifest(self, repository: str, reference: str) -> RawManifest:
        if reference == "absent":
            raise FleetError(Kind.UNKNOWN, "MANIFEST_ABSENT", "none")
        return raw_manifest(b"{}" * 5000, OCI_MANIFEST)

    def referrers(self, repository: str, digest: Digest) -> list[Descriptor]:
        return [Descriptor("a/b", DIGEST, 1)] * 3

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
        self.requests.append((offset, size_bytes))
        if offset and not self.knows_ranges and dropped:
            dropped(offset)
        content = BLOB[offset:] if size_bytes is None or not self.knows_ranges else BLOB[offset : offset + size_bytes]
        yield self._chunks(content)

    def _chunks(self, content: bytes) -> Iterator[bytes]:
        for at in range(0, len(content), CHUNK):
            if self.cut_at is not None and at >= self.cut_at:
                raise FleetError(Kind.UNAVAILABLE, "SOURCE_CUT", "cut")
            yield content[at : at + CHUNK]


def _lowest() -> int:
    return 0


class World:
    """A governor with a clock that the test turns."""

    def __init__(self, link: Link, traffic: Traffic | None = None) -> None:
        self.at = NOON
        self.traffic = traffic or Traffic()
        self.meter = Meter(self.traffic, now=lambda: self.at)
        self.governor = Governor(self.meter, now=lambda: self.at)
        self.governor.obey(link)
        self.source = Ranged()

    def read(self, *, priority: int = 0, offset: int = 0) -> bytes:
        """Read the blob to its end."""
        with self.open(priority).blob("app", DIGEST, offset=offset) as chunks:
            return b"".join(chunks)

    def read_until_refused(
        self, *, offset: int = 0, meanwhile: Callable[[], object] = lambda: None
    ) -> tuple[bytes, FleetError]:
        """Read the blob as far as it comes: `→ that, and the error at its end`."""
        read = bytearray()
        try:
            with self.open().blob("app", DIGEST, offset=offset) as chunks:
                for chunk in chunks:
                    read += chunk
                    meanwhile()
        except FleetError as error:
            return bytes(read), error
        raise AssertionError("it was not refused")

    def open(self, priority: int = 0) -> GovernedUpstream:
        return GovernedUpstream(self.source, self.governor, lambda: priority)

    def spent(self, period: Period) -> int:
        return next(one.spent_bytes for one in self.governor.standing().budgets if one.period is period)


def test_without_limits_a_blob_is_one_request() -> None:
    world = World(Link())
    assert world.read() == BLOB
    assert world.read(offset=10) == BLOB[10:]
    assert world.source.requests == [(0, None), (10, None)]


def test_under_a_budget_a_blob_comes_whole_in_ranges_that_follow_on_one_another() -> None:
    world = World(Link(day_budget_bytes=10 * len(BLOB)))
    assert world.read() == BLOB
    at = 0
    for offset, size in world.source.requests:
        assert offset == at
        assert size is not None
        at += size
    assert len(world.source.requests) > 1


def test_a_budget_lets_no_more_through_and_says_until_when() -> None:
    world = World(Link(day_budget_bytes=300_000, time_zone="Europe/Berlin"))
    read, error = world.read_until_refused()
    assert error.reason == "LINK_BUDGET_SPENT"
    midnight = datetime(2026, 6, 1, 22, 0, tzinfo=UTC)
    assert error.retry_after == midnight - NOON
    crossed = len(read) + HEADER_BYTES * len(world.source.requests)
    assert 0.98 * 300_000 <= crossed <= 300_000
    world.at = midnight
    more, _ = world.read_until_refused(offset=len(read))
    assert read + more == BLOB[: len(read + more)]
    assert len(more) >= 0.9 * len(read)


def test_what_another_request_may_give_back_is_waited_for() -> None:
    world = World(Link(day_budget_bytes=100_000))
    first = world.governor.grant(_lowest, 90_000)
    second: list[int] = []
    thread = threading.Thread(target=lambda: second.append(world.governor.grant(_lowest, 10_000).size_bytes))
    thread.start()
    first.count(1000)
    first.settle()
    thread.join(10)
    assert second == [10_000]


def test_a_closed_window_refuses_everything_but_what_is_exempt() -> None:
    night = Link(windows=(Window("0 22 * * *", 6 * 3600),), exempt_priority=80)
    world = World(night)
    for refused in (
        lambda: world.read(priority=79),
        lambda: world.open().manifest("app", "1"),
        lambda: world.open().referrers("app", DIGEST),
    ):
        with pytest.raises(FleetError, match="LINK_WINDOW_CLOSED") as raised:
            refused()
        assert raised.value.kind is Kind.EXHAUSTED
        assert raised.value.retry_after == timedelta(hours=10)
    assert not world.source.requests
    assert world.read(priority=80) == BLOB
    assert world.source.requests == [(0, None)]
    world.at = NOON + timedelta(hours=10)
    assert world.read() == BLOB


def test_a_window_that_closes_in_mid_blob_ends_it_after_the_range_under_way() -> None:
    world = World(Link(windows=(Window("0 11 * * *", 7200),)))

    def close() -> None:
        world.at = NOON + timedelta(hours=1)

    read, error = world.read_until_refused(meanwhile=close)
    assert error.reason == "LINK_WINDOW_CLOSED"
    assert len(world.source.requests) == 1
    assert world.source.requests[0][1] == len(read)


def test_a_limit_that_comes_meanwhile_holds_for_a_blob_under_way() -> None:
    world = World(Link())
    read = bytearray()
    with world.open().blob("app", DIGEST) as chunks:
        for chunk in chunks:
            read += chunk
            world.governor.obey(Link(day_budget_bytes=10 * len(BLOB)))
    assert read == BLOB
    assert [size is None for _, size in world.source.requests[:2]] == [True, False]


def test_a_source_that_knows_no_ranges_is_read_to_its_end_and_counted() -> None:
    world = World(Link(day_budget_bytes=10 * len(BLOB)))
    world.source.knows_ranges = False
    assert world.read() == BLOB
    assert len(world.source.requests) == 1
    assert world.spent(Period.DAY) == len(BLOB) + HEADER_BYTES


def test_a_source_that_knows_no_ranges_ends_with_the_budget() -> None:
    world = World(Link(day_budget_bytes=500_000))
    world.source.knows_ranges = False
    with pytest.raises(FleetError, match="LINK_BUDGET_SPENT"):
        world.read()
    assert 500_000 - 5000 <= world.spent(Period.DAY) <= 500_000 + CHUNK


def test_what_a_cut_left_behind_is_given_back() -> None:
    world = World(Link(day_budget_bytes=10 * len(BLOB)))
    world.source.cut_at = CHUNK
    with pytest.raises(FleetError, match="SOURCE_CUT"):
        world.read()
    assert world.spent(Period.DAY) == HEADER_BYTES + CHUNK


def test_manifests_lists_and_what_is_absent_count_too() -> None:
    world = World(Link(day_budget_bytes=10 * len(BLOB)))
    world.open().manifest("app", "1")
    assert world.spent(Period.DAY) == 10_000 + HEADER_BYTES
    world.open().referrers("app", DIGEST)
    with pytest.raises(FleetError, match="MANIFEST_ABSENT"):
        world.open().manifest("app", "absent")
    assert world.spent(Period.DAY) == 10_000 + 900 + 3 * HEADER_BYTES


def test_what_came_without_a_budget_counts_for_one_that_is_set_later_and_after_a_restart() -> None:
    world = World(Link())
    world.read()
    world.governor.stop()
    again = World(Link(month_budget_bytes=2 * len(BLOB), hour_budget_bytes=10 * len(BLOB)), world.traffic)
    again.at = NOON + timedelta(hours=2)
    assert again.spent(Period.MONTH) == len(BLOB) + HEADER_BYTES
    assert again.spent(Period.HOUR) == 0


def test_under_a_budget_each_step_is_journaled_before_it_is_taken() -> None:
    world = World(Link(day_budget_bytes=10 * len(BLOB)))
    with world.open().blob("app", DIGEST) as chunks:
        next(chunks)
        assert world.traffic.traffic(0, 1 << 40) >= LEAST_RANGE_BYTES


def test_a_journal_that_is_full_does_not_stop_the_count() -> None:
    world = World(Link(day_budget_bytes=10 * len(BLOB)))
    world.traffic.is_full = True
    world.read()
    spent = world.spent(Period.DAY)
    assert spent >= len(BLOB)
    world.traffic.is_full = False
    world.meter.flush()
    assert world.traffic.traffic(0, 1 << 40) == spent


def test_who_waits_for_the_rate_hears_of_a_stop_and_of_another_rate() -> None:
    for end in (Governor.stop, lambda governor: governor.obey(Link())):
        world = World(Link(rate_bytes_per_second=1000))
        world.governor.grant(_lowest, 1 << 30)
        outcomes: list[object] = []

        def ask(world: World = world, outcomes: list[object] = outcomes) -> None:
            try:
                outcomes.append(world.governor.grant(_lowest, 1).size_bytes)
            except FleetError as error:
                outcomes.append(error.reason)

        thread = threading.Thread(target=ask)
        thread.start()
        end(world.governor)
        thread.join(10)
        assert outcomes in (["TRANSFER_STOPPED"], [0])


def test_what_a_source_without_ranges_sends_once_more_is_paid_for() -> None:
    world = World(Link(day_budget_bytes=10 * len(BLOB)))
    world.source.knows_ranges = False
    assert world.read(offset=len(BLOB) // 2) == BLOB[len(BLOB) // 2 :]
    assert world.spent(Period.DAY) >= len(BLOB)
