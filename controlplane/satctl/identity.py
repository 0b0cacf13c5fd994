"""Who we are for one command: a fresh identity by the device key, or the one that SPIRE gives."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from certs.enrollment import Enrollment
from controlplane.satctl.options import Options, now
from controlplane.satctl.profile import ProfileStore
from fleet.errors import FleetError, malformed
from fleet.identity import GroundControlId, parse_id
from fleet.svid import SvidSource, X509Material

WORKLOAD_API_S = 10.0


@dataclass(frozen=True, slots=True)
class Identity:
    """An identity and whom to speak to with it."""

    material: X509Material
    source: SvidSource
    address: str
    ground_control: str


class RenewedIdentity:
    """A `SvidSource` for one command or one watch: renewed by its owner, never stored."""

    def __init__(self, material: X509Material, trust_domain: str) -> None:
        self._material = material
        self._trust_domain = trust_domain

    def svid(self) -> X509Material | None:
        """Our identity."""
        return self._material

    def roots(self, trust_domain: str) -> tuple[bytes, ...]:
        """The bundle that came with it, for its own trust domain alone."""
        return self._material.bundle if trust_domain == self._trust_domain else ()

    def subscribe(self, notify: Callable[[], None]) -> Callable[[], None]:  # noqa: ARG002 - it never changes
        """Nothing ever changes, so nothing is ever called."""
        return lambda: None


@asynccontextmanager
async def identify(options: Options) -> AsyncIterator[Identity]:
    """Get an identity; it is good for an hour at most.

    Raises:
        FleetError: UNIDENTIFIED `NOT_LOGGED_IN`; REFUSED `REVOKED`, `DEVICE_UNKNOWN`; UNAVAILABLE `GC_UNREACHABLE`,
            `SVID_ABSENT`; MALFORMED where options do not fit together.
    """
    if not options.uses_spiffe:
        yield await _renewed(options)
        return
    from fleet.workloadsource import WorkloadSource  # noqa: PLC0415 - half a second that a login need not wait

    ground_control = _named(options)
    async with WorkloadSource(_socket(options)) as source:
        material = await source.ready(within=timedelta(seconds=min(WORKLOAD_API_S, options.timeout_s)))
        yield Identity(material, source, options.ground_control, ground_control)


async def _renewed(options: Options) -> Identity:
    store = ProfileStore(options.home, options.profile)
    place = store.load()
    enrollment = Enrollment(place, store.device_key(), now=now)
    try:
        material = await enrollment.renew()
    except FleetError as error:
        if error.reason == "DEVICE_UNKNOWN":
            text = (
                "this login is no longer good (deleted, or replaced by a later one): ask an admin for a new join string"
            )
            raise FleetError(error.kind, error.reason, text, subject=place.spiffe_id) from error
        raise
    if enrollment.place.roots != place.roots:
        store.save(enrollment.place)  # roots rotate: a profile that is used now and then must not fall behind
    source = RenewedIdentity(material, place.trust_domain)
    return Identity(material, source, place.address, place.ground_control)


def _named(options: Options) -> str:
    if not (options.ground_control and options.ground_control_id):
        raise malformed("SPIFFE_OPTIONS", "--ground-control and --ground-control-id go together: give both")
    if not isinstance(parse_id(options.ground_control_id), GroundControlId):
        text = "--ground-control-id is spiffe://TRUST_DOMAIN/gc/DEPLOYMENT"
        raise malformed("SPIFFE_OPTIONS", text, subject=options.ground_control_id[:120])
    return options.ground_control_id


def _socket(options: Options) -> Path:
    given = options.spiffe_socket or os.environ.get("SPIFFE_ENDPOINT_SOCKET", "")
    path = given.removeprefix("unix:")
    if not path.startswith("/"):
        text = "--spiffe-endpoint-socket (or SPIFFE_ENDPOINT_SOCKET) names SPIRE's socket: unix:///path"
        raise malformed("SPIFFE_OPTIONS", text, subject=given[:120])
    return Path("/" + path.lstrip("/"))
