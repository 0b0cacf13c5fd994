"""`satctl source …`: upstream registries, and what satellites pull from them with."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from controlplane.satctl.asking import confirm
from controlplane.satctl.entities import SOURCE
from controlplane.satctl.options import AsJson, Etag, Force
from controlplane.satctl.reading import read_text
from controlplane.satctl.render import Cell, Column, say, show_list, show_one
from controlplane.satctl.running import run
from fleet.errors import malformed
from fleet.v1 import fleet_pb2 as pb
from fleet.v1.resource_pb2 import SourceSpec

if TYPE_CHECKING:
    from controlplane.satctl.client import FleetClient

app = typer.Typer(
    no_args_is_help=True, help="Upstream registries: make, list, show, change, delete, give a credential."
)

Name = Annotated[str, typer.Argument(help="The source's name: the first part of its artifacts' names.")]
CaFile = Annotated[
    Path | None, typer.Option(help="PEM certificates to verify the registry by.", show_default="system's")
]
Mirrors = Annotated[list[str] | None, typer.Option("--mirror", help="host:port, tried in order when it is away.")]


def _credential(source: pb.Source) -> str:
    return "stored" if source.has_credential else "none"


def _tls(source: pb.Source) -> str:
    if source.spec.plain_http:
        return "plain http"
    return "own CA" if source.spec.ca_pem else "system's CAs"


COLUMNS: tuple[Column[pb.Source], ...] = (
    Column("NAME", lambda s: s.name),
    Column("ADDRESS", lambda s: s.spec.address),
    Column("PREFIX", lambda s: s.spec.local_prefix or "(none)"),
    Column("CREDENTIAL", _credential),
    Column("TLS", _tls),
)


def facts(source: pb.Source) -> Iterable[tuple[str, Cell]]:
    """Say what is known of one."""
    yield "name", source.name
    yield "address", source.spec.address
    yield "local prefix", source.spec.local_prefix or "(none: repository paths stay as they are)"
    yield "credential", _credential(source)
    yield "TLS", _tls(source)
    yield "mirrors", ", ".join(source.spec.mirrors)


@app.command()
def create(
    context: typer.Context,
    *,
    name: Name,
    address: Annotated[str, typer.Option(help="host[:port] of the registry.")],
    local_prefix: Annotated[
        str | None,
        typer.Option(
            help="Put before repository paths at the site, fixed for good; '' for none (one source at most). "
            "Default: the source's name.",
            show_default=False,
        ),
    ] = None,
    ca_file: CaFile = None,
    mirror: Mirrors = None,
    plain_http: Annotated[bool, typer.Option(help="No TLS; satellites must allow it locally, too.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a source.

    satctl source create hub --address harbor.example.com --ca-file ca.pem --local-prefix ''
    """
    spec = SourceSpec(
        address=address,
        ca_pem=read_text(ca_file) if ca_file else "",
        mirrors=mirror or (),
        local_prefix=name if local_prefix is None else local_prefix,
        plain_http=plain_http,
    )
    made = pb.Source(name=name, spec=spec)
    show_one(run(context, lambda client: SOURCE.create(client, made)), facts, as_json=as_json)


@app.command("list")
def list_sources(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List sources."""
    found = run(context, SOURCE.all)
    show_list(found, COLUMNS, as_json=as_json, nothing="no sources: `satctl source create NAME --address HOST`")


@app.command()
def get(context: typer.Context, *, name: Name, as_json: AsJson = False) -> None:
    """Show a source; never its credential."""
    show_one(run(context, lambda client: SOURCE.get(client, name)), facts, as_json=as_json)


@app.command()
def update(
    context: typer.Context,
    *,
    name: Name,
    address: Annotated[str | None, typer.Option(help="host[:port] of the registry.", show_default=False)] = None,
    ca_file: CaFile = None,
    mirror: Mirrors = None,
    plain_http: Annotated[bool | None, typer.Option(show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Change a source; what is not named stays. Its local prefix is fixed."""
    ca_pem = read_text(ca_file) if ca_file else None
    given = {
        "address": address,
        "ca_pem": ca_pem,
        "mirrors": mirror,
        "plain_http": plain_http,
    }

    async def change(client: FleetClient) -> pb.Source:
        source = await SOURCE.get(client, name)
        changed = {field: value for field, value in given.items() if value is not None}
        if "mirrors" in changed:
            source.spec.ClearField("mirrors")
        source.spec.MergeFrom(SourceSpec(**changed))  # type: ignore[arg-type] # each has its field's type
        source.spec.plain_http = source.spec.plain_http if plain_http is None else plain_http
        return await SOURCE.update(client, source)

    show_one(run(context, change), facts, as_json=as_json)


@app.command()
def delete(context: typer.Context, *, name: Name, etag: Etag = "", yes: Force = False) -> None:
    """Delete a source; refused while artifacts use it."""
    confirm(f"delete source {name}?", yes=yes)
    run(context, lambda client: SOURCE.delete(client, name, etag=etag))
    say(f"source {name} deleted")


@app.command("set-credential")
def set_credential(
    context: typer.Context,
    *,
    name: Name,
    username: Annotated[str, typer.Option(help="User or robot account; '' forgets the credential.")],
) -> None:
    """Store what satellites pull with; the password comes from standard input or a prompt, never from the command line.

    satctl source set-credential hub --username 'robot$edge' < password.txt
    """
    password = _password() if username else ""
    request = pb.SetSourceCredentialRequest(source=name, username=username, password=password)
    run(context, lambda client: client.call(client.fleet.SetSourceCredential, request))
    say(f"credential of source {name} " + ("stored, sealed" if username else "forgotten"))


def _password() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("password", hide_input=True, err=True))
    password = sys.stdin.read().removesuffix("\n").removesuffix("\r")
    if not password:
        raise malformed("PASSWORD_MISSING", "the password is read from standard input, which is empty")
    return password
