"""Our identity and roots as the SPIFFE Workload API has them now: py-spiffe behind the `SvidSource` port.

py-spiffe watches on threads of its own; what it brings is handed to the event loop, so that readers need no lock.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from spiffe import WorkloadApiClient
from spiffe.errors import ArgumentError
from spiffe.workloadapi.x509_context import X509Context

from fleet.errors import FleetError, Kind
from fleet.svid import X509Material

_log = structlog.get_logger(__name__)

FIRST_RETRY_S, LAST_RETRY_S = 0.25, 2.0
"""Pause before the socket is tried again after py-spiffe gave up: no socket yet, or no identity held."""


def _der(certificates: Iterable[x509.Certificate]) -> tuple[bytes, ...]:
    # Sorted where order means nothing, so that equal bundles are equal values.
    return tuple(certificate.public_bytes(serialization.Encoding.DER) for certificate in certificates)


def _read(context: X509Context) -> tuple[X509Material, dict[str, tuple[bytes, ...]]]:
    roots = {
        bundle.trust_domain.name: tuple(sorted(_der(bundle.x509_authorities)))
        for bundle in context.x509_bundle_set.bundles
    }
    svid = context.default_svid
    material = X509Material(
        spiffe_id=str(svid.spiffe_id),
        chain=_der(svid.cert_chain),
        key=svid.private_key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        bundle=roots.get(svid.spiffe_id.trust_domain.name, ()),
    )
    return material, roots


class WorkloadSource:
    """A `SvidSource` over a Workload API socket; survives restarts of whoever serves it.

    When the socket goes away, or holds no identity for now, the last one stays: a peer judges its expiry.
    """

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._material: X509Material | None = None
        self._roots: dict[str, tuple[bytes, ...]] = {}
        self._subscribers: dict[object, Callable[[], None]] = {}
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failures = 0

    def svid(self) -> X509Material | None:
        """Our newest identity; None until the first has arrived."""
        return self._material

    def roots(self, trust_domain: str) -> tuple[bytes, ...]:
        """The newest bundle of a trust domain."""
        return self._roots.get(trust_domain, ())

    def subscribe(self, notify: Callable[[], None]) -> Callable[[], None]:
        """Call `notify` after each update, on the event loop."""
        key = object()
        self._subscribers[key] = notify

        def end() -> None:
            self._subscribers.pop(key, None)

        return end

    async def ready(self, *, within: timedelta) -> X509Material:
        """Wait for the first identity.

        Raises:
            FleetError: UNAVAILABLE `SVID_ABSENT` when none has arrived in time.
        """
        try:
            async with asyncio.timeout(within.total_seconds()):
                await self._arrived.wait()
        except TimeoutError as error:
            text = "the Workload API gives this program no identity: is it running, and is this program registered?"
            raise FleetError(Kind.UNAVAILABLE, "SVID_ABSENT", text, subject=str(self._socket)) from error
        if self._material is None:
            raise FleetError(Kind.INTERNAL, "SVID_ABSENT", "an update brought no identity")
        return self._material

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._watch(), name="workload source")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    async def _watch(self) -> None:
        while True:
            with suppress(ArgumentError):  # the socket is not there yet
                await self._watch_once()
            await asyncio.sleep(min(FIRST_RETRY_S * 2**self._failures, LAST_RETRY_S))
            self._failures = min(self._failures + 1, 10)

    async def _watch_once(self) -> None:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        def on_loop(call: Callable[..., None], *arguments: object) -> None:
            with suppress(RuntimeError):  # the loop has ended before py-spiffe's thread
                loop.call_soon_threadsafe(call, *arguments)

        def fail(error: Exception) -> None:
            on_loop(self._tell, str(error))
            on_loop(ended.set)

        client = WorkloadApiClient(f"unix:{self._socket}")
        stream = client.stream_x509_contexts(lambda context: on_loop(self._take, *_read(context)), fail)
        try:
            await ended.wait()
        finally:
            stream.cancel()
            client.close()

    def _tell(self, detail: str) -> None:
        if self._failures == 0:  # once per absence: it may last for days
            _log.warning("workload_source.lost", detail=detail, socket=str(self._socket))

    def _take(self, material: X509Material, roots: dict[str, tuple[bytes, ...]]) -> None:
        self._material, self._roots = material, roots
        self._failures = 0
        self._arrived.set()
        for notify in tuple(self._subscribers.values()):
            notify()
