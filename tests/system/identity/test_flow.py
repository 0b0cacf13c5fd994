"""The same flow by either provider; a satellite gets its own state and speaks for nobody else."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from functools import partial

import grpc.aio
import pytest

from fleet.errors import Kind
from fleet.v1 import fleet_pb2 as pb
from fleet.v1 import resource_pb2 as resource
from fleet.v1 import state_pb2
from fleet.v1.state_pb2_grpc import StateServiceStub
from tests.rig.satellite import Satellite
from tests.rig.world import World

pytestmark = [pytest.mark.needs_cosign, pytest.mark.needs_registry]


def test_a_satellite_gets_what_is_assigned_and_gives_it_up(world: World, registry: str) -> None:
    name = f"flow-{registry}"
    artifact = world.push(name)
    world.pin(artifact)
    with world.satellite(name, registry) as site:
        world.admit(name)
        site.await_link()
        world.assign(artifact, name)
        site.await_published(artifact)
        assert site.pull(name, "1")[0] == 200
        assert site.pull(name, world.digests[artifact])[0] == 200
        site.await_that(lambda: world.status(name).converged, "Ground Control knows")
        world.unassign(artifact, name)
        site.await_that(lambda: artifact not in site.states(), "withdrawn")
        for reference in ("1", world.digests[artifact]):
            site.await_that(partial(is_gone, site, name, reference), f"{reference} is gone")


def is_gone(site: Satellite, repository: str, reference: str) -> bool:
    return site.pull(repository, reference)[0] == 404


def test_a_satellite_gets_its_own_state_alone_and_speaks_for_nobody_else(world: World) -> None:
    own, other = world.push("own"), world.push("other")
    spec = resource.SourceSpec(address="other.test", local_prefix="elsewhere")
    foreign = resource.ArtifactSpec(source="elsewhere", repository="x", tag="1", digest=world.digests[other])
    world.pin(own, other)
    world.change(
        pb.Change(source=pb.Source(name="elsewhere", spec=spec)),
        pb.Change(artifact=pb.Artifact(name="elsewhere/x:1", spec=foreign)),
    )
    with world.satellite("own") as site, world.satellite("other") as neighbour:
        for name in ("own", "other"):
            world.admit(name)
        site.await_link()
        world.assign(own, "own")
        for artifact in (other, "elsewhere/x:1"):
            world.assign(artifact, "other")
        site.await_published(own)
        neighbour.await_published(other)
        assert set(site.states()) == {own}

        mine = world.as_satellite(site, get_state(""))
        assert mine.satellite == "own"
        assert {scope.binding.scope for scope in mine.scopes} == {"fleet", "satellite/own"}
        assert own in {one.name for scope in mine.scopes for one in scope.resources}
        assert not {other, "elsewhere/x:1"} & {one.name for scope in mine.scopes for one in scope.resources}

        for attempt in (get_state("other"), subscribe("other")):
            error = world.refusal(partial(world.as_satellite, site, attempt))
            assert (error.kind, error.reason) == (Kind.REFUSED, "NOT_YOURS")
        world.as_satellite(site, issue("hub"))
        error = world.refusal(lambda: world.as_satellite(site, issue("elsewhere")))
        assert (error.kind, error.reason) == (Kind.REFUSED, "NOT_IN_STATE")
        neighbours = world.as_satellite(neighbour, get_state("other"))
        assert {other, "elsewhere/x:1"} <= {one.name for scope in neighbours.scopes for one in scope.resources}


Ask = Callable[[grpc.aio.Channel], Awaitable[state_pb2.GetStateResponse]]


def get_state(name: str) -> Ask:
    return lambda channel: StateServiceStub(channel).GetState(state_pb2.GetStateRequest(satellite=name))


def subscribe(name: str) -> Callable[[grpc.aio.Channel], Awaitable[object]]:
    async def ask(channel: grpc.aio.Channel) -> object:
        call = StateServiceStub(channel).StreamState()
        boot_id = secrets.token_bytes(16)
        opening = state_pb2.Subscribe(protocol_version=1, boot_id=boot_id, session_number=1, satellite=name)
        await call.write(state_pb2.StreamStateRequest(subscribe=opening))
        return await call.read()

    return ask


def issue(source: str) -> Callable[[grpc.aio.Channel], Awaitable[object]]:
    request = state_pb2.IssueSourceCredentialRequest(source=source)
    return lambda channel: StateServiceStub(channel).IssueSourceCredential(request)
