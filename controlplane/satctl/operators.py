"""`satctl operator …`: who may do what."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from controlplane.satctl.asking import confirm
from controlplane.satctl.document import enum_word
from controlplane.satctl.options import AsJson, Etag, Force
from controlplane.satctl.render import Cell, Column, say, show_list, show_one
from controlplane.satctl.running import run
from fleet.v1 import fleet_pb2 as pb

if TYPE_CHECKING:
    from controlplane.satctl.client import FleetClient

app = typer.Typer(no_args_is_help=True, help="Who may do what: list, set a role, delete.")

Name = Annotated[str, typer.Argument(help="The operator's name: the last part of the SPIFFE ID.")]


class RoleWord(StrEnum):
    """What an operator may do; each includes the one before."""

    VIEWER = "viewer"
    EDITOR = "editor"
    ADMIN = "admin"


def role_word(number: int) -> str:
    """Name a role: `admin`."""
    return enum_word(pb.Role.DESCRIPTOR, number)


COLUMNS: tuple[Column[pb.Operator], ...] = (
    Column("NAME", lambda o: o.name),
    Column("ROLE", lambda o: role_word(o.role)),
    Column("SPIFFE ID", lambda o: o.spiffe_id),
)


def facts(operator: pb.Operator) -> Iterable[tuple[str, Cell]]:
    """Say what is known of one."""
    yield "name", operator.name
    yield "role", role_word(operator.role)
    yield "SPIFFE ID", operator.spiffe_id


@app.command("list")
def list_operators(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List operators and their roles."""

    async def ask(client: FleetClient) -> list[pb.Operator]:
        return await client.pages(client.fleet.ListOperators, pb.ListOperatorsRequest(), lambda page: page.operators)

    show_list(run(context, ask), COLUMNS, as_json=as_json, nothing="no operators")


@app.command("set")
def set_operator(
    context: typer.Context,
    *,
    name: Name,
    role: Annotated[RoleWord, typer.Option(help="A viewer reads, an editor assigns, an admin does everything.")],
    as_json: AsJson = False,
) -> None:
    """Give an operator a role; one that is new needs a join string next.

    satctl operator set alice --role editor && satctl token create --operator alice
    """
    number = pb.Role.Value(f"ROLE_{role.name}")
    request = pb.SetOperatorRequest(operator=pb.Operator(name=name, role=number))
    answer = run(context, lambda client: client.call(client.fleet.SetOperator, request))
    show_one(answer.operator, facts, as_json=as_json)


@app.command()
def delete(context: typer.Context, *, name: Name, etag: Etag = "", yes: Force = False) -> None:
    """Take an operator's role and logins; the last admin stays."""
    confirm(f"delete operator {name}?", yes=yes)
    request = pb.DeleteOperatorRequest(name=name, etag=etag)
    run(context, lambda client: client.call(client.fleet.DeleteOperator, request))
    say(f"operator {name} deleted")
