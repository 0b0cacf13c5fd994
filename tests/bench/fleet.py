"""A whole small fleet on loopback: a source, a Ground Control and one satellite, each a real program."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fleet.v1 import fleet_pb2 as pb
from fleet.v1 import resource_pb2 as resource
from tests.rig.distribution import distribution
from tests.rig.ground_control import GroundControl, Member, mint
from tests.rig.satellite import Satellite
from tests.rig.signer import Signer

SATELLITE = "kiosk-1"


@dataclass(frozen=True, slots=True)
class Fleet:
    """What a measurement works with."""

    source: str
    """The source registry, `http://host:port`; desired state calls it `hub`."""
    signer: Signer
    """Whose signatures the policy wants."""
    admin: Member
    site: Satellite


def _policy(signer: Signer) -> pb.Policy:
    authority = resource.Authority(
        name="release",
        formats=[resource.SIGNATURE_FORMAT_SIGSTORE_BUNDLE],
        keys=resource.KeySet(public_keys_pem=[signer.pem.decode()]),
    )
    return pb.Policy(name="base", spec=resource.PolicySpec(images=["hub/**"], authorities=[authority]))


@asynccontextmanager
async def running_fleet(directory: Path, registry: str) -> AsyncIterator[Fleet]:
    """Run all of it; the satellite has joined and serves, with nothing assigned."""
    signer = Signer()
    with distribution(directory / "source") as source, GroundControl(directory) as control:
        host = source.removeprefix("http://")
        admin = await control.join_operator()
        text = await mint(admin, SATELLITE)
        async with admin.fleet() as stub:
            spec = resource.SourceSpec(address=host, plain_http=True)
            changes = [pb.Change(source=pb.Source(name="hub", spec=spec)), pb.Change(policy=_policy(signer))]
            await stub.ApplyChanges(pb.ApplyChangesRequest(changes=changes))
        site = Satellite(directory / "site", registry, plain_hosts=(host,))
        await asyncio.to_thread(site.join, text)
        with site:
            await asyncio.to_thread(site.await_link)
            yield Fleet(source, signer, admin, site)
