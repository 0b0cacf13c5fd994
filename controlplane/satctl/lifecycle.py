"""`satctl approve`, `revoke`, `reinstate`: letting a satellite in, turning it away, letting it in again."""

from __future__ import annotations

from typing import Annotated

import typer

from controlplane.satctl.asking import confirm
from controlplane.satctl.options import AsJson, Force, Reason
from controlplane.satctl.render import say, show_one
from controlplane.satctl.running import run
from controlplane.satctl.satellites import facts
from fleet.v1 import fleet_pb2 as pb

Satellite = Annotated[str, typer.Argument(help="The satellite's name.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(approve)
    app.command()(revoke)
    app.command()(reinstate)


def approve(context: typer.Context, *, satellite: Satellite, reason: Reason = "", as_json: AsJson = False) -> None:
    """Let a pending satellite have its state.

    satctl approve kiosk-1
    """
    request = pb.ApproveSatelliteRequest(name=satellite, reason=reason)
    answer = run(context, lambda client: client.call(client.fleet.ApproveSatellite, request))
    show_one(answer.satellite, facts, as_json=as_json)


def revoke(
    context: typer.Context, *, satellite: Satellite, reason: Reason = "", yes: Force = False, as_json: AsJson = False
) -> None:
    """Turn a satellite away, within 5 seconds, until it is reinstated.

    satctl revoke kiosk-1 --reason 'stolen from the shop'
    """
    confirm(f"revoke satellite {satellite}?", yes=yes)
    request = pb.RevokeSatelliteRequest(name=satellite, reason=reason)
    answer = run(context, lambda client: client.call(client.fleet.RevokeSatellite, request))
    show_one(answer.satellite, facts, as_json=as_json)


def reinstate(context: typer.Context, *, satellite: Satellite, reason: Reason = "", as_json: AsJson = False) -> None:
    """Let a revoked satellite join again; its old device keys stay useless.

    satctl reinstate kiosk-1 && satctl token create --satellite kiosk-1
    """
    request = pb.ReinstateSatelliteRequest(name=satellite, reason=reason)
    answer = run(context, lambda client: client.call(client.fleet.ReinstateSatellite, request))
    show_one(answer.satellite, facts, as_json=as_json)
    say(f"next, a new join string: satctl token create --satellite {satellite}")
