"""`satctl block …`: digests and signers that no site admits, whatever a policy says."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

from controlplane.satctl.asking import confirm
from controlplane.satctl.entities import BLOCK
from controlplane.satctl.options import AsJson, Etag, Force
from controlplane.satctl.policy_view import identity, signed
from controlplane.satctl.reading import read_scope, read_signer
from controlplane.satctl.render import Cell, Column, say, show_list, show_one
from controlplane.satctl.running import run
from fleet.errors import malformed
from fleet.v1 import fleet_pb2 as pb
from fleet.v1.resource_pb2 import BlockSpec, SignerIdentity, TextMatch

app = typer.Typer(
    no_args_is_help=True, help="What is never admitted, whatever a policy says: make, list, show, delete."
)

Name = Annotated[str, typer.Argument(help="The block's name.")]

COLUMNS: tuple[Column[pb.Block], ...] = (
    Column("NAME", lambda b: b.name),
    Column("DIGESTS", lambda b: len(b.spec.digests), number=True),
    Column("SIGNERS", lambda b: len(b.spec.signers), number=True),
    Column("IDENTITIES", lambda b: len(b.spec.identities), number=True),
    Column("REASON", lambda b: b.spec.reason, folds=True),
    Column("SCOPES", lambda b: ", ".join(b.scopes), folds=True),
    Column("SERIAL", lambda b: b.serial, number=True),
    Column("SIGNED", signed, optional=True),
)


def facts(block: pb.Block) -> Iterable[tuple[str, Cell]]:
    """Say what is known of one."""
    yield "name", block.name
    yield "reason", block.spec.reason
    yield "digests", "\n".join(block.spec.digests)
    yield "signers", "\n".join(block.spec.signers)
    yield "identities", "\n".join(map(identity, block.spec.identities))
    yield "scopes", ", ".join(block.scopes)
    yield "serial", block.serial
    yield "signed", ", ".join(key.hex() for key in block.signed_by)


def _identity(text: str) -> SignerIdentity:
    """Read `SUBJECT=ISSUER`; a subject has = in it more often than an issuer's address has."""
    subject, _, issuer = text.rpartition("=")
    if not (subject and issuer):
        remedy = "an identity is SUBJECT=ISSUER, as mallory@example.com=https://issuer.example.com"
        raise malformed("IDENTITY_MALFORMED", remedy, subject=text[:80])
    return SignerIdentity(issuer=TextMatch(exact=issuer), subject=TextMatch(exact=subject))


@app.command()
def create(
    context: typer.Context,
    *,
    name: Name,
    digest: Annotated[
        list[str] | None,
        typer.Option(help="sha256:… of a manifest, at any depth of an image; may be repeated.", show_default=False),
    ] = None,
    signer: Annotated[
        list[str] | None,
        typer.Option(help="A public key's file, or its SHA-256 in hexadecimal; may be repeated.", show_default=False),
    ] = None,
    identity: Annotated[
        list[str] | None,
        typer.Option(help="Of short-lived certificates, SUBJECT=ISSUER; may be repeated.", show_default=False),
    ] = None,
    why: Annotated[str, typer.Option("--reason", help="Why, for the people at the sites.", show_default=False)] = "",
    scope: Annotated[list[str], typer.Option(help="fleet, group/NAME or satellite/NAME.")] = ["fleet"],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Block digests and signers: connected sites withdraw them within seconds.

    satctl block create leaked-key --signer cosign.pub --reason 'the key leaked'

    satctl block create worm --digest sha256:…
    """
    spec = BlockSpec(
        digests=digest or (),
        signers=map(read_signer, signer or ()),
        identities=map(_identity, identity or ()),
        reason=why,
    )
    made = pb.Block(name=name, spec=spec, scopes=map(read_scope, scope))
    show_one(run(context, lambda client: BLOCK.create(client, made)), facts, as_json=as_json)


@app.command("list")
def list_blocks(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List blocks; the highest serial is the revocation epoch that sites report."""
    show_list(run(context, BLOCK.all), COLUMNS, as_json=as_json, nothing="nothing is blocked")


@app.command()
def get(context: typer.Context, *, name: Name, as_json: AsJson = False) -> None:
    """Show a block."""
    show_one(run(context, lambda client: BLOCK.get(client, name)), facts, as_json=as_json)


@app.command()
def delete(context: typer.Context, *, name: Name, etag: Etag = "", yes: Force = False) -> None:
    """Lift a block: what policies admit comes again."""
    confirm(f"lift block {name}?", yes=yes)
    run(context, lambda client: BLOCK.delete(client, name, etag=etag))
    say(f"block {name} lifted")
