"""`satctl status`: where the fleet stands, and where one satellite stands, artifact by artifact."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from controlplane.satctl.artifacts import short
from controlplane.satctl.document import document, enum_word
from controlplane.satctl.options import AsJson, now
from controlplane.satctl.progress import progress_words, reason_words, sum_words
from controlplane.satctl.render import (
    Cell,
    Column,
    ago,
    coloured,
    moment,
    print_json,
    print_line,
    print_table,
    say,
    show_card,
    size,
    table_of,
)
from controlplane.satctl.running import run
from controlplane.satctl.satellites import lifecycle_word
from fleet.v1 import attestation_pb2, health_pb2
from fleet.v1 import fleet_pb2 as pb
from fleet.v1 import state_pb2 as state

if TYPE_CHECKING:
    from controlplane.satctl.client import FleetClient


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(status)


def artifact_word(number: int) -> str:
    """Name an artifact's state; `unreported` where the satellite has not spoken since it was assigned."""
    return enum_word(state.ArtifactState.DESCRIPTOR, number) if number else "unreported"


def converged_word(satellite: pb.SatelliteStatus) -> str:
    """Say whether a satellite has what it should, as far as is known."""
    if satellite.converged:
        return "converged"
    return "no" if satellite.HasField("report") else ""


def warnings(satellite: pb.SatelliteStatus) -> str:
    """Name what a person must look into."""
    found = {"DUPLICATE_IDENTITY": satellite.duplicate_identity, "STORE_BEHIND": satellite.store_behind}
    return ", ".join(name for name, holds in found.items() if holds)


def columns(at: datetime) -> tuple[Column[pb.SatelliteStatus], ...]:
    """Lay out a table of satellites as of a time."""
    return (
        Column("SATELLITE", lambda s: s.satellite),
        Column("LIFECYCLE", lambda s: coloured(lifecycle_word(s.lifecycle))),
        Column("CONVERGED", lambda s: coloured(converged_word(s))),
        Column("PUBLISHED", lambda s: f"{s.report.published}/{s.report.desired}", number=True),
        Column("WAITING", lambda s: s.report.waiting or "", number=True, optional=True),
        Column("REFUSED", lambda s: _alarm(s.report.refused), number=True),
        Column("FAILED", lambda s: _alarm(s.report.failed), number=True),
        Column("TO COME", lambda s: sum_words(s.report.exceptions), optional=True),
        Column("SEEN", lambda s: ago(s, "last_seen_at", at) or "never"),
        Column("GROUPS", lambda s: ", ".join(s.groups), folds=True, optional=True),
        Column("WARNINGS", lambda s: _alarm_text(warnings(s)), folds=True, optional=True),
    )


def _alarm_text(text: str) -> Cell:
    return Text(text, style="red")


def _alarm(count: int) -> Cell:
    return _alarm_text(str(count)) if count else "0"


def artifact_columns(at: datetime) -> tuple[Column[pb.ArtifactStatus], ...]:
    """Lay out a table of one satellite's artifacts as of a time."""
    return (
        Column("ARTIFACT", lambda a: a.name, folds=True),
        Column("STATE", lambda a: coloured(artifact_word(a.state))),
        Column("DIGEST", lambda a: short(a.digest)),
        Column("FROM", lambda a: a.scope, folds=True),
        Column("PULL AS", lambda a: a.local_reference, folds=True, optional=True),
        Column("PROGRESS", progress_words, folds=True, optional=True),
        Column("REASON", lambda a: reason_words(a, at), folds=True, optional=True),
    )


def status(
    context: typer.Context,
    *,
    satellite: Annotated[str, typer.Argument(help="Only this one, artifact by artifact.", show_default=False)] = "",
    group: Annotated[str, typer.Option(help="Only those in this group.", show_default=False)] = "",
    as_json: AsJson = False,
) -> None:
    """Show where the fleet stands, or one satellite: desired, actual, and why they differ.

    satctl status
    satctl status kiosk-1
    """
    if satellite:
        _show_satellite(context, satellite, as_json=as_json)
    else:
        _show_fleet(context, group, as_json=as_json)


