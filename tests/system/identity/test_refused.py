"""Who is refused: an impostor Ground Control by our programs, and bad certificates by a real Ground Control.

`tests/wire/controlplane/test_identity.py` has the finer points of the latter on listeners in one process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import grpc
import grpc.aio

from fleet.identity import GroundControlId, OperatorId, SatelliteId
from fleet.rpc_errors import from_rpc_error
from fleet.svid import X509Material, read_leaf
from fleet.v1 import fleet_pb2 as pb
from fleet.v1 import state_pb2
from fleet.v1.attestation_pb2 import AttestRequest
from fleet.v1.attestation_pb2_grpc import AttestationServiceStub
from fleet.v1.fleet_pb2_grpc import FleetServiceStub
from fleet.v1.state_pb2_grpc import StateServiceStub
from tests.rig.ground_control import TRUST_DOMAIN, TrustedIdentity, spoken_to
from tests.rig.identity import Realm, echo_server, key_pem, pem, utc_now
from tests.rig.registries import EventLoopThread
from tests.rig.satctl import Satctl
from tests.rig.world import GROUND_CONTROL, World
from tests.wire.controlplane.site import SatelliteStream

ADMIN = str(OperatorId(TRUST_DOMAIN, "admin"))
BOOT = b"b" * 16
IMPOSTOR = str(GroundControlId(TRUST_DOMAIN, "other"))


@dataclass
class Ears(grpc.GenericRpcHandler):
    """Notes every call that reaches a server, whatever it is."""

    heard: list[str] = field(default_factory=list)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> None:
        self.heard.append(handler_call_details.method)


@contextmanager
def server_of(material: X509Material) -> Iterator[tuple[str, list[str]]]:
    """Run a gRPC server with some identity: its address by DNS name, and what it hears."""
    loop, ears = EventLoopThread(), Ears()
    running = echo_server(material, handlers=(ears,))
    try:
        server = loop.call(running.__aenter__())
        try:
            yield f"localhost:{server.port}", ears.heard
        finally:
            loop.call(running.__aexit__(None, None, None))
    finally:
        loop.close()


def test_an_impostor_ground_control_hears_no_word_from_either_program(world: World, tmp_path: Path) -> None:
    forged = world.forger().material(IMPOSTOR, dns_names=("localhost",))
    with server_of(forged) as (address, heard):
        lured = {"ground_control": address, "ground_control_id": str(GROUND_CONTROL)}
        site = world.satellite("lured", **lured)
        with site:
            site.await_that(lambda: "GC_ID_MISMATCH" in site.status().get("link", {}).get("text", ""), "it refuses")
            socket = f"unix://{site.facts['workload_socket']}"
            options = ("--spiffe-endpoint-socket", socket, "--ground-control", address)
            satctl = Satctl(tmp_path, (*options, "--ground-control-id", str(GROUND_CONTROL)))
            refused = satctl.run("satellite", "list")
            assert refused.returncode == 3, refused.stderr
            assert "GC_ID_MISMATCH" in refused.stderr
        assert heard == []


def test_the_same_server_with_the_right_id_is_spoken_to(world: World) -> None:
    genuine = world.forger().material(str(GROUND_CONTROL), dns_names=("localhost",))
    with server_of(genuine) as (address, heard):
        lured = {"ground_control": address, "ground_control_id": str(GROUND_CONTROL)}
        site = world.satellite("trusting", **lured)
        with site:
            site.await_that(lambda: "/fleet.v1.AttestationService/Attest" in heard, "it speaks")


def test_a_real_ground_control_takes_one_good_certificate_and_no_other(world: World) -> None:
    realm = world.forger()
    stale = utc_now() - timedelta(minutes=5)
    assert asked_as(world, realm.material(ADMIN)) == ""
    assert asked_as(world, None) == "GC_UNREACHABLE"
    assert asked_as(world, Realm().material(ADMIN)) == "GC_UNREACHABLE"
    assert asked_as(world, realm.material(ADMIN, ttl=timedelta(minutes=1), at=stale)) == "GC_UNREACHABLE"
    assert asked_as(world, realm.forged([ADMIN, ADMIN.replace("admin", "ann")])) == "SVID_URI_SAN"
    assert asked_as(world, realm.forged([ADMIN], ca=True)) == "SVID_USAGE"


def test_a_stream_whose_peer_does_not_renew_ends_with_its_certificate(world: World) -> None:
    name = SatelliteId(TRUST_DOMAIN, "north", "stubborn")
    brief = world.forger().material(str(name), ttl=timedelta(seconds=4))

    async def stay() -> timedelta:
        async with spoken_to(world.gc.address, str(GROUND_CONTROL), TrustedIdentity(brief, TRUST_DOMAIN)) as channel:
            await AttestationServiceStub(channel).Attest(AttestRequest(boot_id=BOOT))
            stream = SatelliteStream(StateServiceStub(channel))
            await stream.subscribe(BOOT)
            goodbye = await stream.goodbye(within_s=30)
            assert goodbye.reason == state_pb2.GOODBYE_REASON_SVID_EXPIRED
            return utc_now() - read_leaf(brief.chain[0]).not_after

    assert timedelta() <= asyncio.run(stay()) < timedelta(seconds=5)


def asked_as(world: World, caller: X509Material | None) -> str:
    """Ask for a list with some certificate, checking nothing ourselves: the reason of the refusal, or nothing."""

    async def ask() -> str:
        credentials = grpc.ssl_channel_credentials(
            root_certificates=pem(world.forger().bundle),
            private_key=key_pem(caller.key) if caller else None,
            certificate_chain=pem(caller.chain) if caller else None,
        )
        options = (("grpc.ssl_target_name_override", "localhost"), ("grpc.use_local_subchannel_pool", 1))
        async with grpc.aio.secure_channel(world.gc.address, credentials, options=options) as channel:
            try:
                await FleetServiceStub(channel).ListGroups(pb.ListGroupsRequest(), timeout=20)
            except grpc.aio.AioRpcError as error:
                return from_rpc_error(error).reason
            return ""

    return asyncio.run(ask())
