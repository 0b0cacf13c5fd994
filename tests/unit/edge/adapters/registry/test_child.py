"""Supervision with a small program that listens, or does not."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from edge.adapters.registry.child import Child, Program, end_leftover
from fleet.errors import FleetError

_SERVER = """
import socket, sys
server = socket.create_server(("127.0.0.1", int(open(sys.argv[1]).read())))
print("up", flush=True)
while True:
    connection, _ = server.accept()
    connection.close()
"""


async def ready(port: int) -> bool:
    return port > 0


def program(directory: Path, code: str) -> Program:
    def configure(port: int) -> None:
        (directory / "port").write_text(str(port))

    command = (sys.executable, "-c", code, str(directory / "port"))
    return Program("child", command, directory, configure)


async def test_a_child_that_falls_is_started_again_where_it_was(tmp_path: Path) -> None:
    child = Child(program(tmp_path, _SERVER), ready)
    port = await child.start()
    first = child.pid
    os.kill(first, 9)
    async with asyncio.timeout(20):
        while child.pid in {0, first} or not await _accepts(port):  # noqa: ASYNC110 -- another process's state
            await asyncio.sleep(0.02)
    assert child.restarts == 1
    await child.stop()
    assert not psutil.pid_exists(first)
    assert not (tmp_path / "child.pid").exists()


async def test_a_child_that_cannot_come_back_yet_is_tried_until_it_can(tmp_path: Path) -> None:
    child = Child(program(tmp_path, _SERVER), ready)
    port = await child.start()
    first = child.pid
    os.kill(first, 9)
    with await _taken(port):
        async with asyncio.timeout(20):
            while child.restarts < 1 or child.pid:  # noqa: ASYNC110 -- another process's state
                await asyncio.sleep(0.01)
    async with asyncio.timeout(20):
        while child.pid in {0, first} or not await _accepts(port):  # noqa: ASYNC110 -- likewise
            await asyncio.sleep(0.02)
    await child.stop()


async def test_a_child_that_is_gone_before_its_start_is_noted_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = Child(program(tmp_path, _SERVER), ready)
    port = await child.start()
    first = child.pid
    asked: list[int] = []

    class Process(psutil.Process):
        def __init__(self, pid: int) -> None:
            asked.append(pid)
            if len(asked) == 1:
                raise psutil.NoSuchProcess(pid)
            super().__init__(pid)

    monkeypatch.setattr(psutil, "Process", Process)
    os.kill(first, 9)
    async with asyncio.timeout(20):
        while child.pid in {0, first} or not await _accepts(port):  # noqa: ASYNC110 -- another process's state
            await asyncio.sleep(0.02)
    assert child.restarts == 2
    await child.stop()


async def _taken(port: int) -> socket.socket:
    """Take the port as soon as it is free."""
    async with asyncio.timeout(20):
        while True:
            try:
                return socket.create_server(("127.0.0.1", port))
            except OSError:
                await asyncio.sleep(0.01)


async def _accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


async def test_a_child_that_ends_at_once_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    child = Child(program(tmp_path, "raise SystemExit('no such disk')"), ready)
    with pytest.raises(FleetError) as caught:
        await child.start()
    assert caught.value.reason == "REGISTRY_UNREACHABLE"
    assert "no such disk" in caught.value.detail
    assert "no such disk" in (tmp_path / "child.log").read_text()
    await child.stop()


async def test_its_log_has_an_end(tmp_path: Path) -> None:
    noisy = "for _ in range(40_000): print('x' * 100)\n" + _SERVER
    child = Child(program(tmp_path, noisy), ready)
    await child.start()
    await child.stop()
    sizes = _log_sizes(tmp_path)
    assert len(sizes) == 2
    assert max(sizes) < 1.1 * 1024 * 1024


def _log_sizes(directory: Path) -> list[int]:
    return [path.stat().st_size for path in directory.glob("child.log*")]


def test_a_child_that_outlived_its_starter_is_ended(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as left:
        file = tmp_path / "child.pid"
        file.write_text(f"{left.pid} {psutil.Process(left.pid).create_time()}")
        assert end_leftover(file)
    assert not psutil.pid_exists(left.pid)


def test_a_stranger_with_the_same_number_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "child.pid"
    file.write_text(f"{os.getpid()} {psutil.Process().create_time() - 5}")
    assert not end_leftover(file)
    file.write_text("nonsense")
    assert not end_leftover(file)
    assert not end_leftover(tmp_path / "absent")
