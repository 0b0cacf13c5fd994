"""The port to Ground Control: one link is one connection, which presents the SVID of the time it was opened at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, unique
from typing import Protocol

from edge.app.ports import Credential
from edge.domain.clock import Reading
from edge.domain.health import Health
from edge.domain.holding import Holding, Resource, ScopeDelta
from edge.domain.report import Report
from edge.domain.session import Received, Staged
from fleet.position import Position


@unique
class Lifecycle(Enum):
    """Where Ground Control says that we stand."""

    PENDING = "pending"
    ACTIVE = "active"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Attested:
    """Ground Control's word on us."""

    satellite: str
    lifecycle: Lifecycle
    health_interval: timedelta
    """Zero: no reports wanted."""
    reconnect_window: timedelta
    server_time: datetime | None


@dataclass(frozen=True, slots=True)
class Hello:
    """Who we are at this start of the process."""

    boot_id: bytes
    agent_version: str


@dataclass(frozen=True, slots=True)
class Opening:
    """What a stream opens with."""

    number: int
    holding: Holding
    position: Position | None
    staged: Mapping[str, Staged]
    clock: Reading


@dataclass(frozen=True, slots=True)
class SourceCredential:
    """A credential and when to ask again."""

    credential: Credential
    expires_at: datetime | None


class Stream(Protocol):
    """One StreamState call. Sending waits while the peer is slow."""

    async def subscribe(self, opening: Opening) -> None:
        """Open the session."""

    async def inventory(self, scope: str, resources: Iterable[Resource]) -> None:
        """Tell what is held of a scope, in as many messages as it takes."""

    async def resync(self, scope: str, digest: bytes) -> None:
        """Ask for a scope's exact difference."""

    async def report(self, sequence: int, report: Report) -> None:
        """Tell where the site stands."""

    async def health(self, health: Health) -> None:
        """Tell our health.

        Raises:
            FleetError: UNAVAILABLE `LINK_DROPPED`, or why the stream broke.
        """

    async def receive(self) -> Received | None:
        """Wait for the next message; None when the server closed the stream.

        Raises:
            FleetError: why the stream broke.
        """

    def read_delta(self, staged: Staged, content: bytes) -> ScopeDelta:
        """Read a whole delta.

        Raises:
            FleetError: CORRUPT `DELTA_CORRUPT`.
        """


class Link(Protocol):
    """One verified connection."""

    async def attest(self, clock: Reading) -> Attested:
        """Introduce ourselves.

        Raises:
            FleetError: as Ground Control says, or why it cannot be reached.
        """

    def stream(self) -> AbstractAsyncContextManager[Stream]:
        """Open StreamState."""

    async def source_credential(self, source: str) -> SourceCredential:
        """Ask for a credential to pull with."""


class GroundControl(Protocol):
    """Where links come from."""

    def connect(self) -> AbstractAsyncContextManager[Link]:
        """Open a connection of its own."""

    @property
    def svid_not_after(self) -> datetime | None:
        """When the SVID ends that a connection opened now would present; None while there is none."""

    @property
    def peer_not_after(self) -> datetime | None:
        """When the newest connection is cut because Ground Control's certificate ends; None before the first."""
