"""Revocation: out within five seconds, and no way back but an operator's."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable

import grpc
import grpc.aio
import pytest

from certs.device_key import load_device_key
from certs.enrollment import Enrollment
from edge.home import Home
from fleet.bridge import Bridge
from fleet.errors import FleetError
from fleet.rpc_errors import from_rpc_error
from fleet.svid import X509Material
from fleet.v1 import attestation_pb2, state_pb2
from fleet.v1.attestation_pb2_grpc import AttestationServiceStub
from fleet.v1.state_pb2_grpc import StateServiceStub
from tests.rig.ground_control import TRUST_DOMAIN, TrustedIdentity
from tests.rig.identity import utc_now
from tests.rig.providers import BuiltIn
from tests.rig.satellite import Satellite
from tests.rig.world import GROUND_CONTROL, World

pytestmark = [pytest.mark.needs_cosign, pytest.mark.needs_registry]

OUT_S = 5.0
BOOT = secrets.token_bytes(16)


def test_a_revoked_satellite_is_out_and_comes_back_by_an_operator_alone(world: World) -> None:
    artifact = world.push("kept")
    world.pin(artifact)
    site = world.satellite("outcast")
    with site:
        world.admit("outcast")
        world.assign(artifact, "outcast")
        site.await_published(artifact)
        valid = world.material_of(site)
        assert reasons(world, valid, streams=False) == {"Attest": "", "GetState": ""}
        world.revoke("outcast")
        began = time.monotonic()
        site.await_link("REVOKED")
        assert time.monotonic() - began < OUT_S
        assert site.pull("kept", "1")[0] == 200, "what it serves is the site's own choice"
        assert set(reasons(world, valid).values()) == {"REVOKED"}
    with site:  # a restart attests anew, or renews: SPIRE's SVID is as valid as it was
        site.await_link("REVOKED")
        assert set(reasons(world, valid).values()) == {"REVOKED"}
        assert renewal(world, site) in {"REVOKED", ""}
    world.reinstate("outcast")
    come_back(world, site)
    with site:
        world.admit("outcast")
        site.await_published(artifact)
        site.await_link()


def test_a_site_that_stops_when_revoked_serves_again_once_it_has_joined_anew(world: World) -> None:
    artifact = world.push("strict")
    world.pin(artifact)
    site = world.satellite("strict", on_revoked="stop")
    with site:
        world.admit("strict")
        world.assign(artifact, "strict")
        site.await_published(artifact)
        ready = site.data_dir / "satellite.ready"
        world.revoke("strict")
        site.await_that(lambda: not ready.exists(), "it stops serving")
    world.reinstate("strict")
    come_back(world, site)
    with site:
        world.admit("strict")
        site.await_published(artifact)
        assert site.pull("strict", "1")[0] == 200


def come_back(world: World, site: Satellite) -> None:
    """Do what an operator's reinstatement asks of a site: with the built-in authority, join by a new token."""
    if isinstance(world, BuiltIn):
        assert renewal(world, site) == "DEVICE_UNKNOWN"
        site.join(world.string(site.directory.name))


def renewal(world: World, site: Satellite) -> str:
    """Try to renew by the device key: the reason of the refusal; nothing where there is no such thing."""
    if not isinstance(world, BuiltIn):
        return ""
    home = Home(site.data_dir)
    place, key = home.read_place(), load_device_key(home.device_key)
    assert place is not None
    assert key is not None
    try:
        asyncio.run(Enrollment(place, key, now=utc_now).renew())
    except FleetError as error:
        return error.reason
    return "renewed"


def reasons(world: World, material: X509Material, *, streams: bool = True) -> dict[str, str]:
    """Call with an identity: each call's refusal, or nothing."""

    async def run() -> dict[str, str]:
        source = TrustedIdentity(material, TRUST_DOMAIN)
        async with (
            Bridge(world.gc.address, expected=GROUND_CONTROL, source=source) as bridge,
            bridge.channel() as channel,
        ):
            attest = AttestationServiceStub(channel).Attest(attestation_pb2.AttestRequest(boot_id=BOOT))
            found = {
                "Attest": await reason_of(attest),
                "GetState": await reason_of(StateServiceStub(channel).GetState(state_pb2.GetStateRequest())),
            }
            if streams:
                while (reason := await reason_of(first_answer(StateServiceStub(channel)))) == "CALL_ENDED":
                    pass  # refused while the Subscribe went out: grpcio has lost why
                found["StreamState"] = reason
            return found

    return asyncio.run(run())


async def reason_of(call: Awaitable[object]) -> str:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error).reason
    return ""


async def first_answer(stub: StateServiceStub) -> object:
    call = stub.StreamState()
    opening = state_pb2.Subscribe(protocol_version=1, boot_id=BOOT, session_number=1)
    await call.write(state_pb2.StreamStateRequest(subscribe=opening))
    return await call.read()
