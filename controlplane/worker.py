"""One worker process: both listeners over one store, on uvloop. Run by the supervisor.

python -m controlplane.worker NAME      settings from the environment
"""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import structlog
import uvloop

from certs.registrar import Registrar
from certs.signing import SigningClient
from controlplane.adapters.meter_socket import telling
from controlplane.app.tracing import Tracer
from controlplane.bootstrap import Opened, open_fleet
from controlplane.children import announcer
from controlplane.config import Settings, load_settings
from controlplane.home import challenge_secret, meter_socket
from controlplane.rpc.credentials import ServerIdentity
from controlplane.rpc.fleet_service import Invitation
from controlplane.rpc.server import BootstrapListener, FleetListener, Pace
from controlplane.tracing import tracing
from fleet.errors import FleetError
from fleet.log import configure_logging
from fleet.svid import SvidSource
from fleet.workloadsource import WorkloadSource

_log = structlog.get_logger(__name__)

FIRST_SVID = timedelta(seconds=45)
FREEZE_AFTER_S = 60.0
"""When the connect wave after a start is over and what lives then is taken to live for good."""


def _now() -> datetime:
    return datetime.now(UTC)


async def work(
    settings: Settings, name: str, tracer: Tracer, *, stop: asyncio.Event, ready: Callable[[], None]
) -> None:
    """Serve until `stop` is set, then drain.

    Raises:
        FleetError: UNAVAILABLE `SVID_ABSENT`; PRECONDITION `IDENTITY_DIFFERS`, `ADDRESS_IN_USE`,
            `CHALLENGE_KEY_ABSENT`; others as `open_fleet`.
    """
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(open_fleet(settings, tracer))
        source = await stack.enter_async_context(WorkloadSource(settings.workload_socket))
        await source.ready(within=FIRST_SVID)

        async def served() -> None:
            if settings.metrics:
                await stack.enter_async_context(telling(opened.fleet.meter, meter_socket(settings, name)))
            ready()

        await serve(settings, opened, source, stop=stop, ready=served)


async def serve(
    settings: Settings, opened: Opened, source: SvidSource, *, stop: asyncio.Event, ready: Callable[[], Awaitable[None]]
) -> None:
    """Serve a fleet with an identity until `stop` is set, then drain."""
    identity = ServerIdentity(source, expected=str(settings.ground_control), trust_domain=settings.trust_domain)
    fleet = _fleet_listener(settings, opened, identity)
    unsubscribe = source.subscribe(fleet.board.check_anchors)
    bootstrap = _bootstrap_listener(settings, opened, identity) if settings.has_builtin_authority else None
    try:
        async with asyncio.TaskGroup() as tasks:
            background = (
                tasks.create_task(opened.fleet.run(), name="fleet"),
                tasks.create_task(fleet.run(), name="streams"),
                tasks.create_task(_tune_collector(), name="collector"),
            )
            await fleet.start(settings.listen)
            if bootstrap is not None:
                await bootstrap.start(settings.bootstrap_listen)
            _log.info("worker.started", listen=settings.listen)
            await ready()
            await stop.wait()
            _log.info("worker.draining", streams=len(fleet.board))
            listeners = (fleet, bootstrap) if bootstrap is not None else (fleet,)
            await asyncio.gather(*(listener.stop(settings.drain) for listener in listeners))
            for task in background:
                task.cancel()
    finally:
        unsubscribe()
    _log.info("worker.stopped")


def _fleet_listener(settings: Settings, opened: Opened, identity: ServerIdentity) -> FleetListener:
    invitation = Invitation(
        bootstrap=settings.bootstrap_advertise or settings.bootstrap_listen,
        address=settings.advertise or settings.listen,
        ground_control=str(settings.ground_control),
        roots=lambda: identity.roots,
    )
    return FleetListener(
        opened.fleet,
        identity,
        deployment=settings.deployment,
        pace=Pace(settings.health_interval, settings.reconnect_window),
        invitation=invitation if settings.has_builtin_authority else None,
        now=_now,
    )


def _bootstrap_listener(settings: Settings, opened: Opened, identity: ServerIdentity) -> BootstrapListener:
    secret = challenge_secret(settings)
    registrar = Registrar(
        tokens=opened.enrollment,
        devices=opened.enrollment,
        signer=SigningClient(settings.authority_directory / "signing.sock"),
        challenge_secret=secret,
        svid_life=settings.svid_ttl,
    )
    return BootstrapListener(
        registrar,
        identity,
        challenge_secret=secret,
        now=_now,
        meter=opened.fleet.meter,
        tracer=opened.fleet.tracer,
    )


async def _tune_collector() -> None:
    """Keep cyclic collection away from the streams: with the defaults it triples the slowest percent of pushes."""
    gc.set_threshold(100_000, 50, 1_000)
    await asyncio.sleep(FREEZE_AFTER_S)
    gc.freeze()


async def _main(settings: Settings, name: str, tracer: Tracer, ready: Callable[[], None]) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await work(settings, name, tracer, stop=stop, ready=ready)


def main(name: str) -> int:
    """Run one worker, whose name tells its numbers apart from others': the answer is the exit code."""
    try:
        settings = load_settings()
        configure_logging(program="ground-control-worker", level=settings.log_level)
        if not sys.stdin.isatty():
            sys.stdin.read()  # the supervisor closes it when the database is up to date
        with tracing(name) as tracer:
            uvloop.run(_main(settings, name, tracer, announcer()))
    except FleetError as error:
        _log.error("worker.failed", reason=error.reason, text=error.public, detail=error.detail)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
