"""The program `satctl`: its commands, and what comes before them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from controlplane.satctl import (
    artifacts,
    assignments,
    blocks,
    explain,
    groups,
    history,
    judging,
    lifecycle,
    links,
    login,
    operators,
    policies,
    satellites,
    signing,
    sources,
    status,
    svid,
    tokens,
    trusts,
    watch,
)
from controlplane.satctl.failure import Exit, exit_code, tell
from controlplane.satctl.options import Options, default_home
from controlplane.satctl.simulate import command as simulation
from fleet.errors import FleetError, Kind
from fleet.log import configure_logging

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Say which images each site of the fleet should have, and see what they have.",
    epilog="Exit codes: 0 done, 1 failed, 2 usage, 3 refused, 4 unreachable. Begin with `satctl login JOIN_STRING`.",
)


@app.callback()
def root(
    context: typer.Context,
    home: Annotated[
        Path | None,
        typer.Option(
            envvar="SATCTL_HOME", help="Directory of profiles. [~/.config/harbor-satellite]", show_default=False
        ),
    ] = None,
    profile: Annotated[str, typer.Option(envvar="SATCTL_PROFILE", help="Which login to use.")] = "default",
    ground_control: Annotated[
        str,
        typer.Option(
            envvar="SATCTL_GROUND_CONTROL", help="With SPIRE instead of a login: host:port.", show_default=False
        ),
    ] = "",
    ground_control_id: Annotated[
        str,
        typer.Option(envvar="SATCTL_GROUND_CONTROL_ID", help="With SPIRE: its exact SPIFFE ID.", show_default=False),
    ] = "",
    spiffe_endpoint_socket: Annotated[
        str,
        typer.Option(
            help="With SPIRE: the Workload API, unix:///path. [SPIFFE_ENDPOINT_SOCKET]",
            show_default=False,
        ),
    ] = "",
    timeout: Annotated[float, typer.Option(min=1, max=3600, help="Seconds that one call may take.")] = 30.0,
    request_id: Annotated[
        str,
        typer.Option(
            help="Id that makes a write safe to repeat from a script; each command makes its own.", show_default=False
        ),
    ] = "",
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log to standard error.")] = False,
) -> None:
    """Set what every command takes."""
    configure_logging(program="satctl", level="debug" if verbose else "error")
    context.obj = Options(
        home=home or default_home(),
        profile=profile,
        ground_control=ground_control,
        ground_control_id=ground_control_id,
        spiffe_socket=spiffe_endpoint_socket,
        timeout_s=timeout,
        request_id=request_id,
    )


for module in (login, status, explain, watch, history, assignments, lifecycle, simulation):
    module.register(app)
judging.register(policies.app)
signing.register(policies.app)
app.add_typer(satellites.app, name="satellite")
app.add_typer(groups.app, name="group")
app.add_typer(sources.app, name="source")
app.add_typer(artifacts.app, name="artifact")
app.add_typer(policies.app, name="policy")
app.add_typer(trusts.app, name="trust")
app.add_typer(blocks.app, name="block")
app.add_typer(links.app, name="link")
app.add_typer(tokens.app, name="token")
app.add_typer(operators.app, name="operator")
app.add_typer(svid.app, name="svid")


def main() -> None:
    """Run the program."""
    try:
        app(prog_name="satctl")
    except FleetError as error:
        tell(error)
        raise SystemExit(exit_code(error)) from error
    except OSError as error:  # a directory that cannot be made, a full disk
        text = "a file of satctl's cannot be used"
        tell(FleetError(Kind.PRECONDITION, "FILE_UNUSABLE", text, subject=str(error)))
        raise SystemExit(Exit.FAILED) from error


if __name__ == "__main__":
    main()
