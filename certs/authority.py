"""The authority's own process: the only one that ever holds the root key.

    python -m certs.authority --directory D --trust-domain example.org --deployment main

It serves two unix sockets, 0600 in D (0700): `signing.sock` for Ground Control's workers, `workload.sock` (the SPIFFE
Workload API) for Ground Control's own identity. Exactly one authority may run on a directory.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from certs.authority_store import load_or_make_root, sole_authority
from certs.ca import MAX_SVID_LIFE, CertificateAuthority
from certs.renewal import Renewal
from certs.request import new_key_request
from certs.signing import SigningServer
from certs.workload import WorkloadServer
from fleet.errors import FleetError
from fleet.identity import GroundControlId, check_name
from fleet.log import configure_logging
from fleet.svid import X509Material

_log = structlog.get_logger(__name__)

SIGNING_SOCKET = "signing.sock"
WORKLOAD_SOCKET = "workload.sock"


@dataclass(frozen=True, slots=True)
class Settings:
    """How one authority runs."""

    directory: Path
    ground_control: GroundControlId
    dns_names: tuple[str, ...] = ()
    """DNS names in Ground Control's own SVID, for clients such as grpcurl that cannot check a SPIFFE ID."""
    master_key_file: Path | None = None
    svid_life: timedelta = MAX_SVID_LIFE
    intermediate_life: timedelta = timedelta(hours=24)
    ends_with_stdin: bool = False
    """End when standard input closes: a supervisor killed with -9 leaves no authority that holds the lock."""


def _now() -> datetime:
    return datetime.now(UTC)


async def serve(settings: Settings, *, stop: asyncio.Event) -> None:
    """Run the authority until `stop` is set.

    Raises:
        FleetError: as `sole_authority` and `load_or_make_root`.
    """
    directory = settings.directory
    with sole_authority(directory):
        root = load_or_make_root(
            directory,
            settings.ground_control.trust_domain,
            at=_now(),
            master_key_file=settings.master_key_file,
        )
        authority = CertificateAuthority(root, intermediate_life=settings.intermediate_life)
        signing, workload = SigningServer(authority, now=_now), WorkloadServer()
        await workload.start(directory / WORKLOAD_SOCKET)
        try:
            await signing.start(directory / SIGNING_SOCKET)
            try:
                await _run(settings, authority, workload, stop)
            finally:
                await signing.stop()
        finally:
            await workload.stop()


async def _run(
    settings: Settings, authority: CertificateAuthority, workload: WorkloadServer, stop: asyncio.Event
) -> None:
    async def obtain() -> X509Material:
        return _own_material(settings, authority)

    renewal = Renewal(obtain, workload.publish, now=_now)
    await renewal.adopt(await obtain())
    _log.info("authority.started", trust_domain=authority.trust_domain, directory=str(settings.directory))
    async with asyncio.TaskGroup() as tasks:
        renewing = tasks.create_task(renewal.run())
        await stop.wait()
        renewing.cancel()
    _log.info("authority.stopped", trust_domain=authority.trust_domain)


def _own_material(settings: Settings, authority: CertificateAuthority) -> X509Material:
    request, spiffe_id = new_key_request(), str(settings.ground_control)
    chain = authority.issue(request.csr, spiffe_id, settings.svid_life, at=_now(), dns_names=settings.dns_names)
    return X509Material(spiffe_id=spiffe_id, chain=chain, key=request.key, bundle=authority.bundle)


def _seconds(text: str) -> timedelta:
    return timedelta(seconds=float(text))


def _parse(arguments: Sequence[str] | None) -> Settings:
    parser = argparse.ArgumentParser(prog="certs.authority", description="The built-in SPIFFE authority.")
    parser.add_argument("--directory", type=Path, required=True, help="holds the root and the sockets; 0700")
    parser.add_argument("--trust-domain", required=True)
    parser.add_argument("--deployment", default="main", help="last part of Ground Control's SPIFFE ID")
    parser.add_argument("--dns-name", action="append", default=[], help="DNS name in Ground Control's SVID")
    parser.add_argument("--master-key-file", type=Path, help="decrypts the root key; default: in the directory")
    parser.add_argument("--svid-life", type=_seconds, default=MAX_SVID_LIFE, metavar="SECONDS")
    parser.add_argument("--intermediate-life", type=_seconds, default=timedelta(hours=24), metavar="SECONDS")
    parser.add_argument(
        "--end-with-stdin",
        action="store_true",
        help="end when standard input closes: with a pipe there, it never outlives its supervisor",
    )
    parsed = parser.parse_args(arguments)
    return Settings(
        directory=parsed.directory,
        ground_control=GroundControlId(parsed.trust_domain, check_name(parsed.deployment, what="deployment")),
        dns_names=tuple(parsed.dns_name),
        master_key_file=parsed.master_key_file,
        svid_life=parsed.svid_life,
        intermediate_life=parsed.intermediate_life,
        ends_with_stdin=parsed.end_with_stdin,
    )


async def _main(settings: Settings) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if settings.ends_with_stdin:
        loop.add_reader(sys.stdin.fileno(), _end_at_eof, stop)
    await serve(settings, stop=stop)


def _end_at_eof(stop: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 1024):
        stop.set()
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the authority from a command line; the answer is the exit code."""
    configure_logging(program="authority", level=os.environ.get("GROUND_CONTROL_LOG_LEVEL", "info"))
    try:
        asyncio.run(_main(_parse(arguments)))
    except FleetError as error:
        sys.stderr.write(f"authority: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
