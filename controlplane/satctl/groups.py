"""`satctl group …`: named sets of artifacts that many satellites hold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from controlplane.satctl.asking import confirm
from controlplane.satctl.entities import GROUP
from controlplane.satctl.options import AsJson, Etag, Force, Reason
from controlplane.satctl.render import Cell, Column, say, show_list, show_one
from controlplane.satctl.running import run
from fleet.v1 import fleet_pb2 as pb

if TYPE_CHECKING:
    from controlplane.satctl.client import FleetClient

app = typer.Typer(no_args_is_help=True, help="Named sets of artifacts: make, list, show, change, delete, fill.")

Name = Annotated[str, typer.Argument(help="The group's name.")]
Satellites = Annotated[list[str], typer.Argument(help="Satellites' names.")]
Precedence = Annotated[
    int | None,
    typer.Option(
        min=0, max=1_000_000, help="The higher wins where groups disagree on one local tag.", show_default=False
    ),
]
Description = Annotated[str | None, typer.Option("--description", help="For people.", show_default=False)]

COLUMNS: tuple[Column[pb.Group], ...] = (
    Column("NAME", lambda g: g.name),
    Column("PRECEDENCE", lambda g: g.precedence, number=True),
    Column("SATELLITES", lambda g: g.satellites, number=True),
    Column("ARTIFACTS", lambda g: g.artifacts, number=True),
    Column("DESCRIPTION", lambda g: g.description, folds=True, optional=True),
)


def facts(group: pb.Group) -> Iterable[tuple[str, Cell]]:
    """Say what is known of one."""
    yield "name", group.name
    yield "precedence", group.precedence
    yield "satellites", group.satellites
    yield "artifacts", group.artifacts
    yield "description", group.description


@app.command()
def create(
    context: typer.Context,
    *,
    name: Name,
    precedence: Precedence = None,
    description: Description = None,
    as_json: AsJson = False,
) -> None:
    """Make a group.

    satctl group create shops --precedence 10
    """
    made = pb.Group(name=name, precedence=precedence or 0, description=description or "")
    show_one(run(context, lambda client: GROUP.create(client, made)), facts, as_json=as_json)


@app.command("list")
def list_groups(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List groups."""
    found = run(context, GROUP.all)
    show_list(found, COLUMNS, as_json=as_json, nothing="no groups: `satctl group create NAME`")


@app.command()
def get(context: typer.Context, *, name: Name, as_json: AsJson = False) -> None:
    """Show a group; `satctl satellite list --group NAME` shows who is in it."""
    show_one(run(context, lambda client: GROUP.get(client, name)), facts, as_json=as_json)


@app.command()
def update(
    context: typer.Context,
    *,
    name: Name,
    precedence: Precedence = None,
    description: Description = None,
    as_json: AsJson = False,
) -> None:
    """Change a group's precedence or description."""

    async def change(client: FleetClient) -> pb.Group:
        group = await GROUP.get(client, name)
        group.precedence = group.precedence if precedence is None else precedence
        group.description = group.description if description is None else description
        return await GROUP.update(client, group)

    show_one(run(context, change), facts, as_json=as_json)


@app.command()
def delete(context: typer.Context, *, name: Name, etag: Etag = "", yes: Force = False) -> None:
    """Delete a group: its satellites lose what only it gave them."""
    confirm(f"delete group {name}?", yes=yes)
    run(context, lambda client: GROUP.delete(client, name, etag=etag))
    say(f"group {name} deleted")


@app.command("add-member")
def add_member(context: typer.Context, *, name: Name, satellites: Satellites, reason: Reason = "") -> None:
    """Put satellites into a group, all at once.

    satctl group add-member shops kiosk-1 kiosk-2
    """
    members = [pb.Membership(satellite=satellite, group=name) for satellite in satellites]
    changes = [pb.Change(membership=member) for member in members]
    _apply(context, changes, reason)
    say(f"{', '.join(satellites)} in group {name}")


@app.command("remove-member")
def remove_member(context: typer.Context, *, name: Name, satellites: Satellites, reason: Reason = "") -> None:
    """Take satellites out of a group, all at once."""
    members = [pb.Membership(satellite=satellite, group=name) for satellite in satellites]
    changes = [pb.Change(delete=pb.Deletion(membership=member)) for member in members]
    _apply(context, changes, reason)
    say(f"{', '.join(satellites)} no longer in group {name}")


def _apply(context: typer.Context, changes: list[pb.Change], reason: str) -> None:
    request = pb.ApplyChangesRequest(changes=changes, reason=reason)
    run(context, lambda client: client.call(client.fleet.ApplyChanges, request))
