"""What the executor does where desired state, rules or the site change between a decision and its deed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.domain.holding import Resource
from fleet import resources
from fleet.errors import FleetError
from fleet.v1 import resource_pb2 as pb
from tests.rig.local_site import resource
from tests.rig.memory_plane import MemoryPlane

_UNREADABLE = b"\xfa\x7f\x01x"
"""A field that no version knows yet."""


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[MemoryPlane]:
    made = MemoryPlane(tmp_path)
    yield made
    made.close()


def _held(kind: int) -> Resource:
    payload = pb.ResourcePayload(if_unknown=pb.IF_UNKNOWN_HOLD).SerializeToString()
    return resource(kind, "of-tomorrow", payload + _UNREADABLE)


@pytest.mark.parametrize(
    "kind", [resources.POLICY, resources.TRUST_ROOT, resources.BLOCK, resources.CONFIGURATION, resources.ARTIFACT]
)
def test_what_is_under_way_is_not_published_once_something_is_held(plane: MemoryPlane, kind: int) -> None:
    wanted = (*plane.base, plane.push("app"))
    plane.want(*wanted)
    with pytest.raises(FleetError) as caught:
        plane.publish("hub/app:1", meanwhile=lambda: plane.want(*wanted, _held(kind)))
    assert caught.value.reason == "AGENT_TOO_OLD"
    assert plane.site.manifests == {}
    assert plane.editions.site().published == frozenset()
