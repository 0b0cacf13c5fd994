"""A Ground Control with a source and a policy, a central registry, and satellites that join."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge.app.ports import Credential
from fleet.v1 import fleet_pb2 as pb
from fleet.v1 import resource_pb2 as resource
from tests.rig import cosign
from tests.rig.cosign import KeyPair
from tests.rig.ground_control import GroundControl, Member, mint
from tests.rig.registries import Central, running_central
from tests.rig.satellite import Satellite


@dataclass
class Fleet:
    """A Ground Control with one source and one policy, spoken to as an admin."""

    gc: GroundControl
    admin: Member
    central: Central
    key: KeyPair

    def change(self, *changes: pb.Change) -> None:
        async def apply() -> None:
            await self.admin.renew()  # SVIDs of some tests live for seconds
            async with self.admin.fleet() as stub:
                await stub.ApplyChanges(pb.ApplyChangesRequest(changes=changes))

        asyncio.run(apply())

    def assign(self, name: str, satellite: str) -> None:
        self.change(pb.Change(assignment=pb.Assignment(artifact=name, scope=f"satellite/{satellite}")))

    def unassign(self, name: str, satellite: str) -> None:
        assignment = pb.Assignment(artifact=name, scope=f"satellite/{satellite}")
        self.change(pb.Change(delete=pb.Deletion(assignment=assignment)))

    def satellite(self, directory: Path, name: str, **options: str) -> Satellite:
        """Make a satellite that has joined and does not run yet."""
        hosts = [self.central.host]
        site = Satellite(directory / name, registry="distribution", plain_hosts=hosts, options=options)

        async def token() -> str:
            await self.admin.renew()
            return await mint(self.admin, name)

        site.join(asyncio.run(token()))
        return site

    def revoke(self, name: str) -> None:
        async def call() -> None:
            await self.admin.renew()  # SVIDs of some tests live for seconds
            async with self.admin.fleet() as stub:
                await stub.RevokeSatellite(pb.RevokeSatelliteRequest(name=name, reason="a test"))

        asyncio.run(call())

    def status(self, name: str) -> pb.SatelliteStatus:
        async def ask() -> pb.SatelliteStatus:
            await self.admin.renew()  # SVIDs of some tests live for seconds
            async with self.admin.fleet() as stub:
                answer = await stub.GetSatelliteStatus(pb.GetSatelliteStatusRequest(name=name))
                return answer.status

        return asyncio.run(ask())

    def push(self, repository: str, tag: str, *, signed: bool = True, size_bytes: int = 2000) -> str:
        """Push an image of fresh content: `→ its digest`."""
        made = self.central.push_image(repository, tag, layers=(os.urandom(size_bytes),))
        if signed:
            cosign.sign(f"{self.central.host}/{repository}@{made.digest}", self.key)
        return made.digest

    def guard(self, name: str, address: str, login: Credential) -> None:
        """Make a source that wants a login, and store it."""
        spec = resource.SourceSpec(address=address, plain_http=True, needs_credential=True, local_prefix=name)
        self.change(pb.Change(source=pb.Source(name=name, spec=spec)))

        async def store() -> None:
            request = pb.SetSourceCredentialRequest(source=name, username=login.username, password=login.password)
            async with self.admin.fleet() as stub:
                await stub.SetSourceCredential(request)

        asyncio.run(store())

    def sign_at(self, private: Central, reference: str) -> None:
        """Sign in a registry with a login."""
        assert private.login is not None
        offline = ("--use-signing-config=false", "--tlog-upload=false", "--allow-http-registry", "-y")
        login = ("--registry-username", private.login.username, "--registry-password", private.login.password)
        cosign.run("sign", *offline, *login, "--key", self.key.private, f"{private.host}/{reference}")


def prepared(gc: GroundControl, central: Central, key: KeyPair) -> Fleet:
    """Log in and make the source and the policy."""
    fleet = Fleet(gc, asyncio.run(gc.join_operator()), central, key)
    authority = resource.Authority(
        name="release",
        formats=[resource.SIGNATURE_FORMAT_SIGSTORE_BUNDLE],
        keys=resource.KeySet(public_keys_pem=[key.pem.decode()]),
    )
    fleet.change(
        pb.Change(source=pb.Source(name="hub", spec=resource.SourceSpec(address=central.host, plain_http=True))),
        pb.Change(policy=pb.Policy(name="base", spec=resource.PolicySpec(images=["**"], authorities=[authority]))),
    )
    return fleet


@pytest.fixture(scope="module")
def central(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Central]:
    with running_central(tmp_path_factory.mktemp("central")) as running:
        yield running


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return cosign.generate_key(tmp_path_factory.mktemp("keys"), "release")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, central: Central, key: KeyPair) -> Iterator[Fleet]:
    """One Ground Control for a module; each test has satellites of its own."""
    with GroundControl(tmp_path_factory.mktemp("fleet"), options={"svid_ttl": "10s"}) as gc:
        yield prepared(gc, central, key)
