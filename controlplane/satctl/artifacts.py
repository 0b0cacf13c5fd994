"""`satctl artifact …`: what can be replicated."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from controlplane.satctl.asking import confirm
from controlplane.satctl.document import enum_word
from controlplane.satctl.entities import ARTIFACT
from controlplane.satctl.options import AsJson, Etag, Force
from controlplane.satctl.reading import read_platform, read_scope, write_platform
from controlplane.satctl.render import Cell, Column, say, show_list, show_one, size
from controlplane.satctl.running import run
from fleet.v1 import fleet_pb2 as pb
from fleet.v1 import resource_pb2 as resources

if TYPE_CHECKING:
    from controlplane.satctl.client import FleetClient

app = typer.Typer(no_args_is_help=True, help="Images to replicate: make, list, show, change, delete.")

Name = Annotated[str, typer.Argument(help="SOURCE/REPOSITORY:TAG, or ...@sha256:DIGEST, or both.")]
Platforms = Annotated[
    list[str] | None, typer.Option("--platform", help="Whose layers are wanted: linux/amd64. Default: all.")
]
Priority = Annotated[int | None, typer.Option(min=0, max=100, help="Higher goes first.", show_default=False)]
SHORT_DIGEST = len("sha256:") + 12

COLUMNS: tuple[Column[pb.Artifact], ...] = (
    Column("NAME", lambda a: a.name, folds=True),
    Column("DIGEST", lambda a: short(a.spec.digest)),
    Column("PLATFORMS", lambda a: _platforms(a) or "all"),
    Column("PRIORITY", lambda a: a.spec.priority, number=True),
    Column("SIZE", lambda a: size(a.spec.size_bytes) if a.spec.size_bytes else "", number=True, optional=True),
    Column("ASSIGNED TO", lambda a: ", ".join(a.scopes), folds=True),
)


def short(digest: str) -> str:
    """Cut a digest for a table; JSON and `get` have it whole."""
    return digest[:SHORT_DIGEST]


def _platforms(artifact: pb.Artifact) -> str:
    return ", ".join(map(write_platform, artifact.spec.platforms))


def facts(artifact: pb.Artifact) -> Iterable[tuple[str, Cell]]:
    """Say what is known of one."""
    spec = artifact.spec
    yield "name", artifact.name
    yield "digest", spec.digest
    yield "platforms", _platforms(artifact) or "all"
    yield "priority", spec.priority
    yield "track", enum_word(resources.Track.DESCRIPTOR, spec.track)
    yield "size", size(spec.size_bytes) if spec.size_bytes else ""
    yield "assigned to", ", ".join(artifact.scopes)


@app.command()
def create(
    context: typer.Context,
    *,
    name: Name,
    platform: Platforms = None,
    priority: Priority = None,
    follow: Annotated[bool, typer.Option(help="Let Ground Control follow the tag when it moves.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make an artifact; a tag without a digest is resolved at its source, once, now.

    satctl artifact create hub/library/nginx:1.27 --platform linux/amd64 --priority 50
    """
    spec = resources.ArtifactSpec(
        platforms=map(read_platform, platform or ()),
        priority=priority or 0,
        track=resources.TRACK_FOLLOW if follow else resources.TRACK_PINNED,
    )
    made = pb.Artifact(name=name, spec=spec)
    show_one(run(context, lambda client: ARTIFACT.create(client, made)), facts, as_json=as_json)


@app.command("list")
def list_artifacts(
    context: typer.Context,
    *,
    scope: Annotated[
        str, typer.Option(help="Only those assigned to it: fleet, group/NAME, satellite/NAME.", show_default=False)
    ] = "",
    as_json: AsJson = False,
) -> None:
    """List artifacts."""
    wanted = read_scope(scope) if scope else ""
    found = run(context, lambda client: ARTIFACT.all(client, scope=wanted))
    show_list(found, COLUMNS, as_json=as_json, nothing="no artifacts: `satctl assign SOURCE/REPOSITORY:TAG --to SCOPE`")


@app.command()
def get(context: typer.Context, *, name: Name, as_json: AsJson = False) -> None:
    """Show an artifact, its digest whole."""
    show_one(run(context, lambda client: ARTIFACT.get(client, name)), facts, as_json=as_json)


@app.command()
def update(
    context: typer.Context,
    *,
    name: Name,
    platform: Platforms = None,
    priority: Priority = None,
    digest: Annotated[str | None, typer.Option(help="Pin the tag to this digest.", show_default=False)] = None,
    resolve: Annotated[bool, typer.Option("--resolve", help="Ask the source again what the tag points to.")] = False,
    as_json: AsJson = False,
) -> None:
    """Change an artifact; what is not named stays.

    satctl artifact update hub/library/nginx:1.27 --resolve
    """
    platforms = [read_platform(text) for text in platform or ()]

    async def change(client: FleetClient) -> pb.Artifact:
        artifact = await ARTIFACT.get(client, name)
        spec = artifact.spec
        if platforms:
            del spec.platforms[:]
            spec.platforms.extend(platforms)
        spec.priority = spec.priority if priority is None else priority
        if resolve or digest is not None:
            spec.digest, spec.size_bytes = digest or "", 0  # an empty digest is resolved anew
        return await ARTIFACT.update(client, artifact)

    show_one(run(context, change), facts, as_json=as_json)


@app.command()
def delete(context: typer.Context, *, name: Name, etag: Etag = "", yes: Force = False) -> None:
    """Delete an artifact with its assignments: satellites withdraw it."""
    confirm(f"delete artifact {name}?", yes=yes)
    run(context, lambda client: ARTIFACT.delete(client, name, etag=etag))
    say(f"artifact {name} deleted")