def _show_fleet(context: typer.Context, group: str, *, as_json: bool) -> None:
    request = pb.ListSatelliteStatusesRequest(group=group)

    async def ask(client: FleetClient) -> tuple[pb.GetFleetStatusResponse, list[pb.SatelliteStatus]]:
        fleet = await client.call(client.fleet.GetFleetStatus, pb.GetFleetStatusRequest())
        found = await client.pages(client.fleet.ListSatelliteStatuses, request, lambda page: page.statuses)
        return fleet, found

    fleet, satellites = run(context, ask)
    if as_json:
        print_json({"fleet": document(fleet), "satellites": [document(one) for one in satellites]})
        return
    print_line(summary(fleet))
    if satellites:
        print_line("")
        print_table(table_of(satellites, columns(now())))
    else:
        say("no satellites: `satctl token create --satellite NAME` invites one")


def summary(fleet: pb.GetFleetStatusResponse) -> str:
    """Count the fleet in one line."""
    counts = (
        f"{fleet.satellites} satellites: {fleet.online} online, {fleet.stale} stale, {fleet.pending} pending, "
        f"{fleet.revoked} revoked"
    )
    content = f"{fleet.converged} converged, {fleet.with_exceptions} with exceptions"
    return f"{counts}; {content}; {fleet.groups} groups, {fleet.artifacts} artifacts"


def _show_satellite(context: typer.Context, name: str, *, as_json: bool) -> None:
    request = pb.GetSatelliteStatusRequest(name=name)
    answer = run(context, lambda client: client.call(client.fleet.GetSatelliteStatus, request))
    if as_json:
        print_json(document(answer))
        return
    show_card(_facts(answer.status))
    if answer.artifacts:
        print_line("")
        print_table(table_of(answer.artifacts, artifact_columns(now())))
    elif answer.status.lifecycle == attestation_pb2.LIFECYCLE_PENDING:
        say(f"it has no state while it is pending: `satctl approve {name}`, or a join token, lets it in")
    else:
        say(f"nothing is assigned: `satctl assign SOURCE/REPOSITORY:TAG --to satellite/{name}`")


def _facts(satellite: pb.SatelliteStatus) -> Iterable[tuple[str, Cell]]:
    report, health = satellite.report, satellite.health
    yield "satellite", satellite.satellite
    yield "lifecycle", coloured(lifecycle_word(satellite.lifecycle))
    yield "converged", "yes" if satellite.converged else "no"
    yield "last seen", moment(satellite, "last_seen_at") or "never"
    yield "groups", ", ".join(satellite.groups)
    yield "version", satellite.agent_version
    yield "warnings", warnings(satellite)
    if satellite.HasField("report"):
        counts = f"{report.published} published, {report.waiting} waiting, {report.refused} refused"
        yield "artifacts", f"{report.desired} desired: {counts}, {report.failed} failed"
        yield "still to come", sum_words(report.exceptions)
        yield "registry", report.registry_kind + (" (exclusive)" if report.registry_exclusive else " (shared)")
        yield "foreign content", f"{report.foreign_withdrawn} withdrawn" if report.foreign_withdrawn else ""
    if satellite.HasField("health"):
        yield "registry answers", "yes" if health.registry_healthy else "no"
        yield "load", f"CPU {health.cpu_fraction:.0%}, satellite {size(health.satellite_rss_bytes)}"
        yield "memory", f"{size(health.memory_used_bytes)} of {size(health.memory_total_bytes)}"
        yield "disk", f"{size(health.disk_free_bytes)} free" if health.disk_total_bytes else ""
        yield "still to fetch", size(health.pending_bytes) if health.pending_bytes else ""
        yield "may fetch", _fetching(health) if health.HasField("link") else ""
        yield "SVID until", moment(health, "svid_expires_at")


def _fetching(health: health_pb2.Health) -> str:
    """Say what the link to the sources allows."""
    link = health.link
    until = moment(link, "until")
    parts = [("open" if link.is_open else "closed") + (f" until {until}" if until else "")]
    if link.rate_bytes_per_second:
        parts.append(f"at most {size(link.rate_bytes_per_second)}/s")
    for budget in link.budgets:
        period = enum_word(health_pb2.BudgetPeriod.DESCRIPTOR, budget.period)
        parts.append(f"{size(budget.limit_bytes, budget.left_bytes)} left this {period}")
    return ", ".join(parts)
