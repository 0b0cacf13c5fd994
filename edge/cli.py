"""The program `satellite`: parse, call, render."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from edge.config import load_settings
from edge.exits import run_to_exit, say, tell
from edge.home import Home
from edge.process import become
from edge.settings import Settings
from fleet.errors import FleetError, Kind, malformed
from fleet.log import configure_logging

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
    configure_logging(program="satellite", level="error")
    text = sys.stdin.readline() if string == "-" else string

    async def work() -> int:
        spiffe_id = await joined(settings, text)
        say(f"joined as {spiffe_id}; start it with: satellite run --data-dir {settings.data_dir}")
        return 0

    raise typer.Exit(run_to_exit(work()))


@app.command()
def run(
    data_dir: DataDir = None,
    registry: Annotated[str | None, _option("zot, distribution, or your registry's URL. [what is at hand]")] = None,
    listen: Annotated[str | None, _option("Where workloads pull; port 0 takes a free one. [127.0.0.1:5050]")] = None,
    site_plaintext: Annotated[bool | None, _option("Serve plain http beyond loopback.")] = None,
    allow_plain_http: Annotated[
        list[str] | None, _option("Host of a source that may be spoken to over plain http; may be repeated.")
    ] = None,
    proxy: Annotated[str | None, _option("Proxy to all sources; with a password, rather SATELLITE_PROXY.")] = None,
    proxy_hosts: Annotated[
        list[str] | None, typer.Option("--proxy-host", help="Host that alone is reached through it; may be repeated.")
    ] = None,
    spiffe_endpoint_socket: Annotated[str | None, _option("SPIRE's Workload API, unix:///path.")] = None,
    ground_control: Annotated[str | None, _option("Ground Control's fleet listener, host:port. [as joined]")] = None,
    ground_control_id: Annotated[str | None, _option("Ground Control's exact SPIFFE ID. [as joined]")] = None,
    on_revoked: Annotated[str | None, _option("serve or stop when Ground Control revokes us. [serve]")] = None,
    policy_signer: Annotated[
        list[Path] | None,
        _option("Public key (PEM file) of a policy signer: only what is signed decides here; may be repeated."),
    ] = None,
    policy_signers_threshold: Annotated[int | None, _option("How many of them must have signed. [1]")] = None,
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
        proxy=proxy,
        proxy_hosts=tuple(proxy_hosts) if proxy_hosts else None,
        spiffe_endpoint_socket=spiffe_endpoint_socket,
        ground_control=ground_control,
        ground_control_id=ground_control_id,
        on_revoked=on_revoked,
        policy_signers=tuple(policy_signer) if policy_signer else None,
        policy_signers_threshold=policy_signers_threshold,
        log_level=log_level,
    )
    become(settings)


@app.command()
def status(
    data_dir: DataDir = None, as_json: Annotated[bool, typer.Option("--json", help="Answer in JSON.")] = False
) -> None:
    """Say how this satellite stands: link, identity, registry, and every artifact with its reason."""
    home = Home(_settings(data_dir=data_dir).data_dir)
    document = home.read_status()
    if document is None:
        text = "no satellite has run here yet"
        raise typer.Exit(tell(FleetError(Kind.PRECONDITION, "NEVER_RUN", text, subject=str(home.directory))))
    document["running"] = home.is_running()
    if as_json:
        print(json.dumps(document, indent=2))
    else:
        from edge.screen import show_status  # noqa: PLC0415 - rich is for people

        show_status(document)
    raise typer.Exit(0 if document["running"] else 4)


@app.command()
def scrub(
    data_dir: DataDir = None,
    rate: Annotated[int, typer.Option(min=0, help="How fast to read, in MiB/s; 0 for no bound.")] = 64,
    as_json: Annotated[bool, typer.Option("--json", help="Answer in JSON.")] = False,
) -> None:
    """Read and hash all that this site serves, and fetch again what is damaged.

    Exit codes: 0 all is sound, or is again; 1 something could not be repaired (yet); 4 no satellite runs here.
    """
    from edge.screen import show_scrub, show_scrubbing  # noqa: PLC0415 - rich is for people
    from edge.scrub_command import follow, is_well  # noqa: PLC0415 - status needs none of it

    home = Home(_settings(data_dir=data_dir).data_dir)
    try:
        done, lost = show_scrubbing(follow(home, bytes_per_s=rate << 20))
    except FleetError as error:
        raise typer.Exit(tell(error)) from error
    if as_json:
        print(json.dumps({**done, "lost": lost}, indent=2))
    else:
        show_scrub(done, lost)
    raise typer.Exit(0 if is_well(done, lost) else 1)


@app.command()
def judge(
    allow_plain_http: Annotated[
        list[str] | None, _option("Host of a source that may be spoken to over plain http; may be repeated.")
    ] = None,
) -> None:
    """Judge an image as a site would, by rules that come as JSON on standard input; the verdict is JSON, too.

    `satctl policy test` asks it. Nothing is stored and no layer is fetched. Exit codes: 0 admitted, 1 refused.
    """
    from edge.judge_command import judged  # noqa: PLC0415 - the other commands need none of it

    try:
        verdict = judged(_question(), plain_hosts=frozenset(allow_plain_http or ()))
    except FleetError as error:
        raise typer.Exit(tell(error)) from error
    print(json.dumps(verdict, indent=2))
    raise typer.Exit(0 if verdict["admitted"] else 1)


def _question() -> dict[str, Any]:
    try:
        found = json.load(sys.stdin)
    except ValueError as error:
        raise malformed("QUESTION_MALFORMED", "standard input is not JSON") from error
    return found if isinstance(found, dict) else {}


def main() -> None:
    """Run the program."""
    app()


def _settings(**options: Any) -> Settings:  # noqa: ANN401 - options as typer parsed them
    try:
        return load_settings(**options)
    except FleetError as error:
        raise typer.Exit(tell(error)) from error
