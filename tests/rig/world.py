"""A Ground Control with either provider of identities, spoken to the same way: the built-in authority, or real SPIRE.

with built_in(tmp_path, central, key) as world:            # tests.rig.providers; or real_spire(...)
    with world.satellite("kiosk-1", "zot"):                # joined, or attested by an agent of its own
        world.admit("kiosk-1")                             # approved, where a token has not been the approval
        world.assign(world.push("app"), "kiosk-1")
"""

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import grpc.aio

from fleet.bridge import Bridge
from fleet.errors import FleetError
from fleet.identity import GroundControlId
from fleet.reference import Digest
from fleet.rpc_errors import from_rpc_error
from fleet.svid import X509Material
from fleet.v1 import fleet_pb2 as pb
from fleet.v1 import resource_pb2 as resource
from fleet.v1.fleet_pb2_grpc import FleetServiceStub
from fleet.workloadsource import WorkloadSource
from tests.rig import cosign
from tests.rig.cosign import KeyPair
from tests.rig.ground_control import TRUST_DOMAIN, GroundControl, TrustedIdentity
from tests.rig.identity import Realm
from tests.rig.registries import Central
from tests.rig.satellite import Satellite

T = TypeVar("T")
REGION = "north"
GROUND_CONTROL = GroundControlId(TRUST_DOMAIN, "main")
READY = timedelta(seconds=30)


@dataclass
class World(ABC):
    """A Ground Control with one source, `hub`, and one policy, `base`."""

    directory: Path
    gc: GroundControl
    central: Central
    key: KeyPair
    digests: dict[str, Digest] = field(default_factory=dict)

    @abstractmethod
    def as_operator(self, name: str = "admin") -> AbstractAsyncContextManager[TrustedIdentity]:
        """Have an operator's identity, fresh."""

    @abstractmethod
    def satellite(self, name: str, registry: str = "distribution", **options: str) -> Satellite:
        """Give a satellite what it needs to run; it is not started yet."""

    @abstractmethod
    def admit(self, name: str) -> None:
        """Let a satellite in that has introduced itself."""

    @abstractmethod
    def forger(self) -> Realm:
        """Hold the key of the trust domain's root: whoever has it can sign anything."""

    # Calls ------------------------------------------------------------------------------------------------

    def call(self, ask: Callable[[FleetServiceStub], Awaitable[T]]) -> T:
        """Make one call as the admin.

        Raises:
            FleetError: what Ground Control says.
        """

        async def run() -> T:
            async with self.as_operator() as identity:
                return await self._spoken(identity, lambda channel: ask(FleetServiceStub(channel)))

        return asyncio.run(run())

    def as_satellite(self, site: Satellite, ask: Callable[[grpc.aio.Channel], Awaitable[T]]) -> T:
        """Call with the identity that a running satellite has."""

        async def run() -> T:
            async with held_by(Path(str(site.facts["workload_socket"]))) as identity:
                return await self._spoken(identity, ask)

        return asyncio.run(run())

    def material_of(self, site: Satellite) -> X509Material:
        """The identity that a running satellite has now."""

        async def run() -> X509Material:
            async with held_by(Path(str(site.facts["workload_socket"]))) as identity:
                found = identity.svid()
                assert found is not None
                return found

        return asyncio.run(run())

    async def _spoken(self, identity: TrustedIdentity, ask: Callable[[grpc.aio.Channel], Awaitable[T]]) -> T:
        async with (
            Bridge(self.gc.address, expected=GROUND_CONTROL, source=identity) as bridge,
            bridge.channel() as channel,
        ):
            try:
                return await ask(channel)
            except grpc.aio.AioRpcError as error:
                raise from_rpc_error(error) from error

    def refusal(self, attempt: Callable[[], object]) -> FleetError:
        """Do what must fail: `→ what Ground Control said`."""
        try:
            answer = attempt()
        except FleetError as error:
            return error
        raise AssertionError(f"not refused: {answer}")

    # Content ----------------------------------------------------------------------------------------------

    def furnish(self) -> None:
        """Make the source and the policy."""
        authority = resource.Authority(
            name="release",
            formats=[resource.SIGNATURE_FORMAT_SIGSTORE_BUNDLE],
            keys=resource.KeySet(public_keys_pem=[self.key.pem.decode()]),
        )
        policy = resource.PolicySpec(images=["**"], authorities=[authority])
        source = resource.SourceSpec(address=self.central.host, plain_http=True)
        self.change(
            pb.Change(source=pb.Source(name="hub", spec=source)),
            pb.Change(policy=pb.Policy(name="base", spec=policy)),
        )

    def change(self, *changes: pb.Change) -> None:
        """Apply changes as one revision."""
        self.call(lambda fleet: fleet.ApplyChanges(pb.ApplyChangesRequest(changes=changes)))

    def push(self, repository: str) -> str:
        """Push an image of random content and sign it: `→ its artifact's name`."""
        made = self.central.push_image(repository, "1", layers=(os.urandom(2000),))
        cosign.sign(f"{self.central.host}/{repository}@{made.digest}", self.key)
        self.digests[f"hub/{repository}:1"] = made.digest
        return f"hub/{repository}:1"

    def pin(self, *artifacts: str) -> None:
        """Name pushed images by their digests."""
        self.change(*(pb.Change(artifact=pb.Artifact(name=one, spec=self._spec(one))) for one in artifacts))

    def _spec(self, artifact: str) -> resource.ArtifactSpec:
        repository = artifact.removeprefix("hub/").removesuffix(":1")
        return resource.ArtifactSpec(source="hub", repository=repository, tag="1", digest=self.digests[artifact])

    def assign(self, artifact: str, satellite: str) -> None:
        """Assign an artifact to one satellite."""
        self.change(pb.Change(assignment=pb.Assignment(artifact=artifact, scope=f"satellite/{satellite}")))

    def unassign(self, artifact: str, satellite: str) -> None:
        """Take it away again."""
        assignment = pb.Assignment(artifact=artifact, scope=f"satellite/{satellite}")
        self.change(pb.Change(delete=pb.Deletion(assignment=assignment)))

    def status(self, name: str) -> pb.SatelliteStatus:
        """What Ground Control knows of a satellite."""
        request = pb.GetSatelliteStatusRequest(name=name)
        return self.call(lambda fleet: fleet.GetSatelliteStatus(request)).status

    def revoke(self, name: str) -> None:
        """Turn a satellite away."""
        self.call(lambda fleet: fleet.RevokeSatellite(pb.RevokeSatelliteRequest(name=name, reason="a test")))

    def reinstate(self, name: str) -> None:
        """Let it join again."""
        self.call(lambda fleet: fleet.ReinstateSatellite(pb.ReinstateSatelliteRequest(name=name, reason="a test")))


@asynccontextmanager
async def held_by(socket: Path) -> AsyncIterator[TrustedIdentity]:
    """Read an identity from a Workload API socket, as any workload that may open it."""
    async with WorkloadSource(socket) as source:
        yield TrustedIdentity(await source.ready(within=READY), TRUST_DOMAIN)
