"""The program `ground-control`: parse, call, render."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.console import Console

from controlplane.config import Settings, load_settings, read_duration
from fleet.errors import FleetError, Kind
from fleet.log import configure_logging

if TYPE_CHECKING:
    from controlplane.supervision import Addresses

T = TypeVar("T")
_EXIT = {Kind.MALFORMED: 2, Kind.REFUSED: 3, Kind.UNIDENTIFIED: 3, Kind.UNAVAILABLE: 4}

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    help="Ground Control: says which images each site of the fleet should have, and streams changes to the satellites.",
    epilog="Every option of `serve` is also an environment variable: GROUND_CONTROL_LISTEN, GROUND_CONTROL_DATA_DIR, …",
)
_talk = Console(stderr=True, highlight=False)

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", help="Database, authority and keys. Default: ~/.local/share/ground-control.", show_default=False
    ),
]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        help="sqlite:///FILE or postgresql://… Default: SQLite in the data directory.",
        show_default=False,
    ),
]
TrustDomain = Annotated[
    str | None, typer.Option("--trust-domain", help="SPIFFE trust domain. Default: fleet.internal.", show_default=False)
]
Deployment = Annotated[
    str | None,
    typer.Option("--deployment", help="Last part of Ground Control's SPIFFE ID. Default: main.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]


def _option(text: str) -> Any:  # noqa: ANN401 - typer's own type
    return typer.Option(help=text, show_default=False)


@app.command()
def serve(
    data_dir: DataDir = None,
    listen: Annotated[str | None, _option("Fleet listener, host:port; port 0 takes a free one. [0.0.0.0:8443]")] = None,
    bootstrap_listen: Annotated[str | None, _option("Listener for joiners, host:port. [0.0.0.0:8444]")] = None,
    advertise: Annotated[str | None, _option("The fleet listener as others reach it, for join strings.")] = None,
    bootstrap_advertise: Annotated[str | None, _option("The joiners' listener as others reach it.")] = None,
    trust_domain: TrustDomain = None,
    deployment: Deployment = None,
    database_url: DatabaseUrl = None,
    workers: Annotated[int | None, _option("Processes; one with SQLite, one per core with PostgreSQL.")] = None,
    dns_names: Annotated[str | None, _option("DNS names in the certificate, comma-separated. [localhost]")] = None,
    svid_ttl: Annotated[str | None, _option("Life of certificates: 10s to 1h. [1h]")] = None,
    spiffe_endpoint_socket: Annotated[
        str | None, _option("SPIRE's Workload API, unix:///path; then no authority is started.")
    ] = None,
    authority_dir: Annotated[Path | None, _option("Directory of a built-in authority that runs on its own.")] = None,
    metrics: Annotated[
        str | None, _option("Where metrics and health are read over HTTP, 127.0.0.1:9464. [nowhere]")
    ] = None,
    metrics_plaintext: Annotated[bool | None, _option("Let the metrics be read beyond loopback.")] = None,
    log_level: Annotated[str | None, _option("debug, info, warning or error. [info]")] = None,
) -> None:
    """Run Ground Control until it is told to stop.

    The real addresses are on standard error and, as JSON, in the data directory's `ground-control.ready`.
    """
    from controlplane.supervisor import supervise  # noqa: PLC0415 - other commands need it not

    settings = _settings(
        data_dir=data_dir,
        listen=listen,
        bootstrap_listen=bootstrap_listen,
        advertise=advertise,
        bootstrap_advertise=bootstrap_advertise,
        trust_domain=trust_domain,
        deployment=deployment,
        database_url=database_url,
        workers=workers,
        dns_names=dns_names,
        svid_ttl=svid_ttl,
        spiffe_endpoint_socket=spiffe_endpoint_socket,
        authority_dir=authority_dir,
        metrics=metrics,
        metrics_plaintext=metrics_plaintext,
        log_level=log_level,
    )

    def started(addresses: Addresses) -> None:
        if sys.stderr.isatty():
            _talk.print(f"[green]Ground Control serves[/] {settings.ground_control} on {addresses.listen}")
            if settings.has_builtin_authority:
                _talk.print(f"joiners: {addresses.bootstrap_listen}; first operator: [bold]ground-control init NAME[/]")

    raise typer.Exit(_run(supervise(settings, started=started)))


@app.command()
def reload(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Replace the workers of the Ground Control on this data directory, one after the other, without a gap.

    Each one's successor serves before it says goodbye. A new version of the program takes over so: the database is
    brought up to date first. Settings stay those that `serve` was started with. SIGHUP to `serve` does the same.
    """
    from controlplane.reload import reload as replace_workers  # noqa: PLC0415 - as in `serve`

    settings = _settings(data_dir=data_dir)
    facts = _guarded(lambda: replace_workers(settings))
    workers = {name: pid for name, pid in facts["processes"].items() if name.startswith("worker-")}
    _show({"workers": workers}, f"{len(workers)} workers replaced", as_json=as_json)


