"""What a satellite reports is what satctl shows, in `status` and in `watch`; and an identity from a Workload API."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from certs.workload import WorkloadServer
from fleet.svid import X509Material
from fleet.v1 import attestation_pb2, resource_pb2, state_pb2
from fleet.v1.attestation_pb2_grpc import AttestationServiceStub
from fleet.v1.state_pb2_grpc import StateServiceStub
from tests.rig.ground_control import GroundControl, join
from tests.rig.satctl import Satctl, Watching

ARTIFACT = "depot/library/nginx:1.27"
DIGEST = "sha256:" + "7e" * 32
LATER = Timestamp(seconds=4_102_444_800)
"""2100-01-01"""


Report = Callable[[state_pb2.StateReport], Awaitable[None]]


def report(
    sequence: int, state: state_pb2.ArtifactState.ValueType, reason: str, done: int = 0
) -> state_pb2.StateReport:
    """Say how the one image of a satellite stands; control characters and all."""
    exception = state_pb2.ResourceException(
        kind=resource_pb2.RESOURCE_KIND_ARTIFACT,
        name=ARTIFACT,
        scope="satellite/kiosk-status",
        state=state,
        reason=reason,
        text="nobody signed it\x1b[2J",
        done_bytes=done,
        total_bytes=2048,
        rate_bytes_per_s=256 if done else 0,
        retry_at=None if done else LATER,
    )
    waiting = state == state_pb2.ARTIFACT_STATE_WAITING
    return state_pb2.StateReport(
        sequence=sequence, desired=1, waiting=int(waiting), refused=int(not waiting), exceptions=[exception]
    )


@asynccontextmanager
async def online(line: str, directory: Path) -> AsyncIterator[Report]:
    """Be a satellite that joined and opened its stream: the answer sends its reports."""
    boot_id = secrets.token_bytes(16)
    member = await join(line, directory)
    async with member.channel() as channel:
        await AttestationServiceStub(channel).Attest(attestation_pb2.AttestRequest(boot_id=boot_id))
        stream = StateServiceStub(channel).StreamState()
        subscribe = state_pb2.Subscribe(protocol_version=1, boot_id=boot_id, session_number=1)
        await stream.write(state_pb2.StreamStateRequest(subscribe=subscribe))
        await stream.read()

        async def send(what: state_pb2.StateReport) -> None:
            await stream.write(state_pb2.StreamStateRequest(report=what))

        try:
            yield send
        finally:
            stream.cancel()


def stands(event: dict[str, Any], word: str) -> bool:
    exceptions = (event.get("status", {}).get("report") or {}).get("exceptions", [])
    return [(one["name"], one["state"]) for one in exceptions] == [(ARTIFACT, word)]


def came(event: dict[str, Any], done: int) -> bool:
    exceptions = (event.get("status", {}).get("report") or {}).get("exceptions", [])
    return [one["done_bytes"] for one in exceptions] == [done]


async def test_what_is_under_way_and_what_is_refused_is_seen_as_it_happens(admin: Satctl, tmp_path: Path) -> None:
    def prepare() -> str:
        admin.ok("source", "create", "depot", "--address", "127.0.0.1:1", "--plain-http")
        line = admin.ok("token", "create", "--satellite", "kiosk-status", "--ttl", "10m")
        admin.ok("assign", f"{ARTIFACT}@{DIGEST}", "--to", "satellite/kiosk-status")
        return line

    def look_on() -> None:
        (artifact,) = admin.json("status", "kiosk-status")["artifacts"]
        assert (artifact["reason"], artifact["rate_bytes_per_s"], artifact["retry_at"]) == ("TRANSFERRING", 256, None)
        shown = admin.ok("status", "kiosk-status")
        assert "0.5 of 2.0 KiB, 256 B/s, 6s left" in shown
        assert "1.5 KiB, 256 B/s, 6s" in shown

    def look() -> None:
        status = admin.json("status", "kiosk-status")
        assert (status["status"]["lifecycle"], status["status"]["converged"]) == ("online", False)
        (artifact,) = status["artifacts"]
        assert (artifact["state"], artifact["reason"]) == ("refused", "NO_SIGNATURE")
        shown = admin.ok("status", "kiosk-status") + admin.ok("status")
        assert re.search(r"NO_SIGNATURE until (2100-01-01|2099-12-31) \d\d:\d\d: nobody signed it", shown)
        assert "\x1b" not in shown

    line = await asyncio.to_thread(prepare)
    with Watching(admin) as watching:
        async with online(line, tmp_path / "satellite") as send:
            await asyncio.to_thread(watching.until, lambda event: event["event"] == "caught_up")
            await send(report(1, state_pb2.ARTIFACT_STATE_WAITING, "TRANSFERRING", done=512))
            seen = await asyncio.to_thread(watching.until, lambda event: stands(event, "waiting"))
            (exception,) = seen["status"]["report"]["exceptions"]
            assert (exception["done_bytes"], exception["total_bytes"]) == (512, 2048)
            assert (exception["rate_bytes_per_s"], exception["retry_at"]) == (256, None)
            await asyncio.to_thread(look_on)
            await send(report(2, state_pb2.ARTIFACT_STATE_WAITING, "TRANSFERRING", done=1024))
            await asyncio.to_thread(watching.until, lambda event: came(event, 1024))
            await send(report(3, state_pb2.ARTIFACT_STATE_REFUSED, "NO_SIGNATURE"))
            await asyncio.to_thread(watching.until, lambda event: stands(event, "refused"))
            await asyncio.to_thread(look)


@asynccontextmanager
async def workload_api(path: Path, material: X509Material) -> AsyncIterator[str]:
    server = WorkloadServer()
    await server.start(path)
    try:
        await server.publish(material)
        yield f"unix://{path}"
    finally:
        await server.stop()


async def test_an_identity_comes_from_a_workload_api_without_a_login(
    ground_control: GroundControl, tmp_path: Path
) -> None:
    operator = await ground_control.join_operator("spire-user")
    private = tmp_path / "workload"
    private.mkdir(mode=0o700)
    place = ("--ground-control", ground_control.address, "--ground-control-id", operator.place.ground_control)
    async with workload_api(private / "api.sock", operator.material) as socket:
        satctl = Satctl(tmp_path / "nowhere", (*place, "--spiffe-endpoint-socket", socket))
        told = await asyncio.to_thread(satctl.json, "whoami")
        assert (told["spiffe_id"], told["role"]) == ("spiffe://fleet.test/operator/spire-user", "admin")
        impostor = ("--ground-control-id", "spiffe://fleet.test/gc/other", "--spiffe-endpoint-socket", socket)
        other = Satctl(satctl.home, (*place[:2], *impostor))
        code, said = await asyncio.to_thread(other.refused, "whoami")
        assert (code, said.partition(":")[0]) == (3, "GC_ID_MISMATCH")
    assert not satctl.home.exists()
