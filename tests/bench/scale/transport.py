"""The floor of the transport: a minimal server on grpc-go that sends the same satellites the same bytes.

It verifies certificates and does nothing besides: no roles, no database, no sessions, no reports. It is no rival, but
what a stream costs where nothing else is done. The satellites have the identities that Ground Control gave them, and
its certificate is Ground Control's own, so that handshakes are alike.
"""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from controlplane.domain.state import Binding
from controlplane.rpc import frames
from controlplane.satctl.simulate.connection import pem_of
from controlplane.satctl.simulate.plan import name_of
from fleet.position import Position
from fleet.v1 import attestation_pb2, state_pb2
from tests.bench.figures import Figure
from tests.bench.scale import rows
from tests.bench.scale.estate import Estate, artifacts
from tests.bench.scale.served import Cost, Scale, cost_of
from tests.rig.programs import find, require
from tests.rig.world import held_by

PEER = "grpc-go, nothing behind it"
SOURCE = Path(__file__).parent / "grpc_go"
FIRST_SALT = 100
WINDOW_S = 5


@dataclass
class Floor:
    """The server at work.

    Attributes:
        address: where it listens.
    """

    process: asyncio.subprocess.Process
    address: str = ""
    _meter: psutil.Process = field(init=False)

    def __post_init__(self) -> None:
        self._meter = psutil.Process(self.process.pid)

    def cost(self) -> Cost:
        """Read the meters."""
        return cost_of([self._meter])

    async def tell(self, **said: Any) -> str:
        """Tell it something: `→ its answer`."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(said).encode() + b"\n")
        await self.process.stdin.drain()
        return (await self.process.stdout.readline()).decode().strip()

    async def push(self, step: Step) -> str:
        """Send one change to every stream: `→ epoch.revision`."""
        await self.tell(push=_encoded(step.messages))
        return step.position


@dataclass(frozen=True, slots=True)
class Step:
    """What one change sends to each stream, and where in the log it stands."""

    position: str
    messages: tuple[bytes, ...]


def _encoded(messages: Iterable[bytes]) -> list[str]:
    return [base64.b64encode(message).decode() for message in messages]


def _positioned(position: state_pb2.Position, bodies: Iterable[bytes]) -> tuple[bytes, ...]:
    """Give bodies the head that Ground Control gives them; the server itself counts."""
    at, made = Position(position.epoch, position.revision), tuple(bodies)
    return tuple(
        frames.head(0, at, datetime.now(UTC), complete=index == len(made) - 1) + body for index, body in enumerate(made)
    )


def _binding(scope: state_pb2.ScopeState) -> Binding:
    told = scope.binding
    return Binding(told.scope, told.generation, told.digest, told.precedence)


def whole(state: state_pb2.GetStateResponse) -> tuple[bytes, ...]:
    """Write what a satellite that holds nothing is answered."""
    bodies = [frames.bindings(list(map(_binding, state.scopes)), state.state_digest)]
    for scope in state.scopes:
        delta = state_pb2.Delta(upserts=scope.resources).SerializeToString(deterministic=True)
        bodies += frames.delta_parts(_binding(scope), None, delta)
    return _positioned(state.position, bodies)


def step(before: state_pb2.GetStateResponse, after: state_pb2.GetStateResponse) -> Step:
    """Write what leads from one state to the next; what differs is in one scope."""
    held = {scope.binding.scope: scope for scope in before.scopes}
    (changed,) = (one for one in after.scopes if one.binding.digest != held[one.binding.scope].binding.digest)
    known = {resource.version for resource in held[changed.binding.scope].resources}
    upserts = [resource for resource in changed.resources if resource.version not in known]
    delta = state_pb2.Delta(upserts=upserts).SerializeToString(deterministic=True)
    start = held[changed.binding.scope].binding.digest
    bodies = frames.delta_parts(_binding(changed), start, delta)
    return Step(f"{after.position.epoch}.{after.position.revision}", _positioned(after.position, bodies))


async def _state(estate: Estate) -> state_pb2.GetStateResponse:
    return await estate.client.call(estate.client.state.GetState, state_pb2.GetStateRequest(satellite=name_of(1)))


async def _steps(estate: Estate, first: state_pb2.GetStateResponse) -> list[Step]:
    """Have Ground Control, which nobody is connected to, make the changes that are sent afterwards."""
    made, before = [], first
    for salt in range(FIRST_SALT, FIRST_SALT + rows.CHANGES):
        await estate.apply(*artifacts(6, salt))
        after = await _state(estate)
        made.append(step(before, after))
        before = after
    return made


async def _identity(estate: Estate, directory: Path) -> tuple[Path, Path]:
    """Write Ground Control's certificate and key, and its roots: `→ files`."""
    async with held_by(estate.control.data_dir / "authority" / "workload.sock") as identity:
        material = identity.svid()
    assert material is not None
    own, roots = directory / "own.pem", directory / "roots.pem"
    own.write_bytes(pem_of(material))
    roots.write_bytes(pem_of(replace(material, chain=material.bundle)))
    return own, roots


def _build(program: Path) -> None:
    subprocess.run([require("go"), "build", "-o", program, "."], cwd=SOURCE, check=True)


@asynccontextmanager
async def running_floor(estate: Estate, directory: Path, answer: tuple[bytes, ...]) -> AsyncIterator[Floor]:
    """Build the server, and run it."""
    program = directory / "grpc_go"
    await asyncio.to_thread(_build, program)
    own, roots = await _identity(estate, directory)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(program, own, own, roots, stdin=pipe, stdout=pipe)
    floor = Floor(process)
    attested = attestation_pb2.AttestResponse(satellite=name_of(1), deployment="main")
    attested.reconnect_window.seconds = WINDOW_S
    attested.health_interval.seconds = int(rows.IDLE_S)
    try:
        floor.address = await floor.tell(attest=_encoded([attested.SerializeToString()])[0], answer=_encoded(answer))
        yield floor
    finally:
        process.kill()
        await process.wait()


async def measure(estate: Estate, directory: Path, scale: Scale) -> list[Figure]:
    """Connect the same satellites to the floor, and change 1 KiB of what they hold; no rows without Go."""
    if find("go") is None:
        estate.talk.print(f"[yellow]no {PEER}: Go 1.26 or newer builds it, and is not at hand")
        return []
    first = await _state(estate)
    steps = await _steps(estate, first)
    async with running_floor(estate, directory, whole(first)) as floor:
        fleet = estate.simulation(replace(scale, heartbeat_s=0.0))
        fleet.place = replace(fleet.place, address=floor.address)
        async with fleet.running():
            before = floor.cost()
            await fleet.begin()
            figures = await rows.connecting(floor, fleet, scale, before)
            idle = await rows.idle(floor, rows.SILENT_S)
            pushes = [partial(floor.push, one) for one in steps]
            figures += await rows.changing(
                floor, fleet, idle, name="change-to-all", count=scale.satellites, pushes=pushes
            )
    return [figure for figure in figures if "database" not in figure.name]
