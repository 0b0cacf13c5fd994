"""Who plays: the central registry, Ground Control, the operator and two sites, all real processes."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc.aio

from fleet.bridge import Bridge
from fleet.identity import GroundControlId
from fleet.v1 import fleet_pb2
from fleet.v1.fleet_pb2_grpc import FleetServiceStub
from fleet.workloadsource import WorkloadSource
from spire.local_fleet import spire_fleet
from tests.demo.options import Options
from tests.demo.screen import Screen
from tests.rig import fixtures, oci_layout
from tests.rig.distribution import distribution
from tests.rig.ground_control import GroundControl, Member, mint
from tests.rig.programs import find
from tests.rig.satellite import Satellite

TRUST_DOMAIN = "demo.fleet"
DEPLOYMENT = "main"
OPERATOR = "alice"
REGION = "north"
GROUP = "shops"
SITES = ("berlin-7", "ship-aurora")
GROUND_CONTROL = GroundControlId(TRUST_DOMAIN, DEPLOYMENT)
READY = timedelta(seconds=30)
PROGRAMS = Path(sys.executable).parent


@dataclass(frozen=True, slots=True)
class Site:
    """One edge site."""

    name: str
    process: Satellite

    @property
    def url(self) -> str:
        """Where workloads at the site pull."""
        return self.process.url


@dataclass(frozen=True, slots=True)
class Operator:
    """The operator: joined with a device key, or with an identity from SPIRE."""

    ground_control: GroundControl
    member: Member | None = None
    source: WorkloadSource | None = None

    @asynccontextmanager
    async def fleet(self) -> AsyncIterator[FleetServiceStub]:
        """Open the operators' API."""
        if self.member is not None:
            async with self.member.fleet() as stub:
                yield stub
            return
        assert self.source is not None
        async with (
            Bridge(self.ground_control.address, expected=GROUND_CONTROL, source=self.source, now=_now) as bridge,
            bridge.channel() as channel,
        ):
            yield FleetServiceStub(channel)


@dataclass(frozen=True, slots=True)
class Cast:
    """Everybody."""

    central: str
    ground_control: GroundControl
    operator: Operator
    sites: tuple[Site, ...]
    registry: str
    identity: str
    try_out: tuple[str, ...]

    def fleet(self) -> AbstractAsyncContextManager[FleetServiceStub]:
        """Open the operators' API."""
        return self.operator.fleet()

    def lines(self) -> tuple[str, ...]:
        """Say what to try."""
        return self.try_out


def _now() -> datetime:
    return datetime.now(UTC)


def chosen_registry(options: Options) -> tuple[str, str]:
    """Say which registry the sites run and why.

    Raises:
        ProgramMissingError: the one that was asked for is not there.
    """
    if options.registry:
        return options.registry, "as REGISTRY says"
    return ("zot", "found") if find("zot") else ("distribution", "no Zot was found")


@dataclass(frozen=True, slots=True)
class Stage:
    """Where they play, and what they are given."""

    stack: AsyncExitStack
    screen: Screen
    directory: Path
    central: str
    registry: str
    why: str
    stays: bool

    def site(self, name: str, **options: str) -> Satellite:
        """Furnish a site that is not started yet."""
        hosts = [_host(self.central)]
        return Satellite(self.directory / name, registry=self.registry, plain_hosts=hosts, options=options)

    async def open(self, sites: list[Satellite]) -> tuple[Site, ...]:
        """Start sites side by side; the stack stops them."""
        for site in sites:
            self.stack.callback(site.stop)
        await asyncio.gather(*(asyncio.to_thread(site.start) for site in sites))
        return tuple(Site(name, site) for name, site in zip(SITES, sites, strict=True))


async def gather(stack: AsyncExitStack, options: Options, screen: Screen, directory: Path) -> Cast:
    """Start everybody; the stack ends them."""
    screen.scene("A central registry, a Ground Control and two sites start on this machine")
    central = stack.enter_context(distribution(directory / "central"))
    await asyncio.to_thread(oci_layout.seed, central, *(fixtures.IMAGES / recipe.name for recipe in fixtures.RECIPES))
    screen.say(f"central registry at {central}: {len(fixtures.RECIPES)} images, some signed by cosign")
    registry, why = chosen_registry(options)
    stage = Stage(stack, screen, directory, central, registry, why, options.stays)
    return await (_with_spire(stage) if options.spire else _built_in(stage))


async def _built_in(stage: Stage) -> Cast:
    ground_control = GroundControl(stage.directory, {"trust_domain": TRUST_DOMAIN})
    await asyncio.to_thread(stage.stack.enter_context, ground_control)
    member = await ground_control.join_operator(OPERATOR)
    operator = Operator(ground_control, member)
    stage.screen.say(f"Ground Control at {ground_control.address}, SQLite, its own authority for {TRUST_DOMAIN}")
    await _make_group(operator)
    strings = [await mint(member, name, region=REGION, groups=(GROUP,)) for name in SITES]
    satellites = [stage.site(name) for name in SITES]
    await asyncio.gather(*(asyncio.to_thread(s.join, text) for s, text in zip(satellites, strings, strict=True)))
    sites = await stage.open(satellites)
    for site in sites:
        stage.screen.say(f"{site.name} joined with a device key of its own; its {_serves(stage, site)}")
    home = stage.directory / OPERATOR
    if stage.stays:
        await _log_in(ground_control, home)
    lines = _lines(home, ground_control, sites)
    return Cast(stage.central, ground_control, operator, sites, stage.registry, "built-in", lines)


