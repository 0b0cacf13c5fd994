"""`satctl token …`: join strings, which let one satellite or operator in, once."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer
from google.protobuf.duration_pb2 import Duration

from controlplane.satctl.asking import confirm
from controlplane.satctl.document import document
from controlplane.satctl.options import AsJson, Force, now
from controlplane.satctl.reading import read_duration
from controlplane.satctl.render import Column, coloured, moment, print_json, print_line, say, show_list
from controlplane.satctl.running import run
from fleet.errors import malformed
from fleet.v1 import fleet_pb2 as pb

if TYPE_CHECKING:
    from controlplane.satctl.client import FleetClient

app = typer.Typer(no_args_is_help=True, help="Join strings for satellites and operators: make, list, delete.")

PROGRAMS = {"satellite": "satellite join", "operator": "satctl login"}


def _path(spiffe_id: str) -> str:
    return spiffe_id.removeprefix("spiffe://").partition("/")[2]  # the trust domain is the same for all


def _state(token: pb.JoinToken, at: datetime) -> str:
    if token.refused_attempts:
        return "refused"  # somebody else has it: the one thing here that a person must look into
    if token.HasField("used_at"):
        return "used"
    return "expired" if token.expires_at.ToDatetime(tzinfo=at.tzinfo) <= at else "open"


COLUMNS: tuple[Column[pb.JoinToken], ...] = (
    Column("ID", lambda t: t.id),
    Column("FOR", lambda t: _path(t.spiffe_id), folds=True),
    Column("STATE", lambda t: coloured(_state(t, now()))),
    Column("EXPIRES", lambda t: moment(t, "expires_at")),
    Column("USED", lambda t: moment(t, "used_at"), optional=True),
    Column("REFUSED ATTEMPTS", lambda t: t.refused_attempts or "", number=True, optional=True),
)


@app.command()
def create(
    context: typer.Context,
    *,
    satellite: Annotated[str, typer.Option(help="Who joins: a satellite, made where it is absent.")] = "",
    operator: Annotated[str, typer.Option(help="Who joins: an operator, who must have a role.")] = "",
    region: Annotated[str, typer.Option(help="Of a satellite that is made.", show_default="default")] = "",
    group: Annotated[list[str] | None, typer.Option(help="Put the satellite into this group.")] = None,
    ttl: Annotated[str, typer.Option(help="How long it is good for: 1m to 30d.")] = "24h",
    as_json: AsJson = False,
) -> None:
    """Make a join string, and approve who joins with it.

    The string goes to standard output, and is shown this once; whoever has it can join until it is used.

        satctl token create --satellite kiosk-1 --region north --group shops --ttl 1h
    """
    if bool(satellite) == bool(operator):
        raise malformed("SUBJECT_MISSING", "a join string is for one: give --satellite NAME or --operator NAME")
    length = Duration()
    length.FromTimedelta(read_duration(ttl))
    request = pb.CreateJoinTokenRequest(region=region, ttl=length, groups=group or ())
    kind = "satellite" if satellite else "operator"
    setattr(request, kind, satellite or operator)
    made = run(context, lambda client: client.call(client.fleet.CreateJoinToken, request))
    if as_json:
        print_json(document(made))
        return
    print_line(made.join_string)
    _explain(kind, made)


def _explain(kind: str, made: pb.CreateJoinTokenResponse) -> None:
    # A secret goes to standard error only where a person reads it: logs collect that stream elsewhere.
    shown = made.join_string if sys.stderr.isatty() else "JOIN_STRING"
    where = "at the site" if kind == "satellite" else "on the operator's machine"
    say(f"for {made.token.spiffe_id}, good until {moment(made.token, 'expires_at')}; paste {where}:")
    say(f"  {PROGRAMS[kind]} {shown}")


@app.command("list")
def list_tokens(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List tokens, without their secrets."""

    async def ask(client: FleetClient) -> list[pb.JoinToken]:
        return await client.pages(client.fleet.ListJoinTokens, pb.ListJoinTokensRequest(), lambda page: page.tokens)

    nothing = "no tokens: `satctl token create --satellite NAME`"
    show_list(run(context, ask), COLUMNS, as_json=as_json, nothing=nothing)


@app.command()
def delete(
    context: typer.Context,
    *,
    token: Annotated[str, typer.Argument(help="The token's id, as `list` shows it.")],
    yes: Force = False,
) -> None:
    """Make a join string useless; identities that it gave stay."""
    confirm(f"delete token {token}?", yes=yes)
    request = pb.DeleteJoinTokenRequest(id=token)
    run(context, lambda client: client.call(client.fleet.DeleteJoinToken, request))
    say(f"token {token} deleted")
