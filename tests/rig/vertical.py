"""The whole vertical for system tests: a Ground Control, an admin, a source of signed images, and sites that join.

with open_vertical(tmp_path, central) as fleet:
    site = fleet.satellite("kiosk-1", "zot")
    with site:
        fleet.assign(fleet.push("app", "1"), "satellite/kiosk-1")
        site.await_published("hub/app:1")

Everything is synchronous: tests of crashes are about processes, and read best without an event loop.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import grpc.aio

from fleet.errors import FleetError
from fleet.reference import Digest, digest_of
from fleet.rpc_errors import from_rpc_error
from fleet.v1 import fleet_pb2 as pb
from fleet.v1 import resource_pb2 as resource
from fleet.v1.fleet_pb2_grpc import FleetServiceStub
from tests.rig import cosign
from tests.rig.cosign import KeyPair
from tests.rig.ground_control import GroundControl, Member, mint
from tests.rig.registries import Central
from tests.rig.satellite import Satellite

T = TypeVar("T")
POLL_S = 0.05
PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Pushed:
    """An image in the central registry."""

    repository: str
    tag: str
    digest: Digest
    layers: tuple[Digest, ...]

    def at(self, source: str = "hub") -> str:
        """Its artifact's name in a source."""
        return f"{source}/{self.repository}:{self.tag}"


@dataclass
class Vertical:
    """A Ground Control with one source, `hub`, and one policy, `base`: what `key` signed."""

    directory: Path
    gc: GroundControl
    admin: Member
    central: Central
    key: KeyPair

    def call(self, ask: Callable[[FleetServiceStub], Awaitable[T]]) -> T:
        """Make one call as the admin.

        Raises:
            FleetError: what Ground Control says.
        """

        async def run() -> T:
            async with self.admin.fleet() as fleet:
                try:
                    return await ask(fleet)
                except grpc.aio.AioRpcError as error:
                    raise from_rpc_error(error) from error

        return asyncio.run(run())

    def renew(self) -> None:
        """Give the admin a fresh identity."""
        asyncio.run(self.admin.renew())

    def change(self, *changes: pb.Change, request_id: str = "") -> pb.ApplyChangesResponse:
        """Apply changes as one revision."""
        request = pb.ApplyChangesRequest(changes=changes, request_id=request_id)
        return self.call(lambda fleet: fleet.ApplyChanges(request))

    def add_source(self, name: str, host: str) -> None:
        """Add a source that is spoken to over plain http; its images are at the site under its name."""
        prefix = "" if name == "hub" else name
        spec = resource.SourceSpec(address=host, plain_http=True, local_prefix=prefix)
        self.change(pb.Change(source=pb.Source(name=name, spec=spec)))

    def assign(self, image: Pushed, scope: str, *, source: str = "hub") -> str:
        """Assign an image by its digest: `→ the artifact's name`."""
        spec = resource.ArtifactSpec(source=source, repository=image.repository, tag=image.tag, digest=image.digest)
        name = image.at(source)
        self.change(
            pb.Change(artifact=pb.Artifact(name=name, spec=spec)),
            pb.Change(assignment=pb.Assignment(artifact=name, scope=scope)),
        )
        return name

    def unassign(self, artifact: str, scope: str) -> None:
        """Make an artifact no longer desired in a scope."""
        self.change(pb.Change(delete=pb.Deletion(assignment=pb.Assignment(artifact=artifact, scope=scope))))

    def put_policy(self, name: str, images: Sequence[str] = ("**",)) -> None:
        """Write a policy that wants the key's bundle."""
        authority = resource.Authority(
            name="release",
            formats=[resource.SIGNATURE_FORMAT_SIGSTORE_BUNDLE],
            keys=resource.KeySet(public_keys_pem=[self.key.pem.decode()]),
        )
        spec = resource.PolicySpec(images=images, authorities=[authority])
        self.change(pb.Change(policy=pb.Policy(name=name, spec=spec)))

    def push(self, repository: str, tag: str = "1", *, layers: tuple[bytes, ...] = ()) -> Pushed:
        """Push an image of random content and sign it."""
        contents = layers or (os.urandom(2000),)
        made = self.central.push_image(repository, tag, layers=contents)
        cosign.sign(f"{self.central.host}/{repository}@{made.digest}", self.key)
        return Pushed(repository, tag, made.digest, tuple(map(digest_of, contents)))

    def satellite(
        self, name: str, registry: str, *, hosts: Sequence[str] = (), directory: Path | None = None, **options: str
    ) -> Satellite:
        """Join a satellite that is not started yet."""
        site = Satellite(
            directory or self.directory / name,
            registry=registry,
            plain_hosts=(self.central.host, *hosts),
            options=options,
        )
        site.join(asyncio.run(mint(self.admin, name)))
        return site

    def status(self, name: str) -> pb.SatelliteStatus:
        """What Ground Control knows of a satellite."""
        request = pb.GetSatelliteStatusRequest(name=name)
        return self.call(lambda fleet: fleet.GetSatelliteStatus(request)).status

    def is_converged(self, name: str) -> bool:
        """Say whether Ground Control was told that a satellite holds and enforces what it should."""
        return self.status(name).converged

    def refusal(self, ask: Callable[[FleetServiceStub], Awaitable[object]]) -> FleetError:
        """Make a call that must fail: `→ what Ground Control said`."""
        try:
            answer = self.call(ask)
        except FleetError as error:
            return error
        raise AssertionError(f"not refused: {answer}")


def until(claim: Callable[[], bool], what: str, *, within_s: float = PATIENCE_S) -> None:
    """Wait until a claim holds."""
    deadline = time.monotonic() + within_s
    while not claim():
        assert time.monotonic() < deadline, f"not within {within_s:.0f} s: {what}"
        time.sleep(POLL_S)


@contextmanager
def open_vertical(directory: Path, central: Central, key: KeyPair, **options: str) -> Iterator[Vertical]:
    """Start a Ground Control and furnish it."""
    with GroundControl(directory, options=options) as gc:
        fleet = Vertical(directory, gc, asyncio.run(gc.join_operator()), central, key)
        fleet.add_source("hub", central.host)
        fleet.put_policy("base")
        yield fleet
