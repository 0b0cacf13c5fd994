"""What a satellite reports: counts, exceptions in order, bounded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from edge.adapters.wire import write_inventory, write_report
from edge.domain.clock import BUILT_AT, ClockState, Floor, read_clock
from edge.domain.desired import Enforced
from edge.domain.holding import Resource
from edge.domain.link import WINDOW_CLOSED
from edge.domain.plan import Edition, RuleVersions, Setback, Site, Wanted
from edge.domain.progress import Phase, Progress
from edge.domain.report import MAX_EXCEPTIONS, Report, State, is_final, rows, summarize
from edge.domain.retry import pause
from fleet.errors import FleetError, Kind
from fleet.reference import Digest

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DIGESTS = [Digest("sha256:" + letter * 64) for letter in "abcd"]


def edition(name: str, digest: Digest = DIGESTS[0]) -> Edition:
    return Edition(name, "hub", name, name, digest)


def test_each_artifact_is_counted_once_and_the_most_urgent_is_told_first() -> None:
    good, refused, failed, waiting = (edition(name) for name in ("a", "b", "c", "d"))
    old = edition("b", DIGESTS[1])
    site = Site(
        admitted=dict.fromkeys((good, old), RuleVersions()),
        published=frozenset({good, old}),
        setbacks={
            refused: Setback("UNSIGNED", "no\x1b[31m signature", NOW, RuleVersions()),
            failed: Setback("SOURCE_UNREACHABLE", "away", NOW),
        },
    )
    enforced = Enforced(wanted=tuple(Wanted(one, "1") for one in (good, refused, failed, waiting)))
    counts, told, omitted = summarize(*rows(enforced, site, {}, {}))
    assert counts == {State.PUBLISHED: 1, State.REFUSED: 1, State.FAILED: 1, State.WAITING: 1, State.WARNED: 0}
    assert [row.reason for row in told] == ["UNSIGNED", "SOURCE_UNREACHABLE", "QUEUED"]
    assert told[0].serving_digest == old.digest
    assert "\x1b" not in told[0].text
    assert omitted == 0
    assert not is_final(counts)


def test_what_waits_says_why_and_until_when() -> None:
    moving, queued, cut, refused, retried, judged, closed = (edition(name) for name in "abcdefg")
    later = NOW + timedelta(minutes=3)
    setback = Setback("SOURCE_CUT", "it broke", later)
    site = Site(
        setbacks={
            cut: setback,
            retried: setback,
            judged: setback,
            closed: Setback(WINDOW_CLOSED, "the window is closed", later),
            refused: Setback("UNSIGNED", "no signature", later, RuleVersions()),
        }
    )
    progress = {
        moving: Progress(Phase.TRANSFERRING, 10, 40, 5),
        cut: Progress(None, 10, 40),
        retried: Progress(Phase.TRANSFERRING, 20, 40, 5),
        judged: Progress(Phase.JUDGING, 10, 40),
        refused: Progress(Phase.JUDGING),
    }
    wanted = tuple(Wanted(one, "1", size_bytes=30) for one in (moving, queued, cut, refused, retried, judged, closed))
    artifacts, _ = rows(Enforced(wanted=wanted), site, {cut: NOW}, progress)
    found = {row.name: (row.state, row.reason, row.until, row.done_bytes, row.total_bytes) for row in artifacts}
    assert found == {
        "a": (State.WAITING, "TRANSFERRING", None, 10, 40),
        "b": (State.WAITING, "QUEUED", None, 0, 30),
        "c": (State.FAILED, "SOURCE_CUT", later, 10, 40),
        "d": (State.REFUSED, "UNSIGNED", later, 0, 0),
        "e": (State.WAITING, "TRANSFERRING", None, 20, 40),
        "f": (State.FAILED, "SOURCE_CUT", later, 10, 40),
        "g": (State.WAITING, "LINK_WINDOW_CLOSED", later, 0, 30),
    }
    assert {row.name: row.text for row in artifacts}["e"] == "again, after SOURCE_CUT"
    message = write_report(1, Report(None, b"", b"", *summarize(artifacts, ()))).report
    told = {one.name: one for one in message.exceptions}
    assert told["c"].retry_at.ToDatetime(tzinfo=UTC) == later
    assert told["a"].rate_bytes_per_s == 5
    assert not told["a"].HasField("retry_at")


def test_what_is_under_way_is_told_before_what_is_queued() -> None:
    many = tuple(edition(f"n{number:03}") for number in range(MAX_EXCEPTIONS + 10))
    last = many[-1]
    progress = {last: Progress(Phase.TRANSFERRING, 1, 2, 1)}
    _, told, _ = summarize(*rows(Enforced(wanted=tuple(map(Wanted, many))), Site(), {}, progress))
    assert told[0].name == last.name


def test_what_is_left_out_is_said() -> None:
    many = tuple(Wanted(edition(f"n{number}")) for number in range(MAX_EXCEPTIONS + 7))
    counts, told, omitted = summarize(*rows(Enforced(wanted=many), Site(), {}, {}))
    assert (len(told), omitted) == (MAX_EXCEPTIONS, 7)
    message = write_report(1, Report(None, b"", b"", counts, told, omitted)).report
    assert len(message.exceptions) + message.exceptions_omitted == len(many)
    assert message.ByteSize() < 64 * 1024


def test_a_loser_of_a_tag_is_published_and_reported() -> None:
    loser = edition("a")
    enforced = Enforced(wanted=(Wanted(loser),), shadowed={"a": "group/shops"})
    (row,), _ = rows(enforced, Site({loser: RuleVersions()}, published=frozenset({loser})), {}, {})
    assert (row.state, row.reason) == (State.PUBLISHED, "TAG_SHADOWED")


@pytest.mark.parametrize("are_held", [False, True])
def test_what_is_served_is_published_by_the_rules_in_force_alone(are_held: bool) -> None:
    before, now = RuleVersions(block=b"before"), RuleVersions(block=b"now")
    good, unjudged, refused, freed = served = tuple(map(edition, "abcd"))
    site = Site(
        admitted={good: now, unjudged: before},
        begun=frozenset(served),
        published=frozenset(served),
        setbacks={
            refused: Setback("BLOCKED", "a block names it", NOW, now),
            freed: Setback("BLOCKED", "", NOW, before),
        },
    )
    enforced = Enforced(wanted=tuple(Wanted(one, "1") for one in served), versions=now, are_held=are_held)
    artifacts, _ = rows(enforced, site, {}, {})
    pending = (State.PUBLISHED, "") if are_held else (State.WAITING, "JUDGING")
    told = [(State.PUBLISHED, ""), pending, (State.REFUSED, "BLOCKED"), pending]
    assert [(row.state, row.reason) for row in artifacts] == told
    assert artifacts[2].serving_digest == refused.digest


def test_a_refusal_by_rules_that_changed_since_is_none() -> None:
    one = edition("a")
    site = Site(setbacks={one: Setback("UNSIGNED", "no signature", NOW, RuleVersions(b"before"))})
    (row,), _ = rows(Enforced(wanted=(Wanted(one),)), site, {}, {})
    assert (row.state, row.reason) == (State.WAITING, "QUEUED")


def test_an_inventory_is_cut_into_messages_of_bounded_size() -> None:
    held = [Resource(1, f"hub/{number:0500}", b"", bytes(32)) for number in range(400)]
    messages = list(write_inventory("fleet", held))
    assert len(messages) > 1
    assert all(message.ByteSize() <= 64 * 1024 for message in messages)
    assert [message.inventory.complete for message in messages] == [False] * (len(messages) - 1) + [True]
    assert sum(len(message.inventory.entries) for message in messages) == len(held)


def test_time_never_goes_below_the_floor_and_the_floor_only_rises() -> None:
    floor = Floor().told(NOW, monotonic_s=10)
    assert floor.told(NOW - timedelta(days=1), monotonic_s=11) == floor
    reading = read_clock(NOW - timedelta(days=400), floor, monotonic_s=70, is_synced=True)
    assert reading.now == NOW + timedelta(seconds=60)
    assert reading.state is ClockState.FLOOR
    ahead = read_clock(NOW + timedelta(days=1), floor, monotonic_s=70, is_synced=True)
    assert (ahead.now, ahead.state) == (NOW + timedelta(days=1), ClockState.SYNCED)
    bare = read_clock(datetime(1970, 1, 1, tzinfo=UTC), Floor(), monotonic_s=0, is_synced=False)
    assert (bare.now, bare.state) == (BUILT_AT, ClockState.UNKNOWN)


@pytest.mark.parametrize("journaled", [None, NOW])
def test_a_site_without_a_clock_of_its_own_does_not_stand_still(journaled: datetime | None) -> None:
    at_boot = datetime(1970, 1, 1, tzinfo=UTC)
    floor = Floor(journaled, since_s=100)
    early, late = (read_clock(at_boot, floor, monotonic_s=second, is_synced=False) for second in (100, 160))
    assert early.now == (journaled or BUILT_AT)
    assert late.now - early.now == timedelta(seconds=60), "what waits for a time comes to its end"
    assert not late.is_known, "how long the machine was off is not known"


@pytest.mark.parametrize(
    ("behind", "is_known"), [(timedelta(milliseconds=5), True), (timedelta(minutes=6), False)], ids=str
)
def test_after_a_restart_within_a_moment_the_time_is_told_too_unless_it_contradicts(
    behind: timedelta, is_known: bool
) -> None:
    floor = Floor(NOW, since_s=100).told(NOW - behind, monotonic_s=100)
    reading = read_clock(datetime(1970, 1, 1, tzinfo=UTC), floor, monotonic_s=100, is_synced=False)
    assert (reading.now, reading.is_known) == (NOW, is_known)


def test_pauses_grow_to_a_bound_and_honour_what_the_peer_asks() -> None:
    away = FleetError(Kind.UNAVAILABLE, "SOURCE_UNREACHABLE", "")
    waits = [pause(away, failures=count, chance=0.5) for count in range(20)]
    assert waits == sorted(waits)
    assert waits[0] == timedelta(seconds=1)
    assert waits[-1] == timedelta(minutes=1)
    busy = FleetError(Kind.EXHAUSTED, "SOURCE_BUSY", "", retry_after=timedelta(minutes=30))
    assert pause(busy, failures=0, chance=0) == timedelta(minutes=30)
