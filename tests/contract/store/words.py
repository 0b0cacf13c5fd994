"""Short words for what the tests of this suite write again and again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest

from controlplane.app.fleet import Fleet
from controlplane.app.roster import RosterKeeper
from controlplane.domain.commands import Applied, Command, Upsert
from controlplane.domain.entities import Assignment, Group, Membership, Satellite, Source
from controlplane.domain.specs import SourceSpec
from controlplane.domain.state import Key
from fleet.digests import resource_version, scope_digest
from fleet.errors import FleetError
from fleet.policy import Authority, PolicySpec, StaticVerdict
from fleet.v1 import state_pb2

ADA = "spiffe://example.org/operator/ada"
D1 = "sha256:" + "1" * 64
D2 = "sha256:" + "2" * 64
HUB = Source("hub", SourceSpec("hub.example:5000"))


def shut(*images: str, **more: Any) -> PolicySpec:
    """A policy that refuses all that it matches: complete, and nothing that a test is about."""
    return PolicySpec(images or ("**",), (Authority("nobody", StaticVerdict(passes=False)),), **more)


@asynccontextmanager
async def known(fleet: Fleet) -> AsyncIterator[RosterKeeper]:
    """Know the fleet as a running process does."""
    task = asyncio.create_task(fleet.run())
    try:
        yield fleet.roster
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def do(fleet: Fleet, *commands: Command) -> Applied:
    return await fleet.apply(ADA, commands)


def shop(*, artifact: str = f"hub/library/nginx:1@{D1}") -> list[Command]:
    """One satellite in one group that wants one artifact."""
    return [
        Upsert(Satellite("s1")),
        Upsert(Group("shops")),
        Upsert(HUB),
        Upsert(Membership("s1", "shops")),
        Upsert(Assignment(artifact, "group/shops")),
    ]


@contextmanager
def refused(reason: str) -> Iterator[None]:
    with pytest.raises(FleetError) as caught:
        yield
    assert caught.value.reason == reason


def applied_to(held: Mapping[Key, bytes], delta: bytes) -> dict[Key, bytes]:
    """Apply a serialized delta as a satellite does: check each hash, then replace."""
    message = state_pb2.Delta.FromString(delta)
    after = dict(held)
    for resource in message.upserts:
        assert resource.version == resource_version(resource.kind, resource.payload)
        after[resource.kind, resource.name] = resource.version
    for key in message.deletes:
        del after[key.kind, key.name]
    return after


def digest(content: Mapping[Key, bytes]) -> bytes:
    return scope_digest((kind, name, version) for (kind, name), version in content.items())
