"""Streams that end, or are followed by the next, while what they brought is being journaled."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edge.adapters.journal.holdings import Holdings
from edge.adapters.journal.journal import Journal
from edge.app.control import Control
from edge.app.ground_control import Attested, Lifecycle, Opening, SourceCredential
from edge.domain.clock import ClockState, Reading
from edge.domain.desired import Enforced
from edge.domain.health import Health
from edge.domain.holding import Binding, Holding, Resource, ScopeDelta, holding_digest
from edge.domain.report import Report
from edge.domain.session import BindingsTold, Body, Part, Received, Staged, Unchanged
from fleet.digests import EMPTY_SCOPE
from fleet.errors import FleetError, Kind
from fleet.position import Position
from tests.rig.identity import eventually

CHUNK = b"delta"
BINDING = Binding("fleet", 1, EMPTY_SCOPE)
PART = Part(BINDING, b"", hashlib.sha256(CHUNK).digest(), len(CHUNK), 0, CHUNK)
CUT = FleetError(Kind.UNAVAILABLE, "LINK_DROPPED", "the link is gone")
SOON, LATER = timedelta(milliseconds=600), timedelta(hours=1)


class Clock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def read(self) -> Reading:
        return Reading(self.now(), ClockState.SYNCED)

    def told(self, server_time: datetime) -> None:
        del server_time


@dataclass
class Stream:
    """A stream that answers a Subscribe by "unchanged", then says what the test wants."""

    opening: Opening | None = None
    numbers: int = 0
    coming: asyncio.Queue[Received | FleetError] = field(default_factory=asyncio.Queue)

    def say(self, body: Body, *, complete: bool = False) -> None:
        self.numbers += 1
        self.coming.put_nowait(Received(self.numbers, Position(1, self.numbers), datetime.now(UTC), complete, body))

    def update(self) -> None:
        self.say(BindingsTold((BINDING,)))
        self.say(PART, complete=True)

    async def subscribe(self, opening: Opening) -> None:
        self.opening = opening
        self.say(Unchanged(holding_digest(opening.holding)))

    async def receive(self) -> Received | None:
        said = await self.coming.get()
        if isinstance(said, FleetError):
            raise said
        return said

    def read_delta(self, staged: Staged, content: bytes) -> ScopeDelta:
        assert content == CHUNK
        return ScopeDelta(staged.binding, staged.from_digest, (), ())

    async def inventory(self, scope: str, resources: Iterable[Resource]) -> None:
        raise AssertionError

    async def resync(self, scope: str, digest: bytes) -> None:
        raise AssertionError("what the stream before brought is not what this one began with")

    async def report(self, sequence: int, report: Report) -> None:
        pass

    async def health(self, health: Health) -> None:
        raise AssertionError


class GroundControl:
    """Links whose streams the test plays; the first one's certificate ends soon, if so wished."""

    peer_not_after = None

    def __init__(self, first: timedelta) -> None:
        self.first = first
        self.streams: list[Stream] = []

    @property
    def svid_not_after(self) -> datetime:
        return datetime.now(UTC) + (LATER if self.streams else self.first)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[GroundControl]:
        yield self

    async def attest(self, clock: Reading) -> Attested:
        del clock
        return Attested("site", Lifecycle.ACTIVE, timedelta(), timedelta(milliseconds=100), None)

    @asynccontextmanager
    async def stream(self) -> AsyncIterator[Stream]:
        self.streams.append(Stream())
        yield self.streams[-1]

    async def source_credential(self, source: str) -> SourceCredential:
        raise AssertionError(source)


class SlowDisk(Holdings):
    """The real journal, on a disk that takes its time, or is full."""

    def __init__(self, journal: Journal) -> None:
        super().__init__(journal.database)
        self.began, self.goes_on = threading.Event(), threading.Event()
        self.is_full = False

    def see_room(self) -> None:
        if self.is_full:
            raise FleetError(Kind.UNAVAILABLE, "JOURNAL_FULL", "the disk of the journal is full")

    def adopt(self, position: Position) -> None:
        self.see_room()
        super().adopt(position)

    def hold(self, before: Holding, after: Holding, good: object, position: Position) -> None:
        self.began.set()
        assert self.goes_on.wait(20)
        self.see_room()
        super().hold(before, after, good, position)  # type: ignore[arg-type] # as it came


