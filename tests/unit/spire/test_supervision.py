from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import psutil
import pytest

from fleet.errors import FleetError, Kind
from spire.answers import read_agent, read_entry, read_list, read_status
from spire.child import complaint, start_child
from spire.programs import ask, ask_json, find_program
from spire.registrar import Registrar

PYTHON = Path(sys.executable)
ORPHAN = """
import asyncio, sys
from pathlib import Path
from spire.child import start_child
async def main():
    child = await start_child(Path(sys.executable), ["-c", "import time; time.sleep(600)"], log=Path(sys.argv[1]))
    print(child.process.pid, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


async def test_a_child_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        PYTHON, "-c", ORPHAN, str(tmp_path / "log"), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    child = psutil.Process(int(await parent.stdout.readline()))
    assert child.is_running()
    os.kill(parent.pid, signal.SIGKILL)
    await parent.wait()
    async with asyncio.timeout(10):
        while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:  # noqa: ASYNC110 another process's state
            await asyncio.sleep(0.02)


async def test_the_last_complaint_is_this_run_s_and_the_log_is_private(tmp_path: Path) -> None:
    log = tmp_path / "log"
    first = await start_child(PYTHON, ["-c", "print('Error: of yesterday')"], log=log)
    await first.wait()
    second = await start_child(PYTHON, ["-c", "pass"], log=log)
    await second.wait()
    assert first.last_words() == "Error: of yesterday"
    assert second.last_words() == "it said nothing"
    assert log.stat().st_mode & 0o077 == 0


async def test_a_child_that_does_not_listen_is_stopped_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spire.child._STOP_TIMEOUT_S", 0.1)
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"
    child = await start_child(PYTHON, ["-c", deaf], log=tmp_path / "log")
    async with asyncio.timeout(10):
        while child.last_words() != "up":  # noqa: ASYNC110 another process's state
            await asyncio.sleep(0.02)
    await child.stop()
    assert child.process.returncode == -signal.SIGKILL


def test_a_log_line_tells_what_is_wrong_and_nothing_else() -> None:
    assert complaint('{"level":"error","msg":"Agent crashed","error":"no route"}') == "Agent crashed: no route"
    assert complaint('{"level":"info","msg":"all is well"}') == ""
    assert complaint("could not resolve bind address") == "could not resolve bind address"


def test_a_missing_program_is_said_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIRE_SERVER_BIN", "/nowhere/spire-server")
    with pytest.raises(FleetError, match=r"spiffe\.io") as missing:
        find_program("spire-server")
    assert missing.value.reason == "SPIRE_MISSING"
    assert "SPIRE_SERVER_BIN" in missing.value.subject


def test_a_program_named_by_its_variable_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIRE_AGENT_BIN", sys.executable)
    assert find_program("spire-agent") == PYTHON


@pytest.mark.parametrize(
    ("said", "reason", "kind"),
    [
        ("rpc error: code = Unavailable desc = refused", "SPIRE_UNREACHABLE", Kind.UNAVAILABLE),
        ("rpc error: code = NotFound desc = agent not found", "SPIRE_REFUSED", Kind.UNKNOWN),
        ("Error: a selector is required", "SPIRE_REFUSED", Kind.PRECONDITION),
    ],
)
async def test_a_failed_command_says_what_spire_said(said: str, reason: str, kind: Kind) -> None:
    with pytest.raises(FleetError) as failed:
        await ask(PYTHON, ["-c", f"import sys; sys.exit({said!r})"])
    assert (failed.value.reason, failed.value.kind) == (reason, kind)
    assert said in failed.value.public


async def test_a_program_that_never_answers_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spire.programs._ANSWER_TIMEOUT_S", 0.1)
    with pytest.raises(FleetError) as failed:
        await ask(PYTHON, ["-c", "import time; time.sleep(600)"])
    assert failed.value.reason == "SPIRE_UNREACHABLE"


@pytest.mark.parametrize("answer", ["", "[]", "{"])
async def test_an_answer_that_is_no_object_is_malformed(answer: str) -> None:
    with pytest.raises(FleetError) as failed:
        await ask_json(PYTHON, ["-c", f"print({answer!r})"])
    assert failed.value.reason == "SPIRE_ANSWER_MALFORMED"


def test_answers_without_what_their_api_promises_are_malformed() -> None:
    for read in (
        lambda: read_entry({}),
        lambda: read_agent({"id": {"path": "/x", "trust_domain": "t"}}),
        lambda: read_list({"entries": None}, "entries"),
        lambda: read_status({"results": []}),
    ):
        with pytest.raises(FleetError) as failed:
            read()
        assert failed.value.reason == "SPIRE_ANSWER_MALFORMED"


async def test_a_join_token_s_malformed_answer_does_not_reach_the_log(tmp_path: Path) -> None:
    program = tmp_path / "spire-server"
    program.write_text('#!/bin/sh\necho \'{"token": "secret"}\'\n')
    program.chmod(0o700)
    with pytest.raises(FleetError) as failed:
        await Registrar(program, tmp_path / "api.sock").join_token("spiffe://t/device/x")
    assert "secret" not in failed.value.detail
