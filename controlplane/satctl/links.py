"""`satctl link …`: how fast, when, and how much satellites may fetch from sources."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from controlplane.satctl.asking import confirm
from controlplane.satctl.entities import CONFIGURATION
from controlplane.satctl.options import AsJson, Force
from controlplane.satctl.reading import read_rate, read_size, read_window
from controlplane.satctl.render import Cell, Column, say, show_list, show_one
from controlplane.satctl.running import run
from fleet.errors import FleetError, Kind, malformed
from fleet.v1 import fleet_pb2 as pb
from fleet.v1.resource_pb2 import ConfigurationSpec, LinkSpec

if TYPE_CHECKING:
    from controlplane.satctl.client import FleetClient

app = typer.Typer(
    no_args_is_help=True,
    help="How fast, when, and how much satellites may fetch from sources: set, show, clear. A satellite obeys within "
    "seconds. Its own settings rank before its groups', and those before the fleet's; the first that there are hold "
    "as a whole.",
)

ForFleet = Annotated[bool, typer.Option("--fleet", help="For all satellites that nothing else is said for.")]
ForGroup = Annotated[str, typer.Option("--group", help="For the satellites of this group.", show_default=False)]
ForSatellite = Annotated[str, typer.Option("--satellite", help="For this satellite alone.", show_default=False)]
Budget = Annotated[str | None, typer.Option(help="Bytes in each, as 2GB or 500MiB; none.", show_default=False)]
_BUDGETS = ("hour", "day", "month")


def scope_of(*, fleet: bool, group: str, satellite: str) -> str:
    """Read whose settings are meant: exactly one of the three.

    Raises:
        FleetError: MALFORMED `SCOPE_MALFORMED`.
    """
    named = [*(["fleet"] if fleet else []), *([f"group/{group}"] if group else [])]
    named += [f"satellite/{satellite}"] if satellite else []
    if len(named) != 1:
        raise malformed("SCOPE_MALFORMED", "say whose link it is: --fleet, --group NAME or --satellite NAME")
    return named[0]


def _bytes(count: int) -> str:
    """Write bytes as they are read: by 1,000, exactly."""
    for power, unit in ((4, "TB"), (3, "GB"), (2, "MB"), (1, "kB")):
        if count and count % 1000**power == 0:
            return f"{count // 1000**power}{unit}"
    return f"{count}B"


def _windows(link: LinkSpec) -> list[str]:
    return [f"{one.cron} {_duration(one.duration.seconds)}" for one in link.windows]


def _duration(seconds: int) -> str:
    parts = ((seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "m"), (seconds % 60, "s"))
    return "".join(f"{count}{unit}" for count, unit in parts if count)


def _rate(link: LinkSpec) -> str:
    return f"{_bytes(link.rate_bytes_per_second)}/s" if link.rate_bytes_per_second else "no cap"


def _budgets(link: LinkSpec) -> list[str]:
    found = [(period, getattr(link, f"{period}_budget_bytes")) for period in _BUDGETS]
    return [f"{_bytes(size)} each {period}" for period, size in found if size]


def _exempt(link: LinkSpec) -> str:
    return f"priority {link.exempt_priority} and higher" if link.HasField("exempt_priority") else ""


COLUMNS: tuple[Column[pb.Configuration], ...] = (
    Column("SCOPE", lambda c: c.name),
    Column("RATE", lambda c: _rate(c.spec.link)),
    Column("WINDOWS", lambda c: ", ".join(_windows(c.spec.link)) or "always open", folds=True),
    Column("TIME ZONE", lambda c: c.spec.link.time_zone or "UTC"),
    Column("BUDGETS", lambda c: ", ".join(_budgets(c.spec.link)) or "none", folds=True),
    Column("EXEMPT", lambda c: _exempt(c.spec.link), optional=True),
)


def facts(configuration: pb.Configuration) -> Iterable[tuple[str, Cell]]:
    """Say what is known of one."""
    link = configuration.spec.link
    yield "scope", configuration.name
    yield "rate", _rate(link)
    yield "open", "\n".join(_windows(link)) or "always"
    yield "time zone", link.time_zone or "UTC"
    yield "budgets", "\n".join(_budgets(link)) or "none"
    yield "exempt", _exempt(link)


@app.command("set")
def set_link(
    context: typer.Context,
    *,
    fleet: ForFleet = False,
    group: ForGroup = "",
    satellite: ForSatellite = "",
    rate: Annotated[str | None, typer.Option(help="As 2MB/s or 16Mbit/s; none.", show_default=False)] = None,
    window: Annotated[
        list[str] | None,
        typer.Option(
            help="When fetching is allowed: five cron fields and a duration, '0 22 * * * 6h'. May be repeated; none.",
            show_default=False,
        ),
    ] = None,
    time_zone: Annotated[
        str | None, typer.Option(help="The site's, as Europe/Berlin: for windows and budgets.", show_default=False)
    ] = None,
    budget_hour: Budget = None,
    budget_day: Budget = None,
    budget_month: Budget = None,
    exempt_priority: Annotated[
        str | None,
        typer.Option(
            help="Artifacts of this priority and higher ignore windows and budgets: 0 to 100; none.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Limit the link of one scope's satellites; what is not named stays, 'none' takes a limit away.

    satctl link set --group shops --rate 2MB/s --window '0 22 * * * 6h' --time-zone Europe/Berlin --budget-day 2GB

    satctl link set --satellite kiosk-1        # no limits there, whatever its groups say
    """
    scope = scope_of(fleet=fleet, group=group, satellite=satellite)
    told: dict[str, int | str] = {}
    if rate is not None:
        told["rate_bytes_per_second"] = read_rate(rate)
    if time_zone is not None:
        told["time_zone"] = time_zone
    for period, size in zip(_BUDGETS, (budget_hour, budget_day, budget_month), strict=True):
        if size is not None:
            told[f"{period}_budget_bytes"] = read_size(size)
    windows = None if window is None else [read_window(text) for text in window if text != "none"]

    async def change(client: FleetClient) -> pb.Configuration:
        configuration = await _held(client, scope) or pb.Configuration(name=scope)
        link = configuration.spec.link
        link.SetInParent()
        for field, value in told.items():
            setattr(link, field, value)
        if windows is not None:
            link.ClearField("windows")
            link.windows.extend(windows)
        _set_exempt(link, exempt_priority)
        return await CONFIGURATION.set(client, configuration)

    show_one(run(context, change), facts, as_json=as_json)


