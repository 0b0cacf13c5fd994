"""`satctl assign` and `unassign`: which scope wants which artifact."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from controlplane.satctl.artifacts import facts
from controlplane.satctl.entities import ARTIFACT
from controlplane.satctl.options import AsJson, Reason
from controlplane.satctl.reading import read_scope
from controlplane.satctl.render import say, show_one
from controlplane.satctl.running import run
from fleet.reference import parse_artifact_name
from fleet.v1 import fleet_pb2 as pb

if TYPE_CHECKING:
    from controlplane.satctl.client import FleetClient

Artifact = Annotated[str, typer.Argument(help="SOURCE/REPOSITORY:TAG, or ...@sha256:DIGEST; made where it is absent.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(assign)
    app.command()(unassign)


def assign(
    context: typer.Context,
    *,
    artifact: Artifact,
    to: Annotated[list[str], typer.Option(help="fleet, group/NAME or satellite/NAME; may be repeated.")],
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Make every satellite of a scope want an artifact.

    satctl assign hub/library/nginx:1.27 --to group/shops
    """
    name = str(parse_artifact_name(artifact))
    scopes = [read_scope(scope) for scope in to]
    changes = [pb.Change(assignment=pb.Assignment(artifact=artifact, scope=scope)) for scope in scopes]

    async def work(client: FleetClient) -> pb.Artifact:
        await client.call(client.fleet.ApplyChanges, pb.ApplyChangesRequest(changes=changes, reason=reason))
        return await ARTIFACT.get(client, name)

    show_one(run(context, work), facts, as_json=as_json)
    say(f"{name} assigned to {', '.join(scopes)}; `satctl watch` shows it arrive")


def unassign(
    context: typer.Context,
    *,
    artifact: Artifact,
    source: Annotated[
        list[str],
        typer.Option("--from", help="fleet, group/NAME or satellite/NAME; may be repeated.", show_default=False),
    ],
    reason: Reason = "",
) -> None:
    """Take an artifact back from a scope: satellites that want it for no other reason withdraw it.

    satctl unassign hub/library/nginx:1.27 --from group/shops
    """
    name = str(parse_artifact_name(artifact))
    scopes = [read_scope(scope) for scope in source]
    pairs = [pb.Assignment(artifact=name, scope=scope) for scope in scopes]
    changes = [pb.Change(delete=pb.Deletion(assignment=pair)) for pair in pairs]
    request = pb.ApplyChangesRequest(changes=changes, reason=reason)
    run(context, lambda client: client.call(client.fleet.ApplyChanges, request))
    say(f"{name} no longer assigned to {', '.join(scopes)}")
