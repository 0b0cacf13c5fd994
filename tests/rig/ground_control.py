"""A real `ground-control serve` in a directory of its own, and clients that speak to it as operators and satellites.

with GroundControl(tmp_path) as gc:                       # SQLite, built-in authority, free ports
    admin = gc.join_operator("admin")                     # -> Member, by init's join string
    async with admin.channel() as channel: ...
    site = gc.join_string(admin, satellite="kiosk-1")     # for `satellite join`
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc.aio

from certs.device_key import DeviceKey, load_or_make_device_key
from certs.enrollment import Enrollment
from fleet.bridge import Bridge
from fleet.joinstring import JoinString, parse_join_string
from fleet.svid import X509Material
from fleet.v1 import fleet_pb2
from fleet.v1.fleet_pb2_grpc import FleetServiceStub
from tests.rig.identity import HeldIdentity
from tests.rig.ports import keep_port

TRUST_DOMAIN = "fleet.test"
START_S = 60.0
RELOAD_S = 600.0
"""Thousands of streams go to others one worker after the other."""
STOP_S = 20.0
POLL_S = 0.05


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Member:
    """Somebody who joined: an operator or a satellite, with its device key and newest identity."""

    place: JoinString
    device_key: DeviceKey
    material: X509Material

    async def renew(self) -> X509Material:
        """Get a fresh identity by the device key."""
        self.material = await Enrollment(self.place.spent(), self.device_key, now=_now).renew()
        return self.material

    @asynccontextmanager
    async def channel(self, *options: tuple[str, str | int]) -> AsyncIterator[grpc.aio.Channel]:
        """Open a channel with this identity, Ground Control's exact ID verified."""
        source = TrustedIdentity(self.material, self.place.trust_domain)
        async with spoken_to(self.place.address, self.place.ground_control, source, *options) as channel:
            yield channel

    @asynccontextmanager
    async def fleet(self) -> AsyncIterator[FleetServiceStub]:
        """Open a channel to the operators' API."""
        async with self.channel() as channel:
            yield FleetServiceStub(channel)


class TrustedIdentity(HeldIdentity):
    """An identity with the bundle of its own trust domain."""

    def __init__(self, material: X509Material, trust_domain: str) -> None:
        super().__init__(material, material.bundle)
        self._trust_domain = trust_domain

    def roots(self, trust_domain: str) -> tuple[bytes, ...]:
        return self._roots if trust_domain == self._trust_domain else ()


@asynccontextmanager
async def spoken_to(
    address: str, expected: str, source: HeldIdentity, *options: tuple[str, str | int]
) -> AsyncIterator[grpc.aio.Channel]:
    """Open a channel to a Ground Control whose exact ID is verified."""
    async with (
        Bridge(address, expected=expected, source=source, now=_now) as bridge,
        bridge.channel(*options) as channel,
    ):
        yield channel


async def join(text: str, directory: Path) -> Member:
    """Join as `satellite join` and `satctl login` do; the device key is kept in `directory`."""
    place = parse_join_string(text)
    device_key = load_or_make_device_key(directory / "device.key")
    material = await Enrollment(place, device_key, now=_now).join()
    return Member(place, device_key, material)


@dataclass
class GroundControl:
    """One Ground Control, started by entering it, stopped (exit code checked) by leaving.

    Attributes:
        options: further settings, by the names of controlplane.config without the prefix.
        port, bootstrap_port: where it listens, at every start.
    """

    directory: Path
    options: dict[str, str] = field(default_factory=dict)
    port: int = field(default_factory=keep_port)
    bootstrap_port: int = field(default_factory=keep_port)
    facts: dict[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def data_dir(self) -> Path:
        return self.directory / "gc"

    @property
    def log_path(self) -> Path:
        return self.directory / "ground-control.log"

    @property
    def address(self) -> str:
        """The fleet listener."""
        return str(self.facts["listen"])

    @property
    def bootstrap_address(self) -> str:
        """The listener for joiners."""
        return str(self.facts["bootstrap_listen"])

    @property
    def environment(self) -> dict[str, str]:
        clean = {name: text for name, text in os.environ.items() if not name.startswith("GROUND_CONTROL_")}
        settings = {
            "data_dir": str(self.data_dir),
            "listen": f"127.0.0.1:{self.port}",
            "bootstrap_listen": f"127.0.0.1:{self.bootstrap_port}",
            "trust_domain": TRUST_DOMAIN,
            **self.options,
        }
        return clean | {f"GROUND_CONTROL_{name.upper()}": text for name, text in settings.items()}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        code = self.stop()
        if kind is None:
            assert code == 0, f"exit code {code}\n{self.log()[-4000:]}"

    def start(self) -> None:
        """Start it and wait until every listener answers."""
        ready = self.data_dir / "ground-control.ready"
        ready.unlink(missing_ok=True)
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "controlplane.cli", "serve"],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_S
        while not ready.exists():
            code = self.process.poll()
            assert code is None, f"ground-control ended with {code}\n{self.log()[-4000:]}"
            assert time.monotonic() < deadline, f"ground-control is late\n{self.log()[-4000:]}"
            time.sleep(POLL_S)
        self.facts = json.loads(ready.read_text())

    def stop(self) -> int:
        """Ask it to end: the answer is its exit code."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_S)
        finally:
            self.process.kill()
            self.process.wait()
            self.process = None

    def kill(self) -> None:
        """Kill the supervisor as a crash would; its children must die with it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def workers(self) -> dict[str, int]:
        """Say which processes serve now, as the ready file has it."""
        facts = json.loads((self.data_dir / "ground-control.ready").read_text())
        return {name: pid for name, pid in facts["processes"].items() if name.startswith("worker-")}

    def reload(self) -> None:
        """Have the workers replaced, one after the other."""
        done = self.run("reload", within_s=RELOAD_S)
        assert done.returncode == 0, done.stderr + self.log()[-4000:]

    def log(self) -> str:
        return self.log_path.read_text() if self.log_path.exists() else ""

    def run(self, *arguments: str, within_s: float = START_S) -> subprocess.CompletedProcess[str]:
        """Run another `ground-control` command on the same settings."""
        return subprocess.run(
            [sys.executable, "-m", "controlplane.cli", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=within_s,
            check=False,
        )

    def operator_string(self, name: str = "admin") -> str:
        """Make an admin, where there is none of this name, and mint its join string."""
        done = self.run("init", name, "--json")
        assert done.returncode == 0, done.stderr
        return str(json.loads(done.stdout)["join_string"])

    async def join_operator(self, name: str = "admin") -> Member:
        """Make an admin and log it in."""
        text = await asyncio.to_thread(self.operator_string, name)
        return await join(text, self.directory / f"operator-{name}")

    async def join_satellite(
        self, admin: Member, name: str, *, region: str = "", groups: tuple[str, ...] = ()
    ) -> Member:
        """Mint a satellite's token as `admin` and join with it."""
        text = await mint(admin, name, region=region, groups=groups)
        return await join(text, self.directory / f"satellite-{name}")


async def mint(admin: Member, satellite: str, *, region: str = "", groups: tuple[str, ...] = ()) -> str:
    """Mint a satellite's join string by the API; the satellite is made and approved."""
    async with admin.fleet() as fleet:
        request = fleet_pb2.CreateJoinTokenRequest(satellite=satellite, region=region, groups=groups)
        return str((await fleet.CreateJoinToken(request)).join_string)
