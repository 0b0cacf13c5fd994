"""`satctl trust …`: certificate authorities, logs and timestamp authorities that policies rely on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from controlplane.satctl.applying import apply_rules
from controlplane.satctl.asking import confirm
from controlplane.satctl.entities import TRUST_ROOT
from controlplane.satctl.options import AsJson, Etag, Force, Reason
from controlplane.satctl.policy_view import signed
from controlplane.satctl.reading import read_scope
from controlplane.satctl.render import Cell, Column, moment, say, show_list, show_one
from controlplane.satctl.running import run
from fleet.errors import malformed
from fleet.v1 import fleet_pb2 as pb

if TYPE_CHECKING:
    from fleet.v1.resource_pb2 import TrustRootSpec

app = typer.Typer(
    no_args_is_help=True, help="What signatures are verified by besides keys: make, change, list, show, delete."
)

Name = Annotated[str, typer.Argument(help="The trust root's name, as policies say it.")]
TrustedRoot = Annotated[
    Path | None,
    typer.Option(help="A sigstore trusted_root.json, as `cosign trusted-root create` writes it.", show_default=False),
]
Ca = Annotated[
    list[Path] | None,
    typer.Option("--ca", help="PEM certificates of a certificate authority; may be repeated.", show_default=False),
]
SigningAuthority = Annotated[
    list[Path] | None,
    typer.Option(help="PEM certificates of a notation signing authority; may be repeated.", show_default=False),
]
TimestampAuthority = Annotated[
    list[Path] | None,
    typer.Option(help="PEM certificates of a timestamp authority; may be repeated.", show_default=False),
]
Crl = Annotated[
    list[Path] | None,
    typer.Option("--crl", help="Revocation lists, DER or PEM; may be repeated.", show_default=False),
]
ExpiresAt = Annotated[
    str, typer.Option(help="When it is no longer relied on: 2030-12-31 or with a time and zone.", show_default=False)
]
Scopes = Annotated[list[str], typer.Option("--scope", help="fleet, group/NAME or satellite/NAME.")]


def _holds(root: pb.TrustRoot) -> str:
    return ", ".join(f"{count} {what}" for what, count in _parts(root.spec) if count)


def _parts(spec: TrustRootSpec) -> Iterable[tuple[str, int]]:
    inside = json.loads(spec.trusted_root_json) if spec.trusted_root_json else {}
    yield "Fulcio", len(inside.get("certificateAuthorities", ()))
    yield "transparency logs", len(inside.get("tlogs", ()))
    yield "certificate logs", len(inside.get("ctlogs", ()))
    yield "timestamp authorities", len(inside.get("timestampAuthorities", ())) + len(spec.timestamp_authority_pem)
    yield "certificate authorities", len(spec.ca_pem)
    yield "signing authorities", len(spec.signing_authority_pem)
    yield "revocation lists", len(spec.revocation_lists)


COLUMNS: tuple[Column[pb.TrustRoot], ...] = (
    Column("NAME", lambda t: t.name),
    Column("HOLDS", _holds, folds=True),
    Column("SCOPES", lambda t: ", ".join(t.scopes), folds=True),
    Column("EXPIRES", lambda t: moment(t, "expires_at"), optional=True),
    Column("SIGNED", signed, optional=True),
)


def facts(root: pb.TrustRoot) -> Iterable[tuple[str, Cell]]:
    """Say what is known of one."""
    yield "name", root.name
    yield "scopes", ", ".join(root.scopes)
    yield from ((what, count) for what, count in _parts(root.spec) if count)
    pems = (*root.spec.ca_pem, *root.spec.signing_authority_pem, *root.spec.timestamp_authority_pem)
    yield "certificates", "\n".join(line for pem in pems for line in _certificates(pem))
    yield "expires", moment(root, "expires_at")
    yield "serial", root.serial
    yield "signed", ", ".join(key.hex() for key in root.signed_by)


def _certificates(pem: str) -> Iterable[str]:
    from cryptography import x509  # noqa: PLC0415 - what help need not wait for

    for one in x509.load_pem_x509_certificates(pem.encode()):
        yield f"{one.subject.rfc4514_string()} until {one.not_valid_after_utc:%Y-%m-%d}"


def _made(
    name: str,
    scopes: list[str],
    expires_at: str,
    trusted_root: Path | None,
    *,
    ca: list[Path] | None,
    signing_authority: list[Path] | None,
    timestamp_authority: list[Path] | None,
    crl: list[Path] | None,
) -> pb.TrustRoot:
    from controlplane.satctl.trust_files import (  # noqa: PLC0415 - what help need not wait for
        read_certificates,
        read_document,
        read_revocation_lists,
    )
    from fleet.v1.resource_pb2 import TrustRootSpec  # noqa: PLC0415 - beside its use

    spec = TrustRootSpec(
        trusted_root_json=read_document(trusted_root) if trusted_root else b"",
        ca_pem=map(read_certificates, ca or ()),
        signing_authority_pem=map(read_certificates, signing_authority or ()),
        timestamp_authority_pem=map(read_certificates, timestamp_authority or ()),
        revocation_lists=[each for path in crl or () for each in read_revocation_lists(path)],
    )
    made = pb.TrustRoot(name=name, spec=spec, scopes=map(read_scope, scopes))
    if expires_at:
        made.expires_at.FromDatetime(_time(expires_at))
    return made


def _time(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise malformed("TIME_MALFORMED", "a time is 2030-12-31 or 2030-12-31T18:00:00Z", subject=text[:40]) from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


@app.command()
def create(
    context: typer.Context,
    *,
    name: Name,
    trusted_root: TrustedRoot = None,
    ca: Ca = None,
    signing_authority: SigningAuthority = None,
    timestamp_authority: TimestampAuthority = None,
    crl: Crl = None,
    expires_at: ExpiresAt = "",
    scope: Scopes = ["fleet"],  # noqa: B006 - typer copies it
    as_json: AsJson = False,
) -> None:
    """Make a trust root.

    satctl trust create sigstore --trusted-root trusted_root.json

    satctl trust create corporate --ca ca.pem --crl revoked.crl --expires-at 2030-12-31
    """
    made = _made(
        name,
        scope,
        expires_at,
        trusted_root,
        ca=ca,
        signing_authority=signing_authority,
        timestamp_authority=timestamp_authority,
        crl=crl,
    )
    show_one(run(context, lambda client: TRUST_ROOT.create(client, made)), facts, as_json=as_json)


@app.command()
def apply(
    context: typer.Context,
    *,
    name: Name,
    trusted_root: TrustedRoot = None,
    ca: Ca = None,
    signing_authority: SigningAuthority = None,
    timestamp_authority: TimestampAuthority = None,
    crl: Crl = None,
    expires_at: ExpiresAt = "",
    scope: Scopes = ["fleet"],  # noqa: B006 - typer copies it
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, write nothing.")] = False,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Make a trust root or replace it as a whole; to rotate without a gap, give the old material beside the new.

    satctl trust apply corporate --ca old.pem --ca new.pem
    """
    made = _made(
        name,
        scope,
        expires_at,
        trusted_root,
        ca=ca,
        signing_authority=signing_authority,
        timestamp_authority=timestamp_authority,
        crl=crl,
    )
    apply_rules(context, [made], dry_run=dry_run, reason=reason, as_json=as_json)


@app.command("list")
def list_roots(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List trust roots."""
    nothing = "no trust roots: `satctl trust create NAME --trusted-root FILE` or `--ca FILE`"
    show_list(run(context, TRUST_ROOT.all), COLUMNS, as_json=as_json, nothing=nothing)


@app.command()
def get(context: typer.Context, *, name: Name, as_json: AsJson = False) -> None:
    """Show a trust root."""
    show_one(run(context, lambda client: TRUST_ROOT.get(client, name)), facts, as_json=as_json)


@app.command()
def delete(context: typer.Context, *, name: Name, etag: Etag = "", yes: Force = False) -> None:
    """Delete a trust root; refused while policies rely on it."""
    confirm(f"delete trust root {name}?", yes=yes)
    run(context, lambda client: TRUST_ROOT.delete(client, name, etag=etag))
    say(f"trust root {name} deleted")
