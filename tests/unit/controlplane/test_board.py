"""What a process tells its streams when it is told to stop."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

from controlplane.adapters.sql.migrate import migrate
from controlplane.bootstrap import open_fleet
from controlplane.config import load_settings
from controlplane.domain.status import SessionKey
from controlplane.home import make_home
from controlplane.rpc.board import RECONNECTS_PER_S, Board, OpenStream
from controlplane.rpc.caller import Peer
from controlplane.rpc.gate import Gate
from controlplane.rpc.turnstile import Turnstile
from fleet.identity import SatelliteId
from fleet.protocol import Farewell
from tests.rig.identity import utc_now


def stream(number: int) -> OpenStream:
    name, at = f"satellite-{number}", utc_now()
    identity = SatelliteId("example.org", "north", name)
    peer = Peer(identity, str(identity), not_before=at, not_after=at, chain=(), fingerprint=b"")
    return OpenStream(peer, SessionKey(name, b"boot", 1))


async def test_satellites_that_are_sent_away_come_back_spread_by_how_many_they_are(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path / "gc")
    make_home(settings)
    migrate(settings.database)
    async with open_fleet(settings) as opened:
        turnstile = Turnstile(time.monotonic)
        gate = Gate(opened.fleet, trust_domain="example.org", roots=tuple, now=utc_now, turnstile=turnstile)
        board = Board(opened.fleet, gate)
        streams = [stream(number) for number in range(2 * RECONNECTS_PER_S)]
        for one in streams:
            board.add(one)
        board.drain()
        waits = [one.ended.retry_after for one in streams if one.ended and one.ended.retry_after is not None]
        assert len(waits) == len(streams)
        for second in range(2):
            told = [wait for wait in waits if timedelta(seconds=second) <= wait < timedelta(seconds=second + 1)]
            assert 0.8 < len(told) / RECONNECTS_PER_S < 1.2
        board.add(late := stream(len(streams)))
        assert late.ended is not None
        assert (late.ended.why, late.ended.retry_after) == (Farewell.DRAINING, timedelta(0))