class Site:
    """A control loop that runs."""

    def __init__(self, journal: Journal, first: timedelta) -> None:
        self.disk, self.ground_control = SlowDisk(journal), GroundControl(first)
        self.enforced: list[Enforced] = []
        report = Report(None, b"", b"", {})
        self.control = Control(
            self.ground_control, self.disk, Clock(), enforce=self.enforced.append, report=lambda: report
        )

    async def stream(self, number: int) -> Stream:
        """Wait for a stream."""
        await eventually(lambda: len(self.ground_control.streams) >= number)
        return self.ground_control.streams[number - 1]

    async def hang_in_an_update(self) -> Stream:
        """Have the first stream bring an update, and the disk stand still over it."""
        stream = await self.stream(1)
        await self.control.linked.wait()
        stream.update()
        await eventually(self.disk.began.is_set)
        return stream


@asynccontextmanager
async def site_of(tmp_path: Path, *, first: timedelta) -> AsyncIterator[Site]:
    journal = Journal.open(tmp_path / "journal.db")
    site = Site(journal, first)
    running = asyncio.create_task(site.control.run())
    try:
        yield site
    finally:
        site.disk.goes_on.set()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        journal.close()


@pytest.mark.parametrize("is_cut", [False, True], ids=["followed", "cut"])
async def test_what_is_being_journaled_is_enforced_and_the_next_stream_begins_with_it(
    tmp_path: Path, *, is_cut: bool
) -> None:
    async with site_of(tmp_path, first=LATER if is_cut else SOON) as site:
        first = await site.hang_in_an_update()
        if is_cut:
            first.coming.put_nowait(CUT)
            await asyncio.sleep(0.2)  # it is heard of, and would be tried again
        else:
            await site.stream(2)
        site.disk.goes_on.set()
        second = await site.stream(2)
        await eventually(lambda: second.opening is not None and site.control.status.session_number == 2)
        assert second.opening is not None
        assert set(second.opening.holding) == {"fleet"}
        assert [one.digest for one in site.enforced] == [holding_digest(second.opening.holding)]
        assert site.disk.holding() == site.control.holding


async def test_a_part_that_comes_late_is_not_staged_for_a_stream_that_has_begun(tmp_path: Path) -> None:
    async with site_of(tmp_path, first=SOON) as site:
        first = await site.hang_in_an_update()
        await site.stream(2)
        first.say(PART)
        site.disk.goes_on.set()
        second = await site.stream(2)
        await eventually(lambda: second.opening is not None and site.control.status.session_number == 2)
        assert not site.disk.staged()


async def test_what_is_being_journaled_is_enforced_however_many_streams_break_meanwhile(tmp_path: Path) -> None:
    async with site_of(tmp_path, first=SOON) as site:
        first = await site.hang_in_an_update()
        first.coming.put_nowait(CUT)
        second = await site.stream(2)  # it waits for what the first one brought
        second.coming.put_nowait(CUT)
        await asyncio.sleep(0.2)
        site.disk.goes_on.set()
        await eventually(lambda: bool(site.enforced))
        last = await site.stream(3)
        await eventually(lambda: last.opening is not None)
        assert last.opening is not None
        assert set(last.opening.holding) == {"fleet"}


async def test_a_full_disk_ends_no_stream_that_brings_nothing(tmp_path: Path) -> None:
    async with site_of(tmp_path, first=LATER) as site:
        site.disk.is_full = True
        first = await site.stream(1)
        await site.control.linked.wait()
        first.say(Unchanged(holding_digest({})))
        await eventually(first.coming.empty)
        await asyncio.sleep(0.2)
        assert site.control.status.session_number == 1
        assert len(site.ground_control.streams) == 1


async def test_streams_whose_update_finds_no_room_come_ever_less_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[int] = []

    def retry(_left: object, *, failures: int, **_: object) -> timedelta:
        tried(failures)
        return timedelta(milliseconds=10)

    tried = failures.append
    monkeypatch.setattr("edge.domain.session.retry", retry)
    async with site_of(tmp_path, first=LATER) as site:
        site.disk.goes_on.set()
        site.disk.is_full = True
        for number in range(1, 5):
            (await site.stream(number)).update()
            await eventually(lambda number=number: len(failures) >= number)  # type: ignore[misc] # of this round
        assert failures == [0, 1, 2, 3]
        site.disk.is_full = False
        last = await site.stream(5)
        last.update()
        await eventually(lambda: bool(site.enforced))
