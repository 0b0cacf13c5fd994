"""`satctl policy …`: who must have signed what is served."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from controlplane.satctl.applying import apply_rules, apply_signed, warn
from controlplane.satctl.asking import confirm
from controlplane.satctl.entities import POLICY, SOURCE
from controlplane.satctl.options import AsJson, Etag, Force, Reason
from controlplane.satctl.policy_view import COLUMNS, facts
from controlplane.satctl.reading import check_public_key, read_formats, read_scope, read_text
from controlplane.satctl.render import print_line, say, show_list, show_one
from controlplane.satctl.running import run
from controlplane.satctl.signing import read_signed
from fleet.errors import malformed
from fleet.v1 import fleet_pb2 as pb
from fleet.v1.resource_pb2 import Authority, KeySet, PolicySpec

app = typer.Typer(no_args_is_help=True, help="Who must have signed what: make, apply from a file, list, show, delete.")

Name = Annotated[str, typer.Argument(help="The policy's name.")]


@app.command()
def create(
    context: typer.Context,
    *,
    name: Name,
    key: Annotated[list[Path], typer.Option(help="A PEM public key (cosign.pub); may be repeated.")],
    image: Annotated[list[str], typer.Option(help="Glob over SOURCE/REPOSITORY: 'hub/**'.")],
    formats: Annotated[
        list[str], typer.Option("--format", help="Signatures that count: bundle (cosign 3), simple-signing (cosign 2).")
    ] = ["bundle"],  # noqa: B006 - typer copies it
    threshold: Annotated[int, typer.Option(min=1, help="How many of the keys must have signed.")] = 1,
    scope: Annotated[list[str], typer.Option(help="fleet, group/NAME or satellite/NAME.")] = ["fleet"],  # noqa: B006
    authority: Annotated[str, typer.Option(help="Name of the signer, for verdicts and logs.")] = "signer",
    check_reference: Annotated[
        bool, typer.Option("--check-reference", help="The signature must name the artifact's own repository, too.")
    ] = False,
    referrer_type: Annotated[
        list[str] | None, typer.Option(help="Artifact type that comes along unsigned, as an SBOM's.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a policy of one authority; `apply` takes those of several.

    satctl policy create base --key cosign.pub --image 'hub/**' --format bundle,simple-signing
    """
    keys = [check_public_key(read_text(path), subject=str(path)) for path in key]
    signer = Authority(
        name=authority, formats=read_formats(formats), keys=KeySet(public_keys_pem=keys, threshold=threshold)
    )
    spec = PolicySpec(
        images=image, authorities=[signer], check_reference=check_reference, referrer_types=referrer_type or ()
    )
    made = pb.Policy(name=name, spec=spec, scopes=map(read_scope, scope))
    show_one(run(context, lambda client: POLICY.create(client, made)), facts, as_json=as_json)


@app.command()
def apply(
    context: typer.Context,
    *,
    file: Annotated[Path, typer.Option("--file", "-f", help="YAML; several documents are separated by ---.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, write nothing.")] = False,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Make or replace policies, trust roots and blocks from a file, or send a signed one on: all of it, or none.

    docs/policies.md shows every field. satctl policy apply -f policy.yaml --dry-run
    """
    from controlplane.satctl.policy_file import read_rules  # noqa: PLC0415 - what help need not wait for

    if signed := read_signed(file):
        apply_signed(context, signed, dry_run=dry_run, reason=reason, as_json=as_json)
        return
    read = read_rules(file)
    for warning in read.warnings:
        warn(warning)
    apply_rules(context, read.rules, dry_run=dry_run, reason=reason, as_json=as_json)


@app.command("import")
def import_policies(
    context: typer.Context,
    *,
    file: Annotated[Path, typer.Option("--file", "-f", help="ClusterImagePolicies, v1alpha1 or v1beta1.")],
    trust_root: Annotated[
        str, typer.Option(help="What takes the place of the public sigstore, where none is named.", show_default=False)
    ] = "",
    scope: Annotated[list[str], typer.Option(help="fleet, group/NAME or satellite/NAME.")] = ["fleet"],  # noqa: B006
    output: Annotated[
        str, typer.Option(help="yaml: print it as `policy apply` reads it, and write nothing.", show_default=False)
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, write nothing.")] = False,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Make policies of those of sigstore's policy-controller; what cannot be said here is an error, never left out.

    satctl policy import -f cip.yaml --output yaml > policy.yaml

    Hosts in globs become the sources that have their address.
    """
    from controlplane.satctl.cip_file import read_cluster_policies  # noqa: PLC0415 - what help need not wait for
    from controlplane.satctl.policy_yaml import write_yaml  # noqa: PLC0415 - as above

    if output not in {"", "yaml"}:
        raise malformed("OUTPUT_UNKNOWN", "the output is yaml, or left out", subject=output[:40])
    sources = run(context, SOURCE.all)
    read = read_cluster_policies(file, sources, trust_root=trust_root, scopes=list(map(read_scope, scope)))
    for warning in read.warnings:
        warn(warning)
    if output:
        for line in write_yaml([one for one in read.rules if isinstance(one, pb.Policy)]).splitlines():
            print_line(line)
    else:
        apply_rules(context, read.rules, dry_run=dry_run, reason=reason, as_json=as_json)


@app.command("list")
def list_policies(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List policies; without any, no image is served."""
    found = run(context, POLICY.all)
    nothing = "no policies, so every image is refused: `satctl policy create NAME --key cosign.pub --image 'hub/**'`"
    show_list(found, COLUMNS, as_json=as_json, nothing=nothing)


@app.command()
def get(context: typer.Context, *, name: Name, as_json: AsJson = False) -> None:
    """Show a policy."""
    show_one(run(context, lambda client: POLICY.get(client, name)), facts, as_json=as_json)


@app.command()
def delete(context: typer.Context, *, name: Name, etag: Etag = "", yes: Force = False) -> None:
    """Delete a policy: what only it admitted is served no longer."""
    confirm(f"delete policy {name}?", yes=yes)
    run(context, lambda client: POLICY.delete(client, name, etag=etag))
    say(f"policy {name} deleted")