def _set_exempt(link: LinkSpec, text: str | None) -> None:
    if text == "none":
        link.ClearField("exempt_priority")
    elif text is not None:
        if not text.isdecimal():
            raise malformed("PRIORITY_OUT_OF_RANGE", "a priority is 0 to 100, or none", subject=text[:40])
        link.exempt_priority = int(text)


async def _held(client: FleetClient, scope: str) -> pb.Configuration | None:
    try:
        return await CONFIGURATION.get(client, scope)
    except FleetError as error:
        if error.kind is Kind.UNKNOWN and error.reason == "CONFIGURATION_UNKNOWN":
            return None
        raise


@app.command()
def show(
    context: typer.Context,
    *,
    fleet: ForFleet = False,
    group: ForGroup = "",
    satellite: ForSatellite = "",
    as_json: AsJson = False,
) -> None:
    """Show what is said of links: of one scope, or of all. What a satellite obeys is in `satctl status NAME`."""
    if fleet or group or satellite:
        scope = scope_of(fleet=fleet, group=group, satellite=satellite)
        show_one(run(context, lambda client: CONFIGURATION.get(client, scope)), facts, as_json=as_json)
        return
    found = [one for one in run(context, CONFIGURATION.all) if one.spec.HasField("link")]
    show_list(found, COLUMNS, as_json=as_json, nothing="nothing is said of links: satellites fetch as fast as they can")


@app.command()
def clear(
    context: typer.Context,
    *,
    fleet: ForFleet = False,
    group: ForGroup = "",
    satellite: ForSatellite = "",
    yes: Force = False,
) -> None:
    """Say nothing of one scope's link any more: what lower-ranking scopes say holds again."""
    scope = scope_of(fleet=fleet, group=group, satellite=satellite)
    confirm(f"clear the link settings of {scope}?", yes=yes)

    async def change(client: FleetClient) -> None:
        configuration = await CONFIGURATION.get(client, scope)
        configuration.spec.ClearField("link")
        if configuration.spec == ConfigurationSpec():
            await CONFIGURATION.delete(client, scope, etag=configuration.etag)
        else:
            await CONFIGURATION.set(client, configuration)

    run(context, change)
    say(f"link settings of {scope} cleared")