@app.command()
def init(
    operator: Annotated[str, typer.Argument(help="Name of the first operator, an admin: a-z 0-9 . _ -")] = "admin",
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    trust_domain: TrustDomain = None,
    deployment: Deployment = None,
    ttl: Annotated[str, typer.Option(help="How long the join string is good for.")] = "24h",
    as_json: AsJson = False,
) -> None:
    """Make the data directory, the database and the first operator, and print its join string.

    Give the string to `satctl login`. It is shown once; `operator-token` mints another.
    """
    from controlplane.local import as_running, first_operator  # noqa: PLC0415 - heavy: the database's packages

    settings = _settings(data_dir=data_dir, database_url=database_url, trust_domain=trust_domain, deployment=deployment)
    joined = _run(first_operator(as_running(settings), operator, _ttl(ttl)))
    _show(joined.facts, joined.join_string or f"register {joined.spiffe_id} in SPIRE", as_json=as_json)


@app.command("operator-token")
def operator_token(
    operator: Annotated[str, typer.Argument(help="An operator that has a role.")],
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    trust_domain: TrustDomain = None,
    deployment: Deployment = None,
    ttl: Annotated[str, typer.Option(help="How long the join string is good for.")] = "24h",
    as_json: AsJson = False,
) -> None:
    """Print a join string for an operator who has lost access."""
    from controlplane.local import as_running, join_operator  # noqa: PLC0415 - heavy: the database's packages

    settings = _settings(data_dir=data_dir, database_url=database_url, trust_domain=trust_domain, deployment=deployment)
    joined = _run(join_operator(as_running(settings), operator, _ttl(ttl)))
    _show(joined.facts, joined.join_string, as_json=as_json)


@app.command()
def migrate(data_dir: DataDir = None, database_url: DatabaseUrl = None) -> None:
    """Bring the database up to this version's tables; `serve` does it at each start."""
    settings = _settings(data_dir=data_dir, database_url=database_url)

    def upgrade() -> None:
        from controlplane.adapters.sql.migrate import migrate as upgrade_tables  # noqa: PLC0415 - heavy
        from controlplane.home import make_home  # noqa: PLC0415 - as above

        make_home(settings)
        upgrade_tables(settings.database)

    _guarded(upgrade)


@app.command()
def recover(data_dir: DataDir = None, database_url: DatabaseUrl = None, as_json: AsJson = False) -> None:
    """Begin a new epoch after a backup was restored.

    Satellites that had seen later changes hold on to what they have (STORE_BEHIND) until this is done; then they take
    the restored state.
    """
    from controlplane.local import recover_log  # noqa: PLC0415 - heavy: the database's packages

    position = _run(recover_log(_settings(data_dir=data_dir, database_url=database_url)))
    facts = {"epoch": position.epoch, "revision": position.revision}
    _show(facts, f"epoch {position.epoch} begins at revision {position.revision}", as_json=as_json)


def _settings(**options: object) -> Settings:
    settings = _guarded(lambda: load_settings(**options))
    configure_logging(program="ground-control", level=settings.log_level)
    return settings


def _ttl(text: str) -> timedelta:
    return _guarded(lambda: read_duration(text))


def _guarded(call: Callable[[], T]) -> T:
    try:
        return call()
    except FleetError as error:
        _fail(error)
        raise typer.Exit(_EXIT.get(error.kind, 1)) from error


def _run(work: Coroutine[Any, Any, T]) -> T:
    return _guarded(lambda: asyncio.run(work))


def _fail(error: FleetError) -> None:
    _talk.print(f"[red]{error.reason}[/]: ", end="")
    _talk.print(error.public, markup=False)
    if error.detail and os.environ.get("GROUND_CONTROL_LOG_LEVEL") == "debug":
        _talk.print(error.detail, markup=False)


def _show(facts: dict[str, Any], text: str, *, as_json: bool) -> None:
    print(json.dumps(facts) if as_json else text)


def main() -> None:
    """Run the program."""
    app()


if __name__ == "__main__":
    main()
