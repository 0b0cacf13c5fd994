"""A whole SPIRE on one machine: one server, and for each identity a machine of its own, as an agent.

Everything there has one user, so an agent could not tell its callers apart: each identity has its own agent, device
certificate and socket, and the socket's private directory says who may ask. For the demonstration and the tests.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

from certs.private_file import private_directory
from fleet.identity import FleetId, GroundControlId, OperatorId, SatelliteId
from spire.configuration import (
    MINIMUM_DEFAULT_TTL,
    AgentSettings,
    Attestor,
    JoinToken,
    JoinTokenTrust,
    ServerSettings,
    X509PopTrust,
)
from spire.device_certificate import make_device_certificate
from spire.entries import Workload, node_entry, node_id, register, revoke, workload_entry
from spire.programs import SpirePrograms, find_programs
from spire.root import RootFiles, keep_root, load_root
from spire.supervise import SpireAgent, SpireServer


@dataclass(frozen=True, slots=True)
class Lives:
    """How long things live. SVIDs of seconds want agents that look often: `sync_interval` at most a quarter."""

    svid_ttl: timedelta = timedelta(hours=1)
    agent_ttl: timedelta = timedelta(hours=1)
    ca_ttl: timedelta = timedelta(hours=24)
    sync_interval: timedelta = timedelta(seconds=1)


class SpireFleet:
    """The server and the agents that were asked for; `spire_fleet` makes and ends it."""

    def __init__(
        self,
        directory: Path,
        programs: SpirePrograms,
        server: SpireServer,
        *,
        roots: tuple[RootFiles, RootFiles],
        lives: Lives,
        stack: AsyncExitStack,
    ) -> None:
        self.server = server
        self.agents: dict[FleetId, SpireAgent] = {}
        self._directory = directory
        self._programs = programs
        self._root, self._devices = roots
        self._lives = lives
        self._stack = stack
        self._locks: defaultdict[FleetId, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._made = count()

    @property
    def trust_domain(self) -> str:
        """The trust domain."""
        return self.server.settings.trust_domain

    @property
    def trust_bundle(self) -> Path:
        """PEM of the trust domain's root."""
        return self._root.certificate

    async def ground_control(
        self, deployment: str, *, dns_names: tuple[str, ...] = ("localhost",), svid_ttl: timedelta | None = None
    ) -> Path:
        """Give Ground Control an identity; return its Workload API socket once the SVID can be had.

        Raises:
            FleetError: UNAVAILABLE `SPIRE_FAILED`, `SPIRE_UNHEALTHY` or `SPIRE_UNREACHABLE`.
        """
        identity = GroundControlId(self.trust_domain, deployment)
        return await self.enrol(identity, dns_names=dns_names, svid_ttl=svid_ttl)

    async def satellite(self, region: str, name: str, *, svid_ttl: timedelta | None = None) -> Path:
        """Give a satellite an identity; return its Workload API socket once the SVID can be had.

        Raises:
            FleetError: UNAVAILABLE `SPIRE_FAILED`, `SPIRE_UNHEALTHY` or `SPIRE_UNREACHABLE`.
        """
        return await self.enrol(SatelliteId(self.trust_domain, region, name), svid_ttl=svid_ttl)

    async def operator(self, name: str) -> Path:
        """Give an operator an identity; return its Workload API socket once the SVID can be had.

        Raises:
            FleetError: UNAVAILABLE `SPIRE_FAILED`, `SPIRE_UNHEALTHY` or `SPIRE_UNREACHABLE`.
        """
        return await self.enrol(OperatorId(self.trust_domain, name))

    async def enrol(
        self,
        identity: FleetId,
        *,
        dns_names: tuple[str, ...] = (),
        svid_ttl: timedelta | None = None,
        by_join_token: bool = False,
    ) -> Path:
        """Give an identity a machine and its entries, once; return the Workload API socket of its agent.

        Raises:
            FleetError: UNAVAILABLE `SPIRE_FAILED`, `SPIRE_UNHEALTHY` or `SPIRE_UNREACHABLE`.
        """
        async with self._locks[identity]:  # different identities may come at once
            if identity not in self.agents:
                ttl = svid_ttl or self._lives.svid_ttl
                workload = workload_entry(identity, Workload(os.getuid()), dns_names=dns_names, svid_ttl=ttl)
                node = None if by_join_token else node_entry(identity)
                await register(self.server.registrar, node, workload)
                agent = await self._agent(identity, by_join_token=by_join_token)
                await self._stack.enter_async_context(agent)
                await agent.until_served()
                self.agents[identity] = agent
        return self.agents[identity].socket

    async def revoke(self, identity: FleetId) -> list[str]:
        """Take an identity away for good; return the agents banned.

        Raises:
            FleetError: UNAVAILABLE `SPIRE_UNREACHABLE`.
        """
        return await revoke(self.server.registrar, identity)

    async def _agent(self, identity: FleetId, *, by_join_token: bool) -> SpireAgent:
        number = next(self._made)
        directory = private_directory(self._directory / f"agent-{number}")
        attestor: Attestor
        if by_join_token:
            attestor = JoinToken(directory / "token")
            attestor.token_file.touch(mode=0o600)
            attestor.token_file.write_text(await self.server.registrar.join_token(node_id(identity)))
        else:
            device = make_device_certificate(load_root(self._devices), identity, at=datetime.now(UTC))
            attestor = device.save(directory / "device")
        settings = AgentSettings(
            trust_domain=self.trust_domain,
            directory=directory,
            socket=self.server.socket.parent / f"{number}" / "api.sock",
            server_address=self.server.settings.address,
            server_port=self.server.settings.port,
            trust_bundle=self.trust_bundle,
            attestor=attestor,
            sync_interval=self._lives.sync_interval,
        )
        return SpireAgent(self._programs.agent, settings)


@asynccontextmanager
async def spire_fleet(directory: Path, *, trust_domain: str, lives: Lives | None = None) -> AsyncIterator[SpireFleet]:
    """Run a spire-server under a ten-year root, and agents as they are asked for, until the block ends.

    Args:
        directory: fresh and private, for keys, state and logs; sockets are apart, where paths are short enough.
        trust_domain: without scheme.
        lives: of SVIDs and authorities.

    Raises:
        FleetError: PRECONDITION `SPIRE_MISSING`; UNAVAILABLE `SPIRE_FAILED` or `SPIRE_UNHEALTHY`.
    """
    programs, lives = find_programs(), lives or Lives()
    private_directory(directory)
    at = datetime.now(UTC)
    root = keep_root(directory / "root", f"{trust_domain} root", at=at, trust_domain=trust_domain)
    devices = keep_root(directory / "devices", f"{trust_domain} devices", at=at)
    sockets = Path(tempfile.mkdtemp(prefix="spire-"))  # 0700
    settings = ServerSettings(
        trust_domain=trust_domain,
        directory=directory / "server",
        socket=sockets / "server.sock",
        port=0,
        trusts=(X509PopTrust(devices.certificate), JoinTokenTrust()),
        root_certificate=root.certificate,
        root_key=root.key,
        svid_ttl=max(lives.svid_ttl, MINIMUM_DEFAULT_TTL),  # the entries say the rest
        agent_ttl=lives.agent_ttl,
        ca_ttl=lives.ca_ttl,
        entry_reload=lives.sync_interval,
    )
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, sockets, ignore_errors=True)
        server = await stack.enter_async_context(SpireServer(programs.server, settings))
        yield SpireFleet(directory, programs, server, roots=(root, devices), lives=lives, stack=stack)
