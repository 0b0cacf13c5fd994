"""`satctl explain`: why an image is served at a site, or is not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from controlplane.satctl.document import enum_word
from controlplane.satctl.options import AsJson
from controlplane.satctl.render import moment
from controlplane.satctl.running import run
from controlplane.satctl.steps import Outcome, Step, show_steps
from fleet.globs import is_matched
from fleet.reference import ArtifactName, parse_artifact_name
from fleet.v1 import fleet_pb2 as pb
from fleet.v1 import resource_pb2, state_pb2

if TYPE_CHECKING:
    from controlplane.satctl.client import FleetClient

_WORDS = {
    state_pb2.STEP_OUTCOME_PASSED: "passed",
    state_pb2.STEP_OUTCOME_FAILED: "failed",
    state_pb2.STEP_OUTCOME_WARNED: "warned",
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(explain)


def explain(
    context: typer.Context,
    *,
    image: Annotated[str, typer.Argument(help="The artifact: SOURCE/REPOSITORY:TAG or SOURCE/REPOSITORY@DIGEST.")],
    satellite: Annotated[str, typer.Option(help="At which site.")],
    as_json: AsJson = False,
) -> None:
    """Say why an image is served at a site, or why not: what is desired, what was judged, and what to do.

    satctl explain hub/library/nginx:1.27 --satellite kiosk-1
    """
    name = parse_artifact_name(image)

    async def ask(client: FleetClient) -> tuple[pb.GetSatelliteStatusResponse, state_pb2.GetStateResponse]:
        status = await client.call(client.fleet.GetSatelliteStatus, pb.GetSatelliteStatusRequest(name=satellite))
        state = await client.call(client.state.GetState, state_pb2.GetStateRequest(satellite=satellite))
        return status, state

    status, state = run(context, ask)
    found = next((one for one in status.artifacts if one.name == str(name)), None)
    steps = [*_desired(name, found), *_position(status.status), *_matching(name, state), *_verdict(found)]
    outcome = enum_word(state_pb2.ArtifactState.DESCRIPTOR, found.state) if found and found.state else "unknown"
    told = Outcome(outcome, found.reason, found.text) if found else Outcome(outcome, "NOT_DESIRED")
    show_steps(image, steps, told, as_json=as_json)


def _desired(name: ArtifactName, found: pb.ArtifactStatus | None) -> Iterator[Step]:
    if found is None:
        text = f"nobody assigned it: `satctl assign {name} --to satellite/NAME` (or group/NAME, fleet)"
        yield Step(text, "failed", "NOT_DESIRED")
        return
    yield Step(f"{found.scope} wants it at {found.digest}, to be pulled as {found.local_reference}", "passed")
    if found.reason == "TAG_SHADOWED":
        yield Step(f"its tag is another's: {found.text}", "warned", "TAG_SHADOWED")


def _position(status: pb.SatelliteStatus) -> Iterator[Step]:
    if not status.HasField("report"):
        yield Step("the satellite has not reported since it joined", "failed", "UNREPORTED")
    elif status.report.held_digest != status.desired_digest:
        seen = moment(status, "last_seen_at") or "never"
        yield Step(f"the satellite does not hold the newest state yet; last heard of: {seen}", "failed", "BEHIND")
    else:
        yield Step("the satellite holds the newest state", "passed")


def _matching(name: ArtifactName, state: state_pb2.GetStateResponse) -> Iterator[Step]:
    """Name the policies that the image must satisfy."""
    image = f"{name.source}/{name.repository}"
    matching = [
        (one.name, scope.binding.scope, payload.policy)
        for scope in state.scopes
        for one, payload in zip(scope.resources, scope.decoded, strict=True)
        if payload.WhichOneof("body") == "policy" and is_matched(image, payload.policy.images)
    ]
    strict = [one for one in matching if not one[2].is_fallback] or matching
    if not strict:
        yield Step(f"no policy matches {image}", "failed", "NO_POLICY")
    for policy, scope, spec in strict:
        who = ", ".join(by.name for by in spec.authorities)
        mode = " (only warns)" if spec.mode == resource_pb2.POLICY_MODE_WARN else ""
        yield Step(f"policy {policy} of {scope}{mode} must hold: any of {who}", "")


def _verdict(found: pb.ArtifactStatus | None) -> Iterator[Step]:
    for one in found.steps if found else ():
        what = f"{one.authority}: {one.text or 'verified'}"
        yield Step(what, _WORDS.get(one.outcome, ""), one.reason, one.signer, one.evidence_digest)
