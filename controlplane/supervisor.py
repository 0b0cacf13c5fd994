"""Ground Control's parent process: it starts the others, keeps them alive, and never imports grpc.

    supervisor ─┬─ authority   python -m certs.authority      (the built-in one, unless it runs elsewhere)
                ├─ workers      python -m controlplane.worker  (one with SQLite; one port by SO_REUSEPORT)
                └─ web          python -m controlplane.web     (metrics and health over HTTP, where they are asked for)

Children are executed, never forked from a process with threads. They die with this process, even by SIGKILL.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import ip_address

import structlog

from controlplane.children import Child
from controlplane.config import PREFIX, Settings
from controlplane.home import make_home, sole_supervisor
from controlplane.ports import Reserved, reserve
from fleet.errors import FleetError, Kind

_log = structlog.get_logger(__name__)

START_S = 60.0
MAX_STARTS = 3
"""Attempts before a child's first readiness; after it, a crash is always answered by a restart."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where this Ground Control listens, and where others reach it."""

    listen: str
    bootstrap_listen: str
    advertise: str
    bootstrap_advertise: str
    metrics: str


def workers_for(settings: Settings) -> int:
    """Say how many workers to start.

    Raises:
        FleetError: MALFORMED `SQLITE_ONE_WORKER`.
    """
    if settings.uses_sqlite:
        if (settings.workers or 1) > 1:
            text = "SQLite has one writer, so it serves one worker: use PostgreSQL (--database-url) for more"
            raise FleetError(Kind.MALFORMED, "SQLITE_ONE_WORKER", text, subject=f"--workers {settings.workers}")
        return 1
    return settings.workers or os.cpu_count() or 1


def check_metrics(settings: Settings) -> None:
    """See that metrics leave this host only where that was asked for.

    Raises:
        FleetError: MALFORMED `METRICS_EXPOSED`.
    """
    host = settings.metrics.rpartition(":")[0].strip("[]")
    if settings.metrics and not settings.metrics_plaintext and not _is_loopback(host):
        text = "metrics are readable by whoever reaches them: listen on loopback, or allow it by --metrics-plaintext"
        raise FleetError(Kind.MALFORMED, "METRICS_EXPOSED", text, subject=f"--metrics {settings.metrics}")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def supervise(settings: Settings, *, started: Callable[[Addresses], None]) -> int:
    """Run Ground Control until it is told to stop: the answer is the exit code.

    Args:
        settings: what to run.
        started: called once, when every listener answers.

    Raises:
        FleetError: PRECONDITION `ALREADY_RUNNING`, `ADDRESS_IN_USE`; MALFORMED `SQLITE_ONE_WORKER`,
            `METRICS_EXPOSED`; UNAVAILABLE `CHILD_FAILED` where a process cannot be started.
    """
    count = workers_for(settings)
    check_metrics(settings)
    make_home(settings)
    with sole_supervisor(settings), ExitStack() as ports:
        settings.ready_file.unlink(missing_ok=True)
        fleet_port = ports.enter_context(reserve(settings.listen))
        bootstrap_port = ports.enter_context(reserve(settings.bootstrap_listen))
        metrics_port = ports.enter_context(reserve(settings.metrics)) if settings.metrics else None
        addresses = _addresses(settings, fleet_port, bootstrap_port, metrics_port)
        migrated = asyncio.Event()
        children = _children(settings, addresses, count, migrated)
        try:
            return await _run(settings, addresses, children, migrated, started)
        finally:
            settings.ready_file.unlink(missing_ok=True)


def _addresses(
    settings: Settings, fleet_port: Reserved, bootstrap_port: Reserved, metrics_port: Reserved | None
) -> Addresses:
    return Addresses(
        listen=fleet_port.address,
        bootstrap_listen=bootstrap_port.address,
        advertise=settings.advertise or fleet_port.reachable,
        bootstrap_advertise=settings.bootstrap_advertise or bootstrap_port.reachable,
        metrics=metrics_port.address if metrics_port else "",
    )


def _stop_signals() -> asyncio.Event:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


def _environment(settings: Settings, addresses: Addresses) -> dict[str, str]:
    told = {
        "LISTEN": addresses.listen,
        "BOOTSTRAP_LISTEN": addresses.bootstrap_listen,
        "ADVERTISE": addresses.advertise,
        "BOOTSTRAP_ADVERTISE": addresses.bootstrap_advertise,
        "METRICS": addresses.metrics,
    }
    return {**os.environ, **settings.environment(), **{PREFIX + name: text for name, text in told.items()}}


