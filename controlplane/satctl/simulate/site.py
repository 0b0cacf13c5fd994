"""What a simulated satellite is and says: what it holds, by real digests, and how the site behind it would be."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from controlplane.satctl.simulate.connection import Dialer
from controlplane.satctl.simulate.holding import Library, Scope, digest_of
from controlplane.satctl.simulate.plan import Plan
from controlplane.satctl.simulate.tally import Tally
from fleet.protocol import PROTOCOL_VERSION
from fleet.v1 import health_pb2, resource_pb2, state_pb2

AGENT = "simulate"

_TROUBLES = {
    "failing": (state_pb2.ARTIFACT_STATE_FAILED, "failed", "SOURCE_UNREACHABLE"),
    "refusing": (state_pb2.ARTIFACT_STATE_REFUSED, "refused", "UNSIGNED"),
    "waiting": (state_pb2.ARTIFACT_STATE_WAITING, "waiting", "TRANSFERRING"),
}


@dataclass(slots=True)
class World:
    """What the satellites of one process share."""

    dialer: Dialer
    plan: Plan
    identity: Callable[[str], Awaitable[tuple[bytes, float]]]
    """A satellite's identity, PEM, and for how many seconds to use it."""
    tally: Tally = field(default_factory=Tally)
    library: Library = field(default_factory=Library)
    link: asyncio.Event = field(default_factory=asyncio.Event)
    """Set: there is a link."""
    linked_at: float = 0.0
    """When the link came back, by the loop's clock."""


class Site:
    """One of many, as Ground Control sees it."""

    __slots__ = (
        "boot_id", "converged", "held", "is_slow", "name", "number", "position", "trouble", "was_cut", "window_s",
        "world",
    )  # fmt: skip

    def __init__(self, name: str, world: World, *, trouble: str = "", is_slow: bool = False) -> None:
        self.name = name
        self.world = world
        self.trouble = trouble
        self.is_slow = is_slow
        self.boot_id = os.urandom(16)
        self.number = 0
        self.held: dict[str, Scope] = {}
        self.position: state_pb2.Position | None = None
        self.window_s = 5.0
        self.converged = False
        self.was_cut = False

    def subscribe(self) -> state_pb2.Subscribe:
        """Say what is held."""
        held = [
            state_pb2.HeldScope(scope=name, digest=scope.content.digest, precedence=scope.precedence)
            for name, scope in self.held.items()
        ]
        self.number += 1
        return state_pb2.Subscribe(
            protocol_version=PROTOCOL_VERSION,
            boot_id=self.boot_id,
            session_number=self.number,
            held=held,
            position=self.position,
            agent_version=AGENT,
        )

    def report(self, sequence: int) -> state_pb2.StateReport:
        """Say how the site is: everything is there, but for what its fault says."""
        digest, artifacts = digest_of(self.held), self._artifacts()
        report = state_pb2.StateReport(
            sequence=sequence,
            position=self.position,
            held_digest=digest,
            desired=len(artifacts),
            published=len(artifacts),
            registry_kind="zot",
            registry_exclusive=True,
        )
        trouble = _TROUBLES.get(self.trouble) if artifacts else None
        if trouble is None or self.trouble == "refusing":
            report.enforced_digest = digest
        if trouble is not None:
            state, counter, reason = trouble
            setattr(report, counter, 1)
            report.published -= 1
            exception = report.exceptions.add(
                kind=resource_pb2.RESOURCE_KIND_ARTIFACT,
                name=artifacts[0],
                state=state,
                reason=reason,
                text="simulated",
            )
            exception.since.FromDatetime(datetime.now(UTC))
        return report

    def _artifacts(self) -> list[str]:
        names: set[str] = set()
        for scope in self.held.values():
            names |= scope.content.artifacts
        return sorted(names)

    def health(self) -> health_pb2.Health:
        """Say how the machine is."""
        health = health_pb2.Health(
            cpu_fraction=0.1,
            memory_used_bytes=1 << 30,
            memory_total_bytes=4 << 30,
            satellite_rss_bytes=64 << 20,
            disk_free_bytes=32 << 30,
            disk_total_bytes=64 << 30,
            registry_healthy=True,
        )
        health.measured_at.FromDatetime(datetime.now(UTC))
        return health

    def settle(self, *, converged: bool) -> None:
        """Take note of whether it holds what it was last told, and has said so."""
        if self.converged != converged:
            self.converged = converged
            self.world.tally.gauges["converged"] += 1 if converged else -1
