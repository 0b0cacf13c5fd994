"""Processes are replaced and stopped without a gap: small ones here, which tell a file what they do."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from controlplane.children import READY_VARIABLE, Child
from controlplane.crew import Crew
from fleet.errors import FleetError

SAYS = f"""
import os, signal, sys, time
from pathlib import Path

def say(what):
    with open(sys.argv[1], "a") as said:
        said.write(what + "\\n")

def end(*_):
    say("ended")
    sys.exit()

signal.signal(signal.SIGTERM, end if not Path(sys.argv[1] + ".stuck").exists() else signal.SIG_IGN)
if Path(sys.argv[1] + ".broken").exists():
    sys.exit(3)
say("serves")
os.write(int(os.environ["{READY_VARIABLE}"]), b"ready\\n")
while True:
    time.sleep(60)
"""


@dataclass
class Work:
    """One process at work, and what it and its successors said."""

    crew: Crew
    path: Path

    @property
    def said(self) -> list[str]:
        return self.path.read_text().split()

    def mark(self, how: str) -> None:
        """Have those that start from now on be stuck, or broken."""
        self.path.with_name(self.path.name + "." + how).touch()


@asynccontextmanager
async def working(directory: Path, *, patience_s: float = 10.0) -> AsyncIterator[Work]:
    path = directory / "said"
    child = Child("worker-1", [sys.executable, "-c", SAYS, str(path)], dict(os.environ), reports=True)
    crew = Crew([child], patience_s=patience_s)
    crew.start()
    try:
        await crew.ready()
        yield Work(crew, path)
    finally:
        await crew.stop()


async def test_a_successor_serves_before_the_one_before_is_asked_to_end(tmp_path: Path) -> None:
    async with working(tmp_path) as work:
        before = work.crew.pids["worker-1"]
        await work.crew.replace("worker-1")
        assert work.said == ["serves", "serves", "ended"]
        assert work.crew.pids["worker-1"] not in (0, before)
    assert work.said == ["serves", "serves", "ended", "ended"]


async def test_where_a_successor_cannot_be_started_the_one_before_serves_on(tmp_path: Path) -> None:
    async with working(tmp_path) as work:
        before = work.crew.pids["worker-1"]
        work.mark("broken")
        with pytest.raises(FleetError) as refused:
            await work.crew.replace("worker-1")
        assert refused.value.reason == "CHILD_FAILED"
        assert (work.crew.pids["worker-1"], work.said) == (before, ["serves"])
        assert not work.crew.failed.done()


async def test_one_that_is_stuck_is_killed_and_its_successor_serves(tmp_path: Path) -> None:
    (tmp_path / "said.stuck").touch()
    async with working(tmp_path, patience_s=0.1) as work:
        before = work.crew.pids["worker-1"]
        await work.crew.replace("worker-1")
        assert work.said == ["serves", "serves"]
        with pytest.raises(ProcessLookupError):
            os.kill(before, 0)


async def test_a_successor_that_is_killed_is_started_again(tmp_path: Path) -> None:
    async with working(tmp_path) as work:
        await work.crew.replace("worker-1")
        os.kill(killed := work.crew.pids["worker-1"], signal.SIGKILL)
        async with asyncio.timeout(30):
            while work.said.count("serves") < 3:  # noqa: ASYNC110 - another process's words are no event of ours
                await asyncio.sleep(0.05)
        assert work.crew.pids["worker-1"] not in (0, killed)


async def test_a_stop_in_the_midst_of_it_leaves_nothing_behind(tmp_path: Path) -> None:
    before = children()
    async with working(tmp_path) as work:
        replacing = asyncio.create_task(work.crew.replace("worker-1"))
        while len(children() - before) < 2:  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)
        replacing.cancel()
        await asyncio.gather(replacing, return_exceptions=True)
    assert children() == before


def children() -> set[str]:
    """List our own child processes."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())