def _children(settings: Settings, addresses: Addresses, count: int, migrated: asyncio.Event) -> list[Child]:
    environment = _environment(settings, addresses)
    names = [f"worker-{number}" for number in range(1, count + 1)]
    children = [
        Child(name, [sys.executable, "-m", "controlplane.worker", name], environment, reports=True, go=migrated)
        for name in names
    ]
    if addresses.metrics:
        command = [sys.executable, "-m", "controlplane.web", *names]
        children.append(Child("web", command, environment, reports=True, go=migrated))
    if settings.has_builtin_authority and settings.authority_dir is None:
        children.insert(0, Child("authority", _authority_command(settings), environment, reports=False))
    return children


def _authority_command(settings: Settings) -> list[str]:
    return [
        *(sys.executable, "-m", "certs.authority"),
        *("--directory", str(settings.authority_directory)),
        *("--master-key-file", str(settings.authority_key)),
        *("--trust-domain", settings.trust_domain),
        *("--deployment", settings.deployment),
        *(part for name in settings.dns_names for part in ("--dns-name", name)),
        *("--svid-life", str(settings.svid_ttl.total_seconds())),
        *("--intermediate-life", str(settings.intermediate_ttl.total_seconds())),
    ]


async def _migrate(settings: Settings) -> None:
    """Bring the database up to date once, in a process of its own, so that this one stays small.

    Meanwhile workers load their code; they touch the database when this is done.
    """
    command = [sys.executable, "-m", "controlplane.cli", "migrate"]
    process = await asyncio.create_subprocess_exec(*command, env={**os.environ, **settings.environment()})
    if await process.wait() != 0:
        raise FleetError(Kind.UNAVAILABLE, "MIGRATION_FAILED", "the database could not be brought up to date")


async def _run(
    settings: Settings,
    addresses: Addresses,
    children: list[Child],
    migrated: asyncio.Event,
    started: Callable[[Addresses], None],
) -> int:
    stop = _stop_signals()
    keepers = [asyncio.create_task(child.keep(most_starts=MAX_STARTS), name=child.name) for child in children]
    stopping = asyncio.create_task(stop.wait())
    ready = asyncio.create_task(_bring_up(settings, addresses, children, migrated, started))
    try:
        done, _ = await asyncio.wait({stopping, ready, *keepers}, return_when=asyncio.FIRST_COMPLETED)
        if ready in done:
            ready.result()
            done, _ = await asyncio.wait({stopping, *keepers}, return_when=asyncio.FIRST_COMPLETED)
        for keeper in keepers:
            if keeper in done:
                keeper.result()  # a child that cannot start
    finally:
        _log.info("ground_control.stopping")
        await _stop(children, settings.drain)
        for task in (stopping, ready, *keepers):
            task.cancel()
        await asyncio.gather(stopping, ready, *keepers, return_exceptions=True)
    _log.info("ground_control.stopped")
    return 0


async def _bring_up(
    settings: Settings,
    addresses: Addresses,
    children: list[Child],
    migrated: asyncio.Event,
    started: Callable[[Addresses], None],
) -> None:
    await _migrate(settings)
    migrated.set()
    try:
        async with asyncio.timeout(START_S):
            for child in children:
                await child.ready.wait()
    except TimeoutError as error:
        text = "not every process was ready in time: its log says why"
        raise FleetError(Kind.UNAVAILABLE, "START_LATE", text) from error
    facts = {
        "pid": os.getpid(),
        "listen": addresses.listen,
        "bootstrap_listen": addresses.bootstrap_listen if settings.has_builtin_authority else "",
        "advertise": addresses.advertise,
        "bootstrap_advertise": addresses.bootstrap_advertise if settings.has_builtin_authority else "",
        "metrics": addresses.metrics,
        "spiffe_id": str(settings.ground_control),
        "spiffe_endpoint_socket": settings.spiffe_endpoint_socket,
        "processes": {child.name: child.pid for child in children},
    }
    partial = settings.ready_file.with_suffix(".partial")
    partial.write_text(json.dumps(facts) + "\n")
    partial.replace(settings.ready_file)
    _log.info("ground_control.started", listen=addresses.listen, bootstrap_listen=addresses.bootstrap_listen)
    started(addresses)


async def _stop(children: list[Child], drain: timedelta) -> None:
    """Stop workers first, so that they can still answer for what is under way; then the authority."""
    for child in children:
        child.expect_end()
    patience = drain.total_seconds() + 5
    for group in ([c for c in children if c.reports], [c for c in children if not c.reports]):
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*(child.stop(patience) for child in group))
