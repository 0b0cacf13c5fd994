"""Sync windows and periods against a dumb oracle that looks at every minute of the days around."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge.domain.link import HORIZON, Period, bounds, opening
from fleet.link import Link, Window, check_link

MINUTE = timedelta(minutes=1)
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "America/St_Johns", "Asia/Kathmandu", "Australia/Sydney")
TURNS = tuple(
    datetime(2026, month, day, hour, tzinfo=UTC)
    for month, day, hour in ((3, 29, 0), (10, 25, 0), (3, 8, 0), (11, 1, 0), (4, 4, 12), (10, 3, 12))
)
"""Days on which clocks change in those zones."""
DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")


@dataclass(frozen=True)
class Field:
    """What a field's text means, known without reading it."""

    text: str
    values: frozenset[int]

    @property
    def is_star(self) -> bool:
        return self.text.startswith("*")


@st.composite
def fields(draw: st.DrawFn, low: int, high: int) -> Field:
    match draw(st.sampled_from(("star", "step", "list", "range"))):
        case "star":
            return Field("*", frozenset(range(low, high + 1)))
        case "step":
            step = draw(st.integers(2, max(2, (high - low) // 2)))
            return Field(f"*/{step}", frozenset(range(low, high + 1, step)))
        case "list":
            some = draw(st.lists(st.integers(low, high), min_size=1, max_size=3))
            return Field(",".join(map(str, some)), frozenset(some))
        case _:
            first = draw(st.integers(low, high))
            last = draw(st.integers(first, high))
            return Field(f"{first}-{last}", frozenset(range(first, last + 1)))


@st.composite
def weekdays(draw: st.DrawFn) -> Field:
    if draw(st.booleans()):
        return Field("*", frozenset(range(7)))
    some = draw(st.lists(st.integers(0, 6), min_size=1, max_size=3))
    return Field(",".join(DAYS[day] for day in some), frozenset(some))


@dataclass(frozen=True)
class Times:
    """When a window begins, as fields."""

    minute: Field
    hour: Field
    weekday: Field
    duration_s: int

    @property
    def window(self) -> Window:
        return Window(f"{self.minute.text} {self.hour.text} * * {self.weekday.text}", self.duration_s)

    def begins(self, zone: ZoneInfo, since: datetime, until: datetime) -> set[datetime]:
        """Every beginning in a span, by looking at each minute."""
        if self.minute.is_star or self.hour.is_star:
            return {moment for moment in _minutes(since, until) if self._matches(moment.astimezone(zone))}
        return {moment for moment in self._fixed(zone, since, until) if since <= moment < until}

    def _matches(self, wall: datetime) -> bool:
        day = (wall.weekday() + 1) % 7
        return wall.minute in self.minute.values and wall.hour in self.hour.values and day in self.weekday.values

    def _fixed(self, zone: ZoneInfo, since: datetime, until: datetime) -> Iterable[datetime]:
        """Each wall clock time of each day: the first where it comes twice, the moment after where it never does."""
        day = since.date() - timedelta(days=2)
        while day < until.date() + timedelta(days=2):
            for hour in range(24):
                for minute in range(60):
                    wall = datetime.combine(day, time(hour, minute))
                    if self._matches(wall):
                        yield _moment(wall, zone)
            day += timedelta(days=1)


def _moment(wall: datetime, zone: ZoneInfo) -> datetime:
    while True:
        moment = wall.replace(tzinfo=zone).astimezone(UTC)
        if moment.astimezone(zone).replace(tzinfo=None) == wall:
            return moment
        wall += MINUTE


def _minutes(since: datetime, until: datetime) -> Iterable[datetime]:
    while since < until:
        yield since
        since += MINUTE


durations = st.integers(1, 40).map(lambda minutes: minutes * 60) | st.integers(1, 30).map(lambda hours: hours * 3600)
times = st.builds(Times, fields(0, 59), fields(0, 23), weekdays(), durations)
moments = st.builds(
    lambda day, minutes, seconds: day + timedelta(minutes=minutes, seconds=seconds),
    st.sampled_from(TURNS), st.integers(-2000, 2000) | st.integers(-200, 200), st.sampled_from((0, 0, 30)),
)  # fmt: skip


TWICE = Times(Field("30", frozenset({30})), Field("2", frozenset({2})), Field("*", frozenset(range(7))), 600)
"""At half past two, which comes twice in Berlin on the last Sunday of October."""


@example([TWICE], "Europe/Berlin", datetime(2026, 10, 25, 0, 35, tzinfo=UTC))
@example([TWICE], "Europe/Berlin", datetime(2026, 10, 25, 1, 20, tzinfo=UTC))
@example([TWICE], "Europe/Berlin", datetime(2026, 10, 25, 1, 35, tzinfo=UTC))
@example([TWICE], "Europe/Berlin", datetime(2026, 3, 29, 1, 5, tzinfo=UTC))
@given(st.lists(times, min_size=1, max_size=2), st.sampled_from(ZONES), moments)
@settings(max_examples=150, deadline=None)
def test_a_window_is_open_exactly_when_the_oracle_says_so(said: list[Times], zone: str, at: datetime) -> None:
    link = check_link(Link(windows=tuple(one.window for one in said), time_zone=zone))
    found = opening(link, at)
    ahead = at + HORIZON
    spans = [
        (begin, begin + timedelta(seconds=one.duration_s))
        for one in said
        for begin in one.begins(ZoneInfo(zone), at.replace(second=0) - timedelta(seconds=one.duration_s), ahead)
    ]

    def is_open(moment: datetime) -> bool:
        return any(begin <= moment < end for begin, end in spans)

    assert found.is_open == is_open(at)
    turns = sorted(moment for span in spans for moment in span if at < moment <= ahead)
    turn = next((moment for moment in turns if is_open(moment) != is_open(at)), None)
    if turn is not None and turn < ahead:
        assert found.until == turn
    else:
        assert found.until is None or found.until >= ahead


@given(st.sampled_from(list(Period)), st.sampled_from((*ZONES, "America/Havana", "Australia/Lord_Howe")), moments)
@settings(deadline=None)
def test_a_period_holds_its_moment_and_begins_on_the_sites_calendar(period: Period, zone: str, at: datetime) -> None:
    begin, end = bounds(period, at, ZoneInfo(zone))
    assert begin <= at < end
    assert begin.timestamp() % 900 == 0, "what is counted by quarters of an hour adds up"
    if period is not Period.HOUR:
        assert bounds(period, end, ZoneInfo(zone))[0] == end, "nothing lies between two periods"
        assert bounds(period, end - timedelta(seconds=1), ZoneInfo(zone))[1] == end
        inside = {_of(period, moment.astimezone(ZoneInfo(zone)).date()) for moment in (begin, at, end - MINUTE)}
        assert len(inside) == 1


def _of(period: Period, day: date) -> tuple[int, ...]:
    return (day.year, day.month, day.day) if period is Period.DAY else (day.year, day.month)
