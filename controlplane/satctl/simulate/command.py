"""`satctl simulate`: a fleet without sites, to find out what a Ground Control carries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from controlplane.satctl.asking import confirm
from controlplane.satctl.options import AsJson, Force, options_of
from controlplane.satctl.reading import read_duration
from controlplane.satctl.render import say
from controlplane.satctl.running import run
from fleet.errors import malformed

if TYPE_CHECKING:
    from controlplane.satctl.client import FleetClient


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(simulate)


Share = Annotated[float, typer.Option(min=0, max=1)]


def simulate(
    context: typer.Context,
    *,
    satellites: Annotated[int, typer.Option("--satellites", "-n", min=1, max=99_999, help="How many.")] = 100,
    duration: Annotated[str, typer.Option(help="How long to run once begun; 0 runs until Ctrl-C.")] = "0",
    group: Annotated[list[str] | None, typer.Option(help="Put new ones into this group.", show_default=False)] = None,
    address: Annotated[
        list[str] | None,
        typer.Option(help="host:port of a fleet listener; several share the load. [the profile's]", show_default=False),
    ] = None,
    ramp: Annotated[float, typer.Option(min=0.1, help="Connections begun a second.")] = 500.0,
    failing: Annotated[float, typer.Option(min=0, max=1, help="Share that reports a failed artifact.")] = 0.0,
    refusing: Annotated[float, typer.Option(min=0, max=1, help="Share that reports a refused artifact.")] = 0.0,
    waiting: Annotated[float, typer.Option(min=0, max=1, help="Share that reports an artifact under way.")] = 0.0,
    slow: Annotated[float, typer.Option(min=0, max=1, help="Share that subscribes and reads no more.")] = 0.0,
    disconnects: Annotated[float, typer.Option(min=0, help="Connections cut a minute, here and there.")] = 0.0,
    cut: Annotated[
        str, typer.Option(help="Cut all connections for so long, once; say when with --cut-after.", show_default=False)
    ] = "",
    cut_after: Annotated[str, typer.Option(help="When to cut, counted from the begin.")] = "30s",
    heartbeat: Annotated[
        str, typer.Option(help="Time between health reports; 0: none. [as Ground Control says]", show_default=False)
    ] = "",
    processes: Annotated[int, typer.Option(min=0, max=64, help="Processes; 0: one for 5,000 satellites.")] = 0,
    clean: Annotated[bool, typer.Option("--clean", help="Remove every simulated satellite, and end.")] = False,
    as_json: AsJson = False,
    yes: Force = False,
) -> None:
    """Simulate satellites, to size a Ground Control: each with an identity and a connection of its own.

    They are made as real ones are: you, an admin, mint their join tokens. All are named sim-… and stand in region sim;
    --clean removes them. Each speaks the real protocol, holds what it is told, and reports; only images and the
    registry are missing. Run it from machines of its own, not beside the Ground Control that you measure.

        satctl simulate --satellites 2000 --group shops --duration 5m --cut 10s
    """
    from controlplane.satctl.simulate import session  # noqa: PLC0415 - as in `running`

    options = options_of(context)
    if options.uses_spiffe:
        text = "simulated satellites join by tokens of the built-in authority: log in with a join string"
        raise malformed("SIMULATION_BY_TOKEN", text)
    if clean:
        confirm("remove every satellite named sim-… of region sim?", yes=yes)
        removed = run(context, lambda client: session.clean(client, options))
        say(f"{removed} simulated satellites removed")
        return
    wanted = session.Wanted(
        satellites=satellites,
        duration_s=_seconds(duration),
        groups=tuple(group or ()),
        addresses=tuple(address or ()),
        plan=session.plan(
            processes=session.processes_for(satellites, processes),
            failing=failing,
            refusing=refusing,
            waiting=waiting,
            slow=slow,
            disconnects=disconnects,
            heartbeat_s=_seconds(heartbeat) if heartbeat else None,
            ramp=ramp,
        ),
        processes=session.processes_for(satellites, processes),
        cut_s=_seconds(cut) if cut else 0.0,
        cut_after_s=_seconds(cut_after),
    )

    async def simulated(client: FleetClient) -> session.Summary:
        return await session.simulate(client, options, wanted)

    session.show(run(context, simulated), as_json=as_json)


def _seconds(text: str) -> float:
    return 0.0 if text in ("0", "0s") else read_duration(text).total_seconds()
