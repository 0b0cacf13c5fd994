"""`satellite run` against a real Ground Control, a real source and real signatures."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fleet.v1 import fleet_pb2 as pb
from fleet.v1 import resource_pb2 as resource
from tests.rig import cosign
from tests.rig.cosign import KeyPair
from tests.rig.ground_control import GroundControl, Member, mint
from tests.rig.registries import Central, running_central
from tests.rig.satellite import Satellite

pytestmark = [pytest.mark.needs_cosign, pytest.mark.needs_registry]


@pytest.fixture(scope="module")
def central(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Central]:
    with running_central(tmp_path_factory.mktemp("central")) as running:
        yield running


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return cosign.generate_key(tmp_path_factory.mktemp("keys"), "release")


@dataclass
class Fleet:
    """A Ground Control with one source and one policy, spoken to as an admin."""

    gc: GroundControl
    admin: Member
    central: Central
    key: KeyPair

    async def change(self, *changes: pb.Change) -> None:
        async with self.admin.fleet() as stub:
            await stub.ApplyChanges(pb.ApplyChangesRequest(changes=changes))

    async def assign(self, name: str, scope: str) -> None:
        await self.change(pb.Change(assignment=pb.Assignment(artifact=name, scope=scope)))

    async def satellite(self, directory: Path, name: str = "kiosk-1", **options: str) -> Satellite:
        site = Satellite(directory / name, registry="distribution", plain_hosts=[self.central.host], options=options)
        text = await mint(self.admin, name)
        await asyncio.to_thread(site.join, text)
        return site

    async def status(self, name: str = "kiosk-1") -> pb.SatelliteStatus:
        async with self.admin.fleet() as stub:
            answer = await stub.GetSatelliteStatus(pb.GetSatelliteStatusRequest(name=name))
            return answer.status

    def push(self, repository: str, tag: str, *, signed: bool = True, size: int = 2000) -> str:
        made = self.central.push_image(repository, tag, layers=(os.urandom(size),))
        if signed:
            cosign.sign(f"{self.central.host}/{repository}@{made.digest}", self.key)
        return made.digest


@pytest.fixture
async def fleet(tmp_path: Path, central: Central, key: KeyPair) -> AsyncIterator[Fleet]:
    with GroundControl(tmp_path, options={"svid_ttl": "1h"}) as gc:
        made = Fleet(gc, await gc.join_operator(), central, key)
        authority = resource.Authority(
            name="release",
            formats=[resource.SIGNATURE_FORMAT_SIGSTORE_BUNDLE],
            keys=resource.KeySet(public_keys_pem=[key.pem.decode()]),
        )
        await made.change(
            pb.Change(source=pb.Source(name="hub", spec=resource.SourceSpec(address=central.host, plain_http=True))),
            pb.Change(policy=pb.Policy(name="base", spec=resource.PolicySpec(images=["**"], authorities=[authority]))),
        )
        yield made


async def test_an_assigned_image_becomes_pullable_and_an_unsigned_one_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    digest, bare = fleet.push("app", "1"), fleet.push("bare", "1", signed=False)
    site = await fleet.satellite(tmp_path)
    with site:
        await asyncio.to_thread(site.await_link)
        await fleet.assign("hub/app:1", "satellite/kiosk-1")
        await fleet.assign("hub/bare:1", "satellite/kiosk-1")
        await asyncio.to_thread(site.await_published, "hub/app:1")
        await asyncio.to_thread(site.await_refused, "hub/bare:1", "UNSIGNED")
        assert site.pull("app", "1")[0] == 200
        assert site.pull("app", digest)[0] == 200
        assert site.pull("bare", bare)[0] == 404
        assert json.loads(site.run("status", "--json").stdout)["running"]
        assert "UNSIGNED" in site.run("status").stdout
        print("RSS", site.rss_bytes / 1e6)
        print(await fleet.status())
