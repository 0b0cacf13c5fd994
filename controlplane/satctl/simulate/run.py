"""The parent: it mints join tokens as the operator, runs the processes, and puts together what they saw."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from google.protobuf.duration_pb2 import Duration

from controlplane.satctl.client import FleetClient
from controlplane.satctl.simulate.plan import Plan
from controlplane.satctl.simulate.process import Begin
from controlplane.satctl.simulate.tally import Whole
from fleet.errors import FleetError, Kind, malformed
from fleet.joinstring import JoinString, parse_join_string
from fleet.v1 import fleet_pb2 as pb

PER_PROCESS = 5_000
"""Satellites of one process, unless told otherwise: one core then is not the limit."""
SPARE_FILES = 200
TOKENS_AT_ONCE = 16
TOKEN_LIFE = timedelta(hours=1)
STOP_S = 15.0
END_S = 2.0
_LINE = 1 << 26


def processes_for(satellites: int, wanted: int) -> int:
    """Say how many processes to run, and raise our own limit of open files where it is too low.

    Raises:
        FleetError: PRECONDITION `ULIMIT_TOO_LOW`.
    """
    count = wanted or max(1, -(-satellites // PER_PROCESS))
    needed = -(-satellites // count) + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and needed > hard:
        text = "each satellite takes one open file, and this shell's hard limit is lower: use more --processes"
        raise FleetError(Kind.PRECONDITION, "ULIMIT_TOO_LOW", text, subject=f"ulimit -n {hard}, needed {needed}")
    if soft != resource.RLIM_INFINITY and needed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    return count


@dataclass(slots=True)
class Child:
    """One process, as its parent sees it."""

    process: asyncio.subprocess.Process

    async def tell(self, **line: Any) -> None:  # noqa: ANN401 - JSON
        """Tell it something; one that has ended says why elsewhere."""
        if self.process.stdin is None:
            return
        try:
            self.process.stdin.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
            await self.process.stdin.drain()
        except ConnectionError:
            return

    async def hear(self) -> dict[str, Any] | None:
        """Hear its next line; None at its end.

        Raises:
            FleetError: it has failed.
        """
        line = await self.process.stdout.readline() if self.process.stdout else b""
        heard: dict[str, Any] | None = json.loads(line) if line else None
        if heard is not None and "failed" in heard:
            kind, reason, text = heard["failed"]
            raise FleetError(Kind(kind), reason, text)
        return heard

    async def expect(self, word: str) -> Any:  # noqa: ANN401 - JSON
        """Hear the line that must come now."""
        heard = await self.hear()
        if heard is None or word not in heard:
            text = "a process of the simulation ended before it began: its words are above"
            raise FleetError(Kind.INTERNAL, "SIMULATION_ENDED", text)
        return heard[word]

    async def end(self) -> None:
        """Have it end: it does so when nobody speaks to it any more, or is killed."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(END_S):
                await self.process.wait()
                return
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def _children(count: int) -> AsyncIterator[list[Child]]:
    command = (sys.executable, "-m", "controlplane.satctl.simulate.process")
    children: list[Child] = []
    try:
        for _ in range(count):
            pipe = asyncio.subprocess.PIPE
            children.append(Child(await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, limit=_LINE)))
        yield children
    finally:
        for child in children:
            await child.end()


@dataclass(slots=True)
class Simulation:
    """One run.

    Attributes:
        addresses: the fleet's listeners; where there are none, the place's own.
        whole: what has been seen so far.
    """

    client: FleetClient
    place: JoinString
    secret: bytes
    names: Sequence[str]
    plan: Plan
    region: str
    groups: Sequence[str]
    processes: int
    progress: Callable[[str, Whole], None]
    addresses: Sequence[str] = ()
    whole: Whole = field(default_factory=Whole)
    _children: list[Child] = field(default_factory=list)
    began: float = 0.0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Have all join; they connect when they are told to begin, and stop at the end."""
        async with _children(self.processes) as children:
            self._children = children
            await self._enroll()
            async with asyncio.TaskGroup() as tasks:
                hearing = [tasks.create_task(self._hear(child)) for child in children]
                yield
                for child in children:
                    await child.tell(stop=True)
                async with asyncio.timeout(STOP_S):
                    await asyncio.gather(*hearing)

    async def begin(self) -> None:
        """Let them connect."""
        for child in self._children:
            await child.tell(go=True)
        self.began = time.monotonic()

    async def cut(self, seconds: float) -> None:
        """Cut every connection, for so long."""
        for child in self._children:
            await child.tell(cut_s=seconds)

    async def pace(self, heartbeat_s: float) -> None:
        """Set the time between health reports, from each satellite's next one on; 0 ends them."""
        for child in self._children:
            await child.tell(heartbeat_s=heartbeat_s)

    async def _hear(self, child: Child) -> None:
        while (heard := await child.hear()) is not None:
            if "piece" in heard:
                self.whole.add(heard["piece"])
                self.progress("running", self.whole)

    async def _enroll(self) -> None:
        count = len(self._children)
        shares = [list(self.names[at::count]) for at in range(count)]
        for child, names in zip(self._children, shares, strict=True):
            addresses = list(self.addresses) or [self.place.address]
            begin = Begin(self.place.spent().encode(), self.secret.hex(), names, self.plan, addresses)
            await child.tell(**begin.as_line())
        self.progress("identities", self.whole)
        async with asyncio.TaskGroup() as tasks:
            for child in self._children:
                tasks.create_task(self._enroll_one(child))

    async def _enroll_one(self, child: Child) -> None:
        unknown = await child.expect("unknown")
        await child.tell(tokens=await self._mint(unknown))
        await child.expect("ready")

    async def _mint(self, names: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Mint a token for each: `→ {name: (id, secret)}`. The API lets admins alone do that."""
        turns, minted = asyncio.Semaphore(TOKENS_AT_ONCE), {}
        life = Duration()
        life.FromTimedelta(TOKEN_LIFE)

        async def mint(name: str) -> None:
            request = pb.CreateJoinTokenRequest(satellite=name, region=self.region, groups=self.groups, ttl=life)
            async with turns:
                made = await self.client.call(self.client.fleet.CreateJoinToken, request)
            token = parse_join_string(made.join_string)
            minted[name] = (token.token_id, token.secret.hex())
            if len(minted) % 100 == 0:
                self.progress(f"minted {len(minted)} of {len(names)} join tokens", self.whole)

        await asyncio.gather(*map(mint, names))
        return minted


def check_share(**shares: float) -> None:
    """Check that shares are shares.

    Raises:
        FleetError: MALFORMED `SHARE_MALFORMED`.
    """
    if any(not 0 <= share <= 1 for share in shares.values()) or sum(shares.values()) > 1:
        raise malformed("SHARE_MALFORMED", "shares are 0 to 1, and together at most 1", subject=", ".join(shares))
