"""Simulated satellites for tests and benches: a `satctl simulate` under way, or its inside, to be told what to do."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, Any, Self

from controlplane.satctl.client import FleetClient, connect
from controlplane.satctl.options import Options
from controlplane.satctl.profile import ProfileStore
from controlplane.satctl.simulate.identities import load_or_make_secret
from controlplane.satctl.simulate.plan import REGION, Plan, name_of
from controlplane.satctl.simulate.run import Simulation, processes_for
from tests.rig.satctl import PATIENCE_S, Satctl

TICK_S = 0.05


@dataclass
class Simulating:
    """Simulated satellites at work.

    Attributes:
        summary: what it said at its end.
    """

    satctl: Satctl
    arguments: tuple[str, ...]
    summary: dict[str, Any] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self._said: IO[str] = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            self.satctl.command("simulate", *self.arguments, "--json"),
            env=self.satctl.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._process.send_signal(signal.SIGINT)  # as Ctrl-C does
            told, _ = self._process.communicate(timeout=PATIENCE_S)
        finally:
            self._process.kill()
            self._process.wait()
            self._said.seek(0)
            said = self._said.read()
            self._said.close()
        assert self._process.returncode == 0 or kind is not None, said
        self.summary = json.loads(told or "{}")

    def until_status(self, **wanted: int) -> dict[str, Any]:
        """Ask Ground Control until its counts are these."""
        status: dict[str, Any] = {}
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            assert self._process.poll() is None, "the simulation has ended"
            status = self.satctl.json("status")
            if all(status["fleet"].get(name, 0) == count for name, count in wanted.items()):
                return status
        raise AssertionError(f"not so in time: {wanted}, but {status['fleet']}")


async def until(true: Callable[[], bool], what: str, *, within_s: float = PATIENCE_S) -> None:
    """Wait until something is so.

    Raises:
        TimeoutError: it has not become so.
    """
    try:
        async with asyncio.timeout(within_s):
            while not true():  # noqa: ASYNC110 - what processes tell is no event of ours
                await asyncio.sleep(TICK_S)
    except TimeoutError as error:
        raise TimeoutError(what) from error


def simulated(
    client: FleetClient,
    options: Options,
    count: int,
    *,
    groups: tuple[str, ...],
    plan: Plan,
    processes: int = 0,
    addresses: tuple[str, ...] = (),
) -> Simulation:
    """Prepare simulated satellites, as `satctl simulate` does."""
    store = ProfileStore(options.home, options.profile)
    return Simulation(
        client=client,
        place=store.load(),
        secret=load_or_make_secret(store.directory),
        names=[name_of(number + 1) for number in range(count)],
        plan=plan,
        region=REGION,
        groups=groups,
        processes=processes_for(count, processes),
        progress=lambda _what, _whole: None,
        addresses=addresses,
    )


@asynccontextmanager
async def simulation(
    satctl: Satctl,
    count: int,
    *,
    groups: tuple[str, ...],
    processes: int = 0,
    addresses: tuple[str, ...] = (),
    plan: Plan | None = None,
) -> AsyncIterator[Simulation]:
    """Prepare simulated satellites on the say of whoever is logged in."""
    options = Options(satctl.home, "default", "", "", "", PATIENCE_S, "")
    async with connect(options) as client:
        yield simulated(
            client, options, count, groups=groups, plan=plan or Plan(), processes=processes, addresses=addresses
        )
