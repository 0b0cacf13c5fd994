"""What a process tells its streams when it is told to stop, and when their time is over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest

from controlplane.adapters.sql.migrate import migrate
from controlplane.app.fleet import Fleet
from controlplane.bootstrap import open_fleet
from controlplane.config import load_settings
from controlplane.domain.status import SessionKey
from controlplane.home import make_home
from controlplane.rpc.board import ARRIVALS_PER_S, Board, OpenStream
from controlplane.rpc.caller import Peer
from controlplane.rpc.gate import Gate
from controlplane.rpc.turnstile import Turnstile
from fleet.errors import FleetError, Kind
from fleet.identity import SatelliteId
from fleet.protocol import Farewell
from tests.rig.identity import eventually, utc_now


def stream(number: int) -> OpenStream:
    name, at = f"satellite-{number}", utc_now()
    identity = SatelliteId("example.org", "north", name)
    peer = Peer(identity, str(identity), not_before=at, not_after=at, chain=(), fingerprint=b"")
    return OpenStream(peer, SessionKey(name, b"boot", 1))


def farewell(one: OpenStream) -> tuple[Farewell, timedelta | None]:
    assert one.ended is not None
    return one.ended.why, one.ended.retry_after


class Hanging:
    """A fleet whose database neither answers nor refuses."""

    def __init__(self, fleet: Fleet) -> None:
        self.roster = fleet.roster
        self.asked = asyncio.Event()

    async def lost_sessions(self) -> tuple[SessionKey, ...]:
        self.asked.set()
        await asyncio.Event().wait()
        return ()


class Answering:
    """A fleet that tells what was lost until it is forgotten, and may fail to forget it."""

    def __init__(self, fleet: Fleet, *lost: SessionKey) -> None:
        self.roster = fleet.roster
        self.lost = lost
        self.looks = 0
        self.arrive: Callable[[], None] = lambda: None
        """Called before it tells what was lost for the second time."""
        self.failures = 1

    async def lost_sessions(self) -> tuple[SessionKey, ...]:
        self.looks += 1
        if self.looks == 2:
            self.arrive()
        return self.lost

    async def forget_lost(self, lost: Sequence[SessionKey]) -> None:
        if self.failures:
            self.failures -= 1
            raise FleetError(Kind.UNAVAILABLE, "STORE_UNAVAILABLE", "away")
        self.lost = tuple(one for one in self.lost if one not in lost)


@pytest.fixture
async def board(tmp_path: Path) -> AsyncIterator[Board]:
    settings = load_settings(data_dir=tmp_path / "gc")
    make_home(settings)
    migrate(settings.database)
    async with open_fleet(settings) as opened:
        turnstile = Turnstile(time.monotonic)
        yield Board(
            opened.fleet,
            Gate(opened.fleet, trust_domain="example.org", roots=tuple, now=utc_now, turnstile=turnstile),
        )


def filled(board: Board, count: int) -> list[OpenStream]:
    streams = [stream(number) for number in range(count)]
    for one in streams:
        board.add(one)
    return streams


async def test_satellites_are_sent_away_one_after_the_other(board: Board) -> None:
    streams = filled(board, int(ARRIVALS_PER_S))
    began = time.monotonic()
    draining = asyncio.create_task(board.drain(timedelta(seconds=60)))
    while not draining.done():
        await asyncio.sleep(0.05)
        gone = sum(one.ended is not None for one in streams)
        assert gone <= (time.monotonic() - began) * ARRIVALS_PER_S + 1, "the next one could not bear it"
    assert {farewell(one) for one in streams} == {(Farewell.DRAINING, timedelta(0))}
    board.add(late := stream(len(streams)))
    assert farewell(late) == (Farewell.DRAINING, timedelta(0))


async def test_all_are_told_to_go_in_the_time_there_is(board: Board) -> None:
    streams = filled(board, 100 * int(ARRIVALS_PER_S))
    await asyncio.wait_for(board.drain(timedelta(seconds=1)), 60)
    assert all(one.ended for one in streams)


async def test_what_was_taken_over_is_told_until_its_stream_has_ended_and_it_is_forgotten(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controlplane.rpc.board.PATROL_S", 0.01)
    streams = [lost, late, newer] = [stream(number) for number in range(3)]
    for one in streams:
        one.peer = replace(one.peer, not_after=utc_now() + timedelta(hours=1))
    board.add(lost)
    board.add(newer)
    answering = Answering(board._fleet, lost.session, late.session, replace(newer.session, number=0))
    answering.arrive = lambda: board.add(late)
    board._fleet = cast("Fleet", answering)
    running = asyncio.create_task(board.run())
    await eventually(lambda: not answering.lost)
    assert farewell(lost) == (Farewell.SUPERSEDED, None)
    assert farewell(late) == (Farewell.SUPERSEDED, None), "its session was opened before it came to the board"
    assert newer.ended is None
    assert answering.looks == 3, "forgetting it failed once"
    running.cancel()


async def test_a_stream_ends_with_its_certificate_while_the_database_hangs(board: Board) -> None:
    hanging = Hanging(board._fleet)
    board._fleet = cast("Fleet", hanging)
    running = asyncio.create_task(board.run())
    lasting = stream(1)
    lasting.peer = replace(lasting.peer, not_after=utc_now() + timedelta(hours=1))
    board.add(lasting)
    await asyncio.wait_for(hanging.asked.wait(), 60)
    board.add(over := stream(2))
    await eventually(lambda: over.ended is not None)
    assert farewell(over) == (Farewell.SVID_EXPIRED, None)
    assert lasting.ended is None
    running.cancel()
