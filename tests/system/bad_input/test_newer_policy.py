"""A policy with a field that this satellite does not know: what it means nobody here can say, so nothing new comes."""

from __future__ import annotations

import asyncio

import pytest

from controlplane.adapters import payload
from controlplane.adapters.opening import open_fleet
from controlplane.adapters.sql import write_rules
from controlplane.domain.commands import Upsert
from controlplane.domain.entities import Policy
from controlplane.domain.specs import Spec
from controlplane.domain.state import Resource
from fleet.digests import resource_version
from fleet.v1 import fleet_pb2 as pb
from fleet.v1 import resource_pb2
from tests.contract.store.words import shut
from tests.rig.ground_control import TRUST_DOMAIN, GroundControl
from tests.rig.satellite import Satellite
from tests.rig.vertical import Vertical, until

pytestmark = [pytest.mark.needs_cosign, pytest.mark.needs_registry]

UNKNOWN_FIELD = b"\xc2\x3e\x01x"
"""Field 1000 of a message, one byte long."""
ADMIN = f"spiffe://{TRUST_DOMAIN}/operator/admin"


def make_newer_resource(name: str, spec: Spec, **facts: object) -> Resource:
    """Serialize a policy as a Ground Control of a later version would."""
    made = payload.make_resource(name, spec, **facts)  # type: ignore[arg-type] # as they came
    message = resource_pb2.ResourcePayload.FromString(made.payload)
    message.policy.MergeFromString(UNKNOWN_FIELD)
    content = message.SerializeToString(deterministic=True)
    return Resource(made.kind, made.name, content, resource_version(made.kind, content))


def write_newer(gc: GroundControl, policy: Policy) -> None:
    """Write a policy into a running Ground Control's database with the later version's bytes."""

    async def write() -> None:
        url = f"sqlite:///{gc.data_dir / 'ground-control.db'}"
        async with open_fleet(url, private=gc.data_dir / "secrets", trust_domain=TRUST_DOMAIN) as opened:
            await opened.fleet.apply(ADMIN, [Upsert(policy)])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write_rules, "make_resource", make_newer_resource)
        asyncio.run(write())


def problems(site: Satellite) -> set[tuple[str, str]]:
    return {(row["name"], row["reason"]) for row in site.status().get("problems", [])}


def test_nothing_new_is_admitted_and_what_is_served_stays(fleet: Vertical, kind: str) -> None:
    name = f"old-{kind}"
    before, after = fleet.push(f"{kind}/before"), fleet.push(f"{kind}/after")
    with fleet.satellite(name, kind) as site:
        site.await_published(fleet.assign(before, f"satellite/{name}"))
        later = Policy(f"later-{kind}", shut("nowhere/**"), (f"satellite/{name}",))
        write_newer(fleet.gc, later)
        site.await_that(lambda: problems(site) == {(later.name, "AGENT_TOO_OLD")}, "the policy is reported")
        artifact = fleet.assign(after, f"satellite/{name}")
        site.await_that(lambda: site.states().get(artifact) == ("waiting", "AGENT_TOO_OLD"), "the artifact waits")
        told = {later.name: "AGENT_TOO_OLD", artifact: "AGENT_TOO_OLD"}
        until(lambda: reported(fleet, name) == told, "Ground Control is told")
        assert not fleet.status(name).converged

        site.kill()
        site.start()
        assert site.pull(before.repository, "1")[0] == 200
        site.await_that(lambda: site.states().get(artifact) == ("waiting", "AGENT_TOO_OLD"), "it still waits")
        assert site.pull(after.repository, after.digest)[0] == 404
        site.await_link()

        gone = pb.DeletePolicyRequest(name=later.name)
        fleet.call(lambda stub: stub.DeletePolicy(gone))
        site.await_published(artifact)
        assert site.log().count('"artifact.published"') == 2


def reported(fleet: Vertical, name: str) -> dict[str, str]:
    return {one.name: one.reason for one in fleet.status(name).report.exceptions}
