"""The two providers of identities as tests run them: the built-in authority, and real SPIRE."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from certs.authority_store import load_or_make_root
from certs.ca import Root
from controlplane.config import load_settings
from fleet.errors import FleetError
from fleet.identity import OperatorId, SatelliteId
from fleet.v1 import fleet_pb2 as pb
from spire.local_fleet import Lives, SpireFleet, spire_fleet
from spire.root import RootFiles, load_root
from tests.rig.cosign import KeyPair
from tests.rig.ground_control import TRUST_DOMAIN, GroundControl, Member, TrustedIdentity
from tests.rig.identity import Realm, utc_now
from tests.rig.registries import Central, EventLoopThread
from tests.rig.satellite import Satellite
from tests.rig.vertical import until
from tests.rig.world import GROUND_CONTROL, REGION, World, held_by


@dataclass
class BuiltIn(World):
    """Identities from Ground Control's own authority."""

    admin: Member | None = None

    @asynccontextmanager
    async def as_operator(self, name: str = "admin") -> AsyncIterator[TrustedIdentity]:
        if self.admin is None:
            self.admin = await self.gc.join_operator(name)
        yield TrustedIdentity(await self.admin.renew(), TRUST_DOMAIN)  # some tests' identities live for seconds

    def string(self, name: str) -> str:
        """Mint a satellite's join string."""
        request = pb.CreateJoinTokenRequest(satellite=name, region=REGION)
        return str(self.call(lambda fleet: fleet.CreateJoinToken(request)).join_string)

    def satellite(self, name: str, registry: str = "distribution", **options: str) -> Satellite:
        hosts = [self.central.host]
        site = Satellite(self.directory / name, registry=registry, plain_hosts=hosts, options=options)
        site.join(self.string(name))
        return site

    def admit(self, name: str) -> None:
        """Nothing: the token was the approval."""

    def forger(self) -> Realm:
        settings = load_settings(data_dir=self.gc.data_dir)
        root = load_or_make_root(
            settings.authority_directory, TRUST_DOMAIN, at=utc_now(), master_key_file=settings.authority_key
        )
        return Realm(root=root)


@contextmanager
def built_in(directory: Path, central: Central, key: KeyPair, **options: str) -> Iterator[World]:
    """Start a Ground Control with its own authority, and furnish it."""
    with GroundControl(directory, options=options) as gc:
        world = BuiltIn(directory, gc, central, key)
        world.furnish()
        yield world


@dataclass
class Spire(World):
    """Identities from a real spire-server, and an agent for each of them."""

    spire: SpireFleet | None = None
    loop: EventLoopThread | None = None

    @asynccontextmanager
    async def as_operator(self, name: str = "admin") -> AsyncIterator[TrustedIdentity]:
        agent = self._fleet.agents[OperatorId(TRUST_DOMAIN, name)]
        async with held_by(agent.socket) as identity:
            yield identity

    def satellite(self, name: str, registry: str = "distribution", **options: str) -> Satellite:
        socket = self._loop.call(self._fleet.satellite(REGION, name))
        place = {"ground_control": self.gc.address, "ground_control_id": str(GROUND_CONTROL)}
        options = {"spiffe_endpoint_socket": f"unix://{socket}", **place, **options}
        hosts = [self.central.host]
        return Satellite(self.directory / name, registry=registry, plain_hosts=hosts, options=options)

    def admit(self, name: str) -> None:
        until(lambda: self._is_known(name), f"{name} introduced itself")
        self.call(lambda fleet: fleet.ApproveSatellite(pb.ApproveSatelliteRequest(name=name, reason="a test")))

    def forger(self) -> Realm:
        files = self._fleet.trust_bundle
        found = load_root(RootFiles(files, files.with_name("root.key")))
        return Realm(root=Root(TRUST_DOMAIN, found.certificate, found.key))

    def revoke_at_spire(self, name: str) -> None:
        """Take the identity away at its source, too."""
        self._loop.call(self._fleet.revoke(SatelliteId(TRUST_DOMAIN, REGION, name)))

    def _is_known(self, name: str) -> bool:
        try:
            self.call(lambda fleet: fleet.GetSatellite(pb.GetSatelliteRequest(name=name)))
        except FleetError as error:
            if error.reason != "SATELLITE_UNKNOWN":
                raise
            return False
        return True

    @property
    def _fleet(self) -> SpireFleet:
        assert self.spire is not None
        return self.spire

    @property
    def _loop(self) -> EventLoopThread:
        assert self.loop is not None
        return self.loop


@contextmanager
def real_spire(
    directory: Path, central: Central, key: KeyPair, *, lives: Lives | None = None, **options: str
) -> Iterator[World]:
    """Start SPIRE, and a Ground Control with an identity of it, and furnish it."""
    loop = EventLoopThread()
    running = spire_fleet(directory / "spire", trust_domain=TRUST_DOMAIN, lives=lives)
    try:
        spire = loop.call(running.__aenter__())
        try:
            socket = loop.call(_furnished(spire))
            options |= {"spiffe_endpoint_socket": f"unix://{socket}"}
            gc = GroundControl(directory, options=options)
            made = gc.run("init", "admin")
            assert made.returncode == 0, made.stderr
            with gc:
                world = Spire(directory, gc, central, key, spire=spire, loop=loop)
                world.furnish()
                yield world
        finally:
            loop.call(running.__aexit__(None, None, None))
    finally:
        loop.close()


async def _furnished(spire: SpireFleet) -> Path:
    """Give Ground Control and its admin identities; the admin's lives long."""
    socket, _ = await asyncio.gather(
        spire.ground_control("main"), spire.enrol(OperatorId(TRUST_DOMAIN, "admin"), svid_ttl=timedelta(hours=1))
    )
    return socket
