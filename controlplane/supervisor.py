"""Ground Control's parent process: it starts the others, keeps them alive, and never imports grpc.

    supervisor ─┬─ authority   python -m certs.authority      (the built-in one, unless it runs elsewhere)
                ├─ workers      python -m controlplane.worker  (one with SQLite; one port by SO_REUSEPORT)
                └─ web          python -m controlplane.web     (metrics and health over HTTP, where they are asked for)

Children are executed, never forked from a process with threads. They die with this process, even by SIGKILL.
SIGHUP has the workers replaced, one after the other, each by one that serves before the old one drains.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from ipaddress import ip_address

from controlplane.children import Child
from controlplane.config import PREFIX, Settings
from controlplane.crew import Crew
from controlplane.home import make_home, sole_supervisor
from controlplane.ports import Reserved, reserve
from controlplane.supervision import Addresses, Supervision
from fleet.errors import FleetError, Kind

SPARE_S = 5.0
"""How much longer than its drain a process may take to end before it is killed."""


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
        migrated, names = asyncio.Event(), [f"worker-{number}" for number in range(1, count + 1)]
        patience_s = settings.drain.total_seconds() + SPARE_S
        crew = Crew(_children(settings, addresses, names, migrated), patience_s=patience_s)

        async def prepare() -> None:
            await _migrate(settings)
            migrated.set()

        try:
            return await Supervision(settings, addresses, crew, names, prepare=prepare, started=started).run()
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


_ALLOCATOR = {
    # What TLS reserves for a connection and hardly writes to (two times 17 KiB) is mapped by itself: taken from the
    # heap, where others' remains lie, every page of it is resident. 4 KiB a stream.
    "MALLOC_MMAP_THRESHOLD_": "16384",
    # A process may have 65,530 mappings (vm.max_map_count), and needs some for other things than 20,000 streams.
    "MALLOC_MMAP_MAX_": "40000",
}
"""Settings of glibc's allocator, unless the environment has some."""


def _environment(settings: Settings, addresses: Addresses) -> dict[str, str]:
    told = {
        "LISTEN": addresses.listen,
        "BOOTSTRAP_LISTEN": addresses.bootstrap_listen,
        "ADVERTISE": addresses.advertise,
        "BOOTSTRAP_ADVERTISE": addresses.bootstrap_advertise,
        "METRICS": addresses.metrics,
    }
    return {
        **_ALLOCATOR,
        **os.environ,
        **settings.environment(),
        **{PREFIX + name: text for name, text in told.items()},
    }


def _children(settings: Settings, addresses: Addresses, names: Sequence[str], migrated: asyncio.Event) -> list[Child]:
    environment = _environment(settings, addresses)
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
    """Bring the database up to date, in a process of its own: this one stays small, and of the version that it was.

    At a start workers load their code meanwhile; they touch the database when this is done.
    """
    command = [sys.executable, "-m", "controlplane.cli", "migrate"]
    process = await asyncio.create_subprocess_exec(*command, env={**os.environ, **settings.environment()})
    if await process.wait() != 0:
        raise FleetError(
            Kind.UNAVAILABLE,
            "MIGRATION_FAILED",
            "the database could not be brought up to date: what is said before this line is why",
        )
