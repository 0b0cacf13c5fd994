"""`satctl satellite …`: the sites."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from controlplane.satctl.asking import confirm
from controlplane.satctl.document import enum_word
from controlplane.satctl.entities import SATELLITE
from controlplane.satctl.options import AsJson, Etag, Force
from controlplane.satctl.render import Cell, Column, coloured, moment, say, show_list, show_one
from controlplane.satctl.running import run
from fleet.v1 import attestation_pb2
from fleet.v1 import fleet_pb2 as pb

if TYPE_CHECKING:
    from controlplane.satctl.client import FleetClient

app = typer.Typer(no_args_is_help=True, help="The sites' agents: make, list, show, change, delete.")

Name = Annotated[str, typer.Argument(help="The satellite's name.")]
Description = Annotated[str | None, typer.Option("--description", help="For people.", show_default=False)]


def lifecycle_word(number: int) -> str:
    """Name a lifecycle: `online`."""
    return enum_word(attestation_pb2.Lifecycle.DESCRIPTOR, number)


COLUMNS: tuple[Column[pb.Satellite], ...] = (
    Column("NAME", lambda s: s.name),
    Column("REGION", lambda s: s.region),
    Column("LIFECYCLE", lambda s: coloured(lifecycle_word(s.lifecycle))),
    Column("GROUPS", lambda s: ", ".join(s.groups), folds=True),
    Column("DESCRIPTION", lambda s: s.description, folds=True, optional=True),
)


def facts(satellite: pb.Satellite) -> Iterable[tuple[str, Cell]]:
    """Say what is known of one."""
    yield "name", satellite.name
    yield "region", satellite.region
    yield "lifecycle", coloured(lifecycle_word(satellite.lifecycle))
    yield "groups", ", ".join(satellite.groups)
    yield "description", satellite.description
    yield "SPIFFE ID", satellite.spiffe_id
    yield "created", moment(satellite, "created_at")


@app.command()
def create(
    context: typer.Context,
    *,
    name: Name,
    region: Annotated[str, typer.Option(help="Where it stands; part of its SPIFFE ID, fixed for good.")] = "default",
    description: Description = None,
    as_json: AsJson = False,
) -> None:
    """Make a satellite that is pending until it is approved.

    `satctl token create --satellite NAME` makes, approves and invites it in one go.

        satctl satellite create kiosk-1 --region north
    """
    made = pb.Satellite(name=name, region=region, description=description or "")
    satellite = run(context, lambda client: SATELLITE.create(client, made))
    show_one(satellite, facts, as_json=as_json)


@app.command("list")
def list_satellites(
    context: typer.Context,
    *,
    group: Annotated[str, typer.Option(help="Only those in this group.", show_default=False)] = "",
    as_json: AsJson = False,
) -> None:
    """List satellites; `satctl status` says how they are."""
    found = run(context, lambda client: SATELLITE.all(client, group=group))
    show_list(found, COLUMNS, as_json=as_json, nothing="no satellites: `satctl token create --satellite NAME`")


@app.command()
def get(context: typer.Context, *, name: Name, as_json: AsJson = False) -> None:
    """Show a satellite; `satctl status NAME` says how it is."""
    satellite = run(context, lambda client: SATELLITE.get(client, name))
    show_one(satellite, facts, as_json=as_json)


@app.command()
def update(context: typer.Context, *, name: Name, description: Description = None, as_json: AsJson = False) -> None:
    """Change a satellite's description."""

    async def change(client: FleetClient) -> pb.Satellite:
        satellite = await SATELLITE.get(client, name)
        if description is not None:
            satellite.description = description
        return await SATELLITE.update(client, satellite)

    show_one(run(context, change), facts, as_json=as_json)


@app.command()
def delete(context: typer.Context, *, name: Name, etag: Etag = "", yes: Force = False) -> None:
    """Delete a satellite with its memberships, assignments and device keys."""
    confirm(f"delete satellite {name}?", yes=yes)
    run(context, lambda client: SATELLITE.delete(client, name, etag=etag))
    say(f"satellite {name} deleted")
