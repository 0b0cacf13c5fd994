"""The satellite's identity, by the SPIFFE Workload API in either case: SPIRE's socket, or one of our own after joining.

Joined, this process keeps its SVID fresh by the device key and serves it on a socket that it reads itself, like any
workload that may open it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import structlog

from certs.device_key import load_device_key
from certs.enrollment import Enrollment
from certs.renewal import Renewal
from certs.workload import WorkloadServer
from edge.app.status import IdentityStatus
from edge.home import Home
from edge.settings import Settings
from fleet.errors import FleetError, Kind
from fleet.svid import SvidSource, X509Material, read_leaf
from fleet.workloadsource import WorkloadSource

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Identity:
    """Where SVIDs come from, and where Ground Control is."""

    source: SvidSource
    ground_control: str
    """`host:port`."""
    ground_control_id: str
    socket: Path
    status: Callable[[], IdentityStatus]
    is_revoked: Callable[[], bool] = lambda: False
    """Whether we were refused a new identity because ours is revoked."""


@asynccontextmanager
async def identity(settings: Settings, home: Home, *, now: Callable[[], datetime]) -> AsyncIterator[Identity]:
    """Provide the identity for as long as the block runs; it may be there before the first SVID is.

    Raises:
        FleetError: PRECONDITION `NOT_JOINED`.
    """
    if settings.spiffe_endpoint_socket:
        socket = Path("/" + settings.spiffe_endpoint_socket.removeprefix("unix:").lstrip("/"))
        async with WorkloadSource(socket) as source:
            status = _status_of(source, "spire")
            yield Identity(source, settings.ground_control, settings.ground_control_id, socket, status)
        return
    place, device_key = home.read_place(), load_device_key(home.device_key)
    if place is None or device_key is None:
        text = "this satellite has not joined: run `satellite join STRING`, or name SPIRE's socket"
        raise FleetError(Kind.PRECONDITION, "NOT_JOINED", text, subject=str(home.directory))
    enrollment = Enrollment(place, device_key, now=now)
    server = WorkloadServer()

    async def obtain() -> X509Material:
        material = await enrollment.renew()
        try:
            home.write_place(enrollment.place)  # the roots may be newer
        except OSError as error:  # a full disk: the SVID is as good, and the next renewal writes it
            _log.warning("place.unwritten", detail=str(error))
        return material

    renewal = Renewal(obtain, server.publish, now=now)
    await server.start(home.workload_socket)
    task = asyncio.create_task(renewal.run(), name="renewal")
    try:
        async with WorkloadSource(home.workload_socket) as source:
            yield Identity(
                source,
                settings.ground_control or place.address,
                settings.ground_control_id or place.ground_control,
                home.workload_socket,
                _status_of(source, "built-in", renewal),
                lambda: renewal.state.last_error is not None and renewal.state.last_error.reason == "REVOKED",
            )
    finally:
        task.cancel()
        await asyncio.wait((task,))
        await server.stop()


def _status_of(source: SvidSource, provider: str, renewal: Renewal | None = None) -> Callable[[], IdentityStatus]:
    def status() -> IdentityStatus:
        material = source.svid()
        failed = renewal.state.last_error if renewal else None
        error = f"{failed.reason}: {failed.public}" if failed else ""
        if material is None:
            return IdentityStatus(provider=provider, error=error or "no SVID yet")
        return IdentityStatus(material.spiffe_id, read_leaf(material.chain[0]).not_after, provider, error)

    return status