async def _with_spire(stage: Stage) -> Cast:
    spire = await stage.stack.enter_async_context(spire_fleet(stage.directory / "spire", trust_domain=TRUST_DOMAIN))
    stage.screen.say(f"spire-server for {TRUST_DOMAIN}, and an agent for each machine")
    socket, operator_socket, *sockets = await asyncio.gather(
        spire.ground_control(DEPLOYMENT), spire.operator(OPERATOR), *(spire.satellite(REGION, name) for name in SITES)
    )
    settings = {"trust_domain": TRUST_DOMAIN, "spiffe_endpoint_socket": f"unix://{socket}"}
    ground_control = GroundControl(stage.directory, settings)
    await asyncio.to_thread(ground_control.run, "init", OPERATOR)
    await asyncio.to_thread(stage.stack.enter_context, ground_control)
    source = await stage.stack.enter_async_context(WorkloadSource(operator_socket))
    await source.ready(within=READY)
    operator = Operator(ground_control, source=source)
    stage.screen.say(f"Ground Control at {ground_control.address}, SQLite, identities from SPIRE")
    await _make_group(operator)
    place = {"ground_control": ground_control.address, "ground_control_id": str(GROUND_CONTROL)}
    satellites = [
        stage.site(name, spiffe_endpoint_socket=f"unix://{socket}", **place)
        for name, socket in zip(SITES, sockets, strict=True)
    ]
    sites = await stage.open(satellites)
    await _approve(operator)
    stage.screen.say("both sites were pending until now: a valid identity alone gets nothing")
    for site in sites:
        stage.screen.say(f"{site.name} was attested by its agent and approved; its {_serves(stage, site)}")
    flags = (
        f"--spiffe-endpoint-socket unix://{operator_socket} --ground-control {ground_control.address} "
        f"--ground-control-id {GROUND_CONTROL}"
    )
    satctl = f"{PROGRAMS / 'satctl'} {flags}"
    lines = (f"{satctl} status", f"{satctl} watch", *_pull_lines(sites))
    return Cast(stage.central, ground_control, operator, sites, stage.registry, "spire", lines)


def _serves(stage: Stage, site: Site) -> str:
    return f"{stage.registry} ({stage.why}) serves at {site.url}"


async def _make_group(operator: Operator) -> None:
    async with operator.fleet() as fleet:
        await fleet.CreateGroup(fleet_pb2.CreateGroupRequest(group=fleet_pb2.Group(name=GROUP)))


async def _approve(operator: Operator) -> None:
    """Approve the sites that introduced themselves."""
    async with operator.fleet() as fleet, asyncio.timeout(READY.total_seconds()):
        for name in SITES:
            await _introduced(fleet, name)
            await fleet.ApproveSatellite(fleet_pb2.ApproveSatelliteRequest(name=name, reason="demo"))
            membership = fleet_pb2.Membership(satellite=name, group=GROUP)
            await fleet.AddGroupMember(fleet_pb2.AddGroupMemberRequest(membership=membership))


async def _introduced(fleet: FleetServiceStub, name: str) -> None:
    while True:
        try:
            await fleet.GetSatellite(fleet_pb2.GetSatelliteRequest(name=name))
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
            await asyncio.sleep(0.1)
        else:
            return


def _host(url: str) -> str:
    return url.removeprefix("http://")


async def _log_in(ground_control: GroundControl, home: Path) -> None:
    """Log the operator in for the lines to try, with a device key of their own."""
    minted = await asyncio.to_thread(ground_control.run, "operator-token", OPERATOR, "--json")
    login = await asyncio.create_subprocess_exec(
        str(PROGRAMS / "satctl"),
        "login",
        json.loads(minted.stdout)["join_string"],
        env={**os.environ, "SATCTL_HOME": str(home)},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    await login.wait()


def _lines(home: Path, ground_control: GroundControl, sites: tuple[Site, ...]) -> tuple[str, ...]:
    port = ground_control.address.rpartition(":")[2]
    grpcurl = (
        f"{shlex.quote(str(find('grpcurl') or 'grpcurl'))} -cacert $SATCTL_HOME/svid/bundle.pem "
        "-cert $SATCTL_HOME/svid/svid.pem -key $SATCTL_HOME/svid/key.pem -servername localhost"
    )
    return (
        f"export SATCTL_HOME={home} PATH={PROGRAMS}:$PATH",
        "satctl status",
        f"satctl status {sites[0].name}",
        "satctl watch",
        f"satctl unassign central/demo/signed-v3:{fixtures.TAG} --from group/{GROUP}",
        "satctl svid export $SATCTL_HOME/svid",
        f"{grpcurl} 127.0.0.1:{port} list",
        f"{grpcurl} 127.0.0.1:{port} fleet.v1.FleetService/ListSatellites",
        *_pull_lines(sites),
    )


def _pull_lines(sites: tuple[Site, ...]) -> tuple[str, ...]:
    return (
        f"{find('crane') or 'crane'} manifest {_host(sites[0].url)}/demo/signed-v3:{fixtures.TAG}",
        f"{find('crane') or 'crane'} manifest {_host(sites[0].url)}/demo/unsigned:{fixtures.TAG}   # refused",
    )
