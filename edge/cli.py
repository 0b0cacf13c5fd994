"""The program `satellite`: parse, call, render."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from edge.config import Settings, load_settings
from edge.home import Home
from fleet.errors import FleetError, Kind
from fleet.log import configure_logging

T = TypeVar("T")
_EXIT = {Kind.MALFORMED: 2, Kind.REFUSED: 3, Kind.UNIDENTIFIED: 3, Kind.UNAVAILABLE: 4}

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    help="A satellite: keeps one site's registry supplied with verified images, whether the link is up or not.",
    epilog="Every option of `run` is also an environment variable: SATELLITE_LISTEN, SATELLITE_DATA_DIR, …",
)


def _option(text: str) -> Any:  # noqa: ANN401 - typer's own type
    return typer.Option(help=text, show_default=False)


DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Journal, device key and registry. [~/.local/share/satellite]", show_default=False),
]


@app.command()
def join(
    string: Annotated[str, typer.Argument(help="What `satctl token create` printed; - reads it from standard input.")],
    data_dir: DataDir = None,
) -> None:
    """Join a fleet with a join string: makes the device key and registers it. Safe to repeat."""
    from edge.bootstrap import join as joined  # noqa: PLC0415 - status needs none of it

    settings = _settings(data_dir=data_dir)
    text = sys.stdin.readline() if string == "-" else string
    spiffe_id = _run(joined(settings, text))
    _say(f"joined as {spiffe_id}; start it with: satellite run --data-dir {settings.data_dir}")


@app.command()
def run(
    data_dir: DataDir = None,
    registry: Annotated[str | None, _option("zot, distribution, or your registry's URL. [what is at hand]")] = None,
    listen: Annotated[str | None, _option("Where workloads pull; port 0 takes a free one. [127.0.0.1:5050]")] = None,
    site_plaintext: Annotated[bool | None, _option("Serve plain http beyond loopback.")] = None,
    allow_plain_http: Annotated[
        list[str] | None, _option("Host of a source that may be spoken to over plain http; may be repeated.")
    ] = None,
    spiffe_endpoint_socket: Annotated[str | None, _option("SPIRE's Workload API, unix:///path.")] = None,
    ground_control: Annotated[str | None, _option("Ground Control's fleet listener, host:port. [as joined]")] = None,
    ground_control_id: Annotated[str | None, _option("Ground Control's exact SPIFFE ID. [as joined]")] = None,
    on_revoked: Annotated[str | None, _option("serve or stop when Ground Control revokes us. [serve]")] = None,
    log_level: Annotated[str | None, _option("debug, info, warning or error. [info]")] = None,
) -> None:
    """Run the satellite until it is told to stop.

    The real addresses are, as JSON, in the data directory's `satellite.ready`.
    """
    settings = _settings(
        data_dir=data_dir,
        registry=registry,
        listen=listen,
        site_plaintext=site_plaintext,
        allow_plain_http=tuple(allow_plain_http) if allow_plain_http else None,
        spiffe_endpoint_socket=spiffe_endpoint_socket,
        ground_control=ground_control,
        ground_control_id=ground_control_id,
        on_revoked=on_revoked,
        log_level=log_level,
    )
    from edge.bootstrap import run as running  # noqa: PLC0415 - status needs none of it

    configure_logging(program="satellite", level=settings.log_level)
    raise typer.Exit(_run(running(settings, ready=_started)))


@app.command()
def status(
    data_dir: DataDir = None, as_json: Annotated[bool, typer.Option("--json", help="Answer in JSON.")] = False
) -> None:
    """Say how this satellite stands: link, identity, registry, and every artifact with its reason."""
    home = Home(_settings(data_dir=data_dir).data_dir)
    document = home.read_status()
    if document is None:
        _fail(FleetError(Kind.PRECONDITION, "NEVER_RUN", "no satellite has run here yet", subject=str(home.directory)))
        return
    document["running"] = home.is_running()
    if as_json:
        print(json.dumps(document, indent=2))
    else:
        from edge.screen import show_status  # noqa: PLC0415 - rich is for people

        show_status(document)
    raise typer.Exit(0 if document["running"] else 4)


def main() -> None:
    """Run the program."""
    app()


def _started(document: Mapping[str, Any]) -> None:
    if sys.stderr.isatty():
        _say(f"serving at {document['registry']} ({document['registry_kind']}: {document['registry_why']})")


def _settings(**options: Any) -> Settings:  # noqa: ANN401 - options as typer parsed them
    try:
        return load_settings(**options)
    except FleetError as error:
        _fail(error)
        raise


def _run(work: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(work)
    except FleetError as error:
        _fail(error)
        raise
    except BaseExceptionGroup as errors:
        if (known := errors.subgroup(FleetError)) is None:
            raise
        _fail(_first(known))
        raise
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _first(errors: BaseExceptionGroup[FleetError]) -> FleetError:
    found = errors.exceptions[0]
    return _first(found) if isinstance(found, BaseExceptionGroup) else found


def _fail(error: FleetError) -> None:
    _say(f"satellite: {error.public} [{error.reason}]")
    if error.detail:
        _say(f"  {error.detail}")
    raise typer.Exit(_EXIT.get(error.kind, 1)) from error


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
