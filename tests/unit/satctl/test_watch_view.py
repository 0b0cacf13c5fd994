"""How a watch looks: lines only for what is new, bars for what is under way, nothing that a terminal obeys."""

from __future__ import annotations

import io

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console

from controlplane.satctl.watch_view import BARS_SHOWN, LineView, LiveView
from fleet.errors import FleetError, Kind
from fleet.v1 import attestation_pb2, fleet_pb2, state_pb2


def status(*exceptions: state_pb2.ResourceException, published: int = 0) -> fleet_pb2.WatchFleetResponse:
    report = state_pb2.StateReport(desired=2, published=published, exceptions=exceptions)
    online = attestation_pb2.LIFECYCLE_ONLINE
    found = fleet_pb2.SatelliteStatus(satellite="kiosk-1", lifecycle=online, report=report)
    return fleet_pb2.WatchFleetResponse(status=found)


def change(reason: str = "") -> fleet_pb2.WatchFleetResponse:
    result = fleet_pb2.ChangeResult(outcome=fleet_pb2.CHANGE_OUTCOME_CREATED, entity="group", name="shops")
    position = state_pb2.Position(epoch=1, revision=4)
    actor = "spiffe://fleet.test/operator/alice"
    record = fleet_pb2.ChangeRecord(position=position, actor=actor, reason=reason, results=[result])
    return fleet_pb2.WatchFleetResponse(change=record)


def waiting(done: int) -> state_pb2.ResourceException:
    state = state_pb2.ARTIFACT_STATE_WAITING
    return state_pb2.ResourceException(name="hub/nginx:1", state=state, done_bytes=done, total_bytes=4096)


def lines_of(capsys: pytest.CaptureFixture[str], *events: fleet_pb2.WatchFleetResponse) -> list[str]:
    view = LineView()
    for event in events:
        view.show(event)
    return [line.partition(" ")[2] for line in capsys.readouterr().out.splitlines()]  # without the time of day


def drawing(view: LiveView) -> str:
    console = Console(file=io.StringIO(), width=160, force_terminal=True)
    with console.capture() as captured:
        console.print(view._drawing())
    return captured.get()


def test_a_line_for_each_change_and_each_thing_that_is_new(capsys: pytest.CaptureFixture[str]) -> None:
    assert lines_of(capsys, change("opening"), status(waiting(1024)), status(waiting(1024)), status(published=2)) == [
        "1.4 alice: created group shops (opening)",
        "kiosk-1 online 0/2 published, 0 refused, 0 failed",
        "kiosk-1 hub/nginx:1 waiting 1.0 of 4.0 KiB",
        "kiosk-1 online 2/2 published, 0 refused, 0 failed",
    ]


def test_what_comes_slowly_is_a_line_for_each_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    lines = lines_of(capsys, *(status(waiting(done)) for done in range(0, 4096, 16)))
    assert len(lines) == 1 + 10


def test_what_waits_says_until_when_and_only_once(capsys: pytest.CaptureFixture[str]) -> None:
    def cut(text: str) -> fleet_pb2.WatchFleetResponse:
        state, retry_at = state_pb2.ARTIFACT_STATE_FAILED, Timestamp(seconds=4_102_444_800)
        found = state_pb2.ResourceException(
            name="hub/nginx:1", state=state, reason="SOURCE_CUT", text=text, retry_at=retry_at
        )
        return status(found)

    _, first, again = lines_of(capsys, cut("it broke"), cut("it broke"), cut("it broke again"))
    assert again.endswith("it broke again")
    assert first.startswith("kiosk-1 hub/nginx:1 failed SOURCE_CUT until 2")


def test_the_live_view_shows_what_moves_first_and_says_what_it_leaves_out() -> None:
    queued = [
        state_pb2.ResourceException(name=f"hub/n{n}:1", state=state_pb2.ARTIFACT_STATE_WAITING, reason="QUEUED")
        for n in range(BARS_SHOWN)
    ]
    moving = waiting(1024)
    moving.reason, moving.rate_bytes_per_s = "TRANSFERRING", 16
    with LiveView() as view:
        view.show(status(*queued, moving))
        drawn = drawing(view)
    assert "1.0 of 4.0 KiB, 16 B/s, 3m12s left  TRANSFERRING" in drawn
    assert drawn.index("hub/nginx:1") < drawn.index("hub/n0:1")
    assert "… and 1 more" in drawn


def test_what_a_satellite_wrote_does_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    refused = state_pb2.ResourceException(name="x", state=state_pb2.ARTIFACT_STATE_REFUSED, text="\x1b[2J\x9b1m[red]")
    assert not {"\x1b", "\x9b"} & set("".join(lines_of(capsys, status(refused))))
    with LiveView() as view:
        view.show(status(refused))
        drawn = drawing(view)
    assert "\x1b[2J" not in drawn
    assert "[red]" in drawn  # markup is text here


def test_the_live_view_has_a_bar_for_what_is_under_way(capsys: pytest.CaptureFixture[str]) -> None:
    with LiveView() as view:
        view.show(change())
        view.show(status(waiting(1024)))
        drawn = drawing(view)
        assert "━" in drawn
        assert "1.0 of 4.0 KiB" in drawn
        assert "created group shops" in drawn
        view.cut(FleetError(Kind.UNAVAILABLE, "GC_UNREACHABLE", "nobody there"))
        assert "GC_UNREACHABLE: nobody there; trying again" in drawing(view)
        view.show(status(published=2))
        assert "GC_UNREACHABLE" not in drawing(view)
