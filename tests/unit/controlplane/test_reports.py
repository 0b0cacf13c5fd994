"""Reports that tell progress alone are written at a bounded rate; each satellite's newest has its turn."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from controlplane.domain.status import ArtifactState, Report, ResourceException, SessionKey, only_progressed
from controlplane.rpc.reports import PROGRESS_PER_S, Reports
from fleet.errors import FleetError, Kind
from fleet.position import Position
from tests.rig.virtual_time import VirtualLoop

MOVING = ResourceException(1, "hub/nginx:1", state=ArtifactState.WAITING, reason="TRANSFERRING", done_bytes=1)


def report(sequence: int, *, done: int = 1, **changed: Any) -> Report:
    exceptions = (replace(MOVING, done_bytes=done, **changed),)
    return Report(sequence, Position(1, 1), bytes(32), desired=1, waiting=1, exceptions=exceptions)


def session(number: int) -> SessionKey:
    return SessionKey(f"kiosk-{number}", b"b" * 16, 1)


class Book:
    """Keeps what is recorded, and when; what it does not take it refuses."""

    def __init__(self) -> None:
        self.kept: list[tuple[float, str, int]] = []
        self.refuses: set[str] = set()

    async def record_report(self, satellite: str, boot_id: bytes, session_number: int, report: Report) -> bool:
        if satellite in self.refuses:
            raise FleetError(Kind.UNAVAILABLE, "STORE_UNAVAILABLE", "the database does not answer")
        self.kept.append((asyncio.get_running_loop().time(), satellite, report.sequence))
        return True


def run(book: Book, story: Callable[[Reports], Awaitable[None]]) -> None:
    async def told() -> None:
        reports = Reports(book)
        running = asyncio.ensure_future(reports.run())
        await story(reports)
        assert not running.done()
        running.cancel()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(told())


def test_what_a_report_tells_beside_progress_is_never_put_off() -> None:
    first = report(1)
    later = datetime(2026, 1, 1, tzinfo=UTC)
    assert only_progressed(first, report(2, done=5, rate_bytes_per_s=9, total_bytes=8, retry_at=later))
    assert not only_progressed(None, first)
    assert not only_progressed(first, report(2, reason="PUBLISHING"))
    assert not only_progressed(first, report(2, text="again"))
    assert not only_progressed(first, replace(report(2), published=1))
    assert not only_progressed(first, replace(report(2), exceptions=()))


def test_where_few_are_under_way_nobody_waits() -> None:
    book = Book()

    async def story(reports: Reports) -> None:
        for second in range(10):
            await asyncio.sleep(second + 1 - asyncio.get_running_loop().time())
            for number in range(3):
                reports.put_off(session(number), report(second))

        await asyncio.sleep(1)

    run(book, story)
    assert len(book.kept) == 30
    assert all(at < sequence + 1.1 for at, _, sequence in book.kept)


def test_ten_thousand_share_a_bounded_rate_and_each_has_its_turn() -> None:
    book, sites = Book(), 10_000

    async def story(reports: Reports) -> None:
        for sequence in range(30):
            for number in range(sites):
                reports.put_off(session(number), report(sequence))
            await asyncio.sleep(2)

    run(book, story)
    assert len(book.kept) <= 60 * PROGRESS_PER_S * 1.1
    assert len({satellite for _, satellite, _ in book.kept}) == sites
    assert all(sequence >= int(at / 2) - 1 for at, _, sequence in book.kept), "an old one was written"


def test_a_store_that_does_not_answer_ends_nothing() -> None:
    book = Book()
    book.refuses = {"kiosk-1"}

    async def story(reports: Reports) -> None:
        for number in range(3):
            reports.put_off(session(number), report(1))
        await asyncio.sleep(1)
        book.refuses = set()
        reports.put_off(session(1), report(2))
        await asyncio.sleep(1)

    run(book, story)
    assert sorted((satellite, sequence) for _, satellite, sequence in book.kept) == [
        ("kiosk-0", 1),
        ("kiosk-1", 2),
        ("kiosk-2", 1),
    ]
