"""Watching the fleet: over restarts, on a terminal, and to the end."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.rig.ground_control import GroundControl
from tests.rig.satctl import PATIENCE_S, Satctl, Watching


def creates(group: str, event: dict[str, Any]) -> bool:
    results = event.get("change", {}).get("results", [])
    return any((one["entity"], one["name"], one["outcome"]) == ("group", group, "created") for one in results)


def revisions(events: list[dict[str, Any]]) -> list[int]:
    return [event["change"]["position"]["revision"] for event in events if event["event"] == "change"]


def test_a_watch_goes_on_where_it_was_after_ground_control_is_killed(tmp_path: Path) -> None:
    with GroundControl(tmp_path) as own:
        admin = Satctl(tmp_path / "admin")
        admin.ok("login", own.operator_string())
        with Watching(admin, ("--after", "1.0")) as watching:
            admin.ok("group", "create", "before")
            watching.until(lambda event: creates("before", event))
            own.kill()
            own.start()
            admin.ok("group", "create", "after")
            watching.until(lambda event: creates("after", event))
        seen = revisions(watching.seen)
        assert seen == list(range(1, len(seen) + 1))  # none twice, none missed


def test_a_watch_of_nothing_that_answers_ends_at_once(stranger: Satctl) -> None:
    code, said = stranger.refused("watch")
    assert (code, said.partition(":")[0]) == (3, "NOT_LOGGED_IN")


def test_a_watch_on_a_terminal_is_drawn_and_ends_with_ctrl_c(admin: Satctl) -> None:
    admin.ok("satellite", "create", "kiosk-live")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        admin.command("watch"), env=admin.environment, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    try:
        drawn, deadline = b"", time.monotonic() + PATIENCE_S
        while b"kiosk-live" not in drawn and time.monotonic() < deadline:
            if select.select([ours], [], [], 1)[0]:
                drawn += os.read(ours, 65536)
        assert b"LIFECYCLE" in drawn
        assert b"kiosk-live" in drawn
        process.send_signal(signal.SIGINT)
        while process.poll() is None and time.monotonic() < deadline:
            with suppress(OSError):  # its end of the terminal is closed
                if select.select([ours], [], [], 0.1)[0]:
                    os.read(ours, 65536)
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
