"""The two listeners, put together: services, guards, credentials, and how hard a peer may lean on them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from certs.registrar import Registrar
from controlplane.app.fleet import Fleet
from controlplane.app.meter import Meter
from controlplane.app.tracing import Tracer
from controlplane.rpc.attestation_service import AttestService, BootstrapService
from controlplane.rpc.authorization import Listener
from controlplane.rpc.board import Board
from controlplane.rpc.consult import Consultant, SharedParts
from controlplane.rpc.credentials import ServerIdentity
from controlplane.rpc.fleet_service import FleetService, Invitation
from controlplane.rpc.gate import Gate, identify_anyone
from controlplane.rpc.guard import MAX_OPERATOR_BYTES, Guard
from controlplane.rpc.health_service import HealthService
from controlplane.rpc.healths import Healths
from controlplane.rpc.reports import Reports
from controlplane.rpc.rpc_meter import handshake_counter
from controlplane.rpc.sessions import Sessions
from controlplane.rpc.state_service import StateService
from controlplane.rpc.stream import StreamParts
from controlplane.rpc.stream_meter import StreamMeter
from controlplane.rpc.turnstile import Turnstile
from controlplane.rpc.watch import Watcher
from fleet.errors import FleetError, Kind
from fleet.v1 import attestation_pb2_grpc, fleet_pb2_grpc
from fleet.v1 import health_pb2_grpc as fleet_health_grpc

SERVICES = (
    "fleet.v1.AttestationService",
    "fleet.v1.StateService",
    "fleet.v1.HealthService",
    "fleet.v1.FleetService",
)
_MINUTE_MS = 60_000
_OPTIONS = (
    ("grpc.so_reuseport", 1),
    # A little above our own limit, so that what is just too large still gets our error and not gRPC's.
    ("grpc.max_receive_message_length", MAX_OPERATOR_BYTES + 1024 * 1024),
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", _MINUTE_MS),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
    # How large a TLS record is: a connection has a buffer for one as long as it lives, of 16 KiB unless told otherwise.
    ("grpc.tsi.max_frame_size", 2048),
)


@dataclass(frozen=True, slots=True)
class Pace:
    """What satellites are told of when to speak."""

    health_interval: timedelta
    reconnect_window: timedelta


class FleetListener:
    """The listener for whoever has a certificate."""

    def __init__(
        self,
        fleet: Fleet,
        identity: ServerIdentity,
        *,
        deployment: str,
        pace: Pace,
        invitation: Invitation | None,
        now: Callable[[], datetime],
    ) -> None:
        turnstile = Turnstile(time.monotonic)
        gate = Gate(fleet, trust_domain=fleet.trust_domain, roots=lambda: identity.roots, now=now, turnstile=turnstile)
        self.board = Board(fleet, gate)
        self._identity = identity
        self._health = health.aio.HealthServicer()
        self.server = grpc.aio.server(
            interceptors=(Guard(Listener.FLEET, gate.identify, fleet.meter, fleet.tracer),), options=_OPTIONS
        )
        watcher = Watcher(fleet, self.board, gate, now=now)
        attest = AttestService(
            fleet,
            self.board,
            turnstile,
            deployment=deployment,
            health_interval=pace.health_interval,
            reconnect_window=pace.reconnect_window,
            now=now,
        )
        self._consultant = Consultant(fleet)
        self._sessions = Sessions(fleet, self.board)
        self._reports = Reports(fleet, fleet.tracer)
        meter = StreamMeter(fleet.meter, self.board, self._reports)
        self._handshake = handshake_counter(fleet.meter, Listener.FLEET.value)
        self._healths = Healths(fleet)
        parts = StreamParts(
            fleet=fleet,
            board=self.board,
            turnstile=turnstile,
            sessions=self._sessions,
            reports=self._reports,
            healths=self._healths,
            consultant=self._consultant,
            shared=SharedParts(),
            meter=meter,
            now=now,
        )
        state = StateService(parts)
        operators = FleetService(fleet, watcher=watcher, invitation=invitation)
        attestation_pb2_grpc.add_AttestationServiceServicer_to_server(attest, self.server)
        self.server.add_generic_rpc_handlers((state.handlers(),))
        fleet_health_grpc.add_HealthServiceServicer_to_server(
            HealthService(self._healths, interval=pace.health_interval), self.server
        )
        fleet_pb2_grpc.add_FleetServiceServicer_to_server(operators, self.server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.server)
        reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), self.server)

    async def run(self) -> None:
        """Do what open streams need, until cancelled: follow the log, patrol, ask the store, write what is told."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.board.run())
            tasks.create_task(self._consultant.run())
            tasks.create_task(self._sessions.run())
            tasks.create_task(self._reports.run())
            tasks.create_task(self._healths.run())

    async def start(self, address: str) -> int:
        """Listen: `host:port → port`.

        Raises:
            FleetError: PRECONDITION `ADDRESS_IN_USE`.
        """
        port = _bind(self.server, address, self._identity.credentials(clients=True, begun=self._handshake))
        await self.server.start()
        for service in ("", *SERVICES):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        return port

    async def stop(self, grace: timedelta) -> None:
        """Listen no more, say goodbye to every stream in its turn, let calls end, and stop."""
        await self._health.enter_graceful_shutdown()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.server.stop(grace.total_seconds()))
            tasks.create_task(self.board.drain(within=grace / 2))


class BootstrapListener:
    """The listener for whoever has no certificate yet."""

    def __init__(
        self,
        registrar: Registrar,
        identity: ServerIdentity,
        *,
        challenge_secret: bytes,
        now: Callable[[], datetime],
        meter: Meter,
        tracer: Tracer | None = None,
    ) -> None:
        self._identity = identity
        self._handshake = handshake_counter(meter, Listener.BOOTSTRAP.value)
        self.server = grpc.aio.server(
            interceptors=(Guard(Listener.BOOTSTRAP, identify_anyone, meter, tracer),), options=_OPTIONS
        )
        service = BootstrapService(registrar, challenge_secret=challenge_secret, now=now, meter=meter)
        attestation_pb2_grpc.add_AttestationServiceServicer_to_server(service, self.server)

    async def start(self, address: str) -> int:
        """Listen: `host:port → port`.

        Raises:
            FleetError: PRECONDITION `ADDRESS_IN_USE`.
        """
        port = _bind(self.server, address, self._identity.credentials(clients=False, begun=self._handshake))
        await self.server.start()
        return port

    async def stop(self, grace: timedelta) -> None:
        """Let calls end and stop."""
        await self.server.stop(grace.total_seconds())


def _bind(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials) -> int:
    try:
        return server.add_secure_port(address, credentials)
    except RuntimeError as error:
        text = "this address cannot be listened on: another program may have it"
        raise FleetError(Kind.PRECONDITION, "ADDRESS_IN_USE", text, subject=address) from error
