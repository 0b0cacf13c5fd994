"""`satctl login`, `logout`, `whoami`: becoming somebody, and saying who that is."""

from __future__ import annotations

import asyncio
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from controlplane.satctl.options import AsJson, Force, now, options_of
from controlplane.satctl.render import print_json, say, show_card
from controlplane.satctl.running import run
from fleet.errors import FleetError, Kind, malformed
from fleet.joinstring import JoinKind, JoinString, parse_join_string
from fleet.svid import X509Material, read_leaf
from fleet.v1 import fleet_pb2 as pb

if TYPE_CHECKING:
    from controlplane.satctl.client import FleetClient

ROLES: tuple[tuple[int, str], ...] = ((pb.ROLE_ADMIN, "admin"), (pb.ROLE_EDITOR, "editor"), (pb.ROLE_VIEWER, "viewer"))


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(login)
    app.command()(logout)
    app.command()(whoami)


def login(
    context: typer.Context,
    *,
    join_string: Annotated[
        str, typer.Argument(help="The line that an admin gave you; `-` or nothing reads it from standard input.")
    ] = "-",
    as_json: AsJson = False,
) -> None:
    """Log in with an operator's join string.

    Makes a device key on this machine and registers it; every later call gets a fresh certificate by it. The first
    join string comes from `ground-control init`, others from `satctl token create --operator NAME`.

        satctl login hsat1.eNpj…
    """
    from certs.enrollment import Enrollment  # noqa: PLC0415 - as in `running`
    from controlplane.satctl.profile import ProfileStore  # noqa: PLC0415 - as above

    options = options_of(context)
    place = _operators_string(_given(join_string))
    store = ProfileStore(options.home, options.profile)
    _check_free(store.find(), place)
    enrollment = Enrollment(place, store.make_device_key(), now=now)
    material = asyncio.run(enrollment.join())
    store.save(enrollment.place)
    facts = _facts(enrollment.place.ground_control, enrollment.place.address, material)
    if as_json:
        print_json({"profile": options.profile, **facts})
    else:
        say(f"logged in as {material.spiffe_id} (profile {options.profile})", style="green")
        say("next: satctl status, or satctl --install-completion")


def logout(context: typer.Context, *, yes: Force = False) -> None:
    """Forget the login on this machine: its device key is removed and cannot be had again.

    Ground Control keeps the operator; `satctl operator delete NAME` takes the role and the device keys there.
    """
    from controlplane.satctl.profile import ProfileStore  # noqa: PLC0415 - as in `running`

    options = options_of(context)
    store = ProfileStore(options.home, options.profile)
    if not yes:
        typer.confirm(f"remove the device key of profile {options.profile}?", abort=True, err=True)
    say("logged out" if store.forget() else "there was no login")


def whoami(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Say who you are to Ground Control, with which role, and that it answers."""

    async def ask(client: FleetClient) -> dict[str, Any]:
        identity = client.identity
        facts = _facts(identity.ground_control, identity.address, identity.material)
        return {**facts, "role": await _role(client, identity.material.spiffe_id)}

    facts = run(context, ask)
    if as_json:
        print_json(facts)
    else:
        names = {name: name.replace("_", " ") for name in facts}
        show_card((names[name], str(value)) for name, value in facts.items())


async def _role(client: FleetClient, spiffe_id: str) -> str:
    """Find out one's role without the right to list operators: by what is refused."""
    await client.call(client.fleet.GetFleetStatus, pb.GetFleetStatusRequest())  # without any role, this says so
    roles = dict(ROLES)
    try:
        listed = await client.pages(client.fleet.ListOperators, pb.ListOperatorsRequest(), lambda a: a.operators)
    except FleetError as error:
        if error.kind is not Kind.REFUSED:
            raise
    else:
        return next((roles.get(found.role, "") for found in listed if found.spiffe_id == spiffe_id), "admin")
    try:
        await client.call(client.fleet.ApplyChanges, pb.ApplyChangesRequest(dry_run=True, reason="whoami"))
    except FleetError as error:
        return "viewer" if error.kind is Kind.REFUSED else "editor"
    return "editor"


def _given(text: str) -> str:
    if text != "-":
        return text
    if sys.stdin.isatty():
        return str(typer.prompt("join string", hide_input=True, err=True))
    return sys.stdin.read()


def _operators_string(text: str) -> JoinString:
    place = parse_join_string(text)
    if place.kind is not JoinKind.OPERATOR:
        say_text = "this join string is a satellite's: run `satellite join` with it at the site"
        raise malformed("JOIN_STRING_KIND", say_text, subject=place.spiffe_id)
    return place


def _check_free(held: JoinString | None, place: JoinString) -> None:
    wanted = (place.ground_control, place.spiffe_id)
    if held is not None and (held.ground_control, held.spiffe_id) != wanted:
        text = "this profile is logged in as somebody else: `satctl logout` first, or choose another with --profile"
        raise FleetError(Kind.EXISTS, "PROFILE_TAKEN", text, subject=held.spiffe_id)


def _facts(ground_control: str, address: str, material: X509Material) -> dict[str, Any]:
    expires: datetime = read_leaf(material.chain[0]).not_after
    return {
        "spiffe_id": material.spiffe_id,
        "ground_control": ground_control,
        "address": address,
        "svid_expires_at": expires.isoformat(),
    }
