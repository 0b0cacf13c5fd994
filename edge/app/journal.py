"""What the control loops need to remember; `edge.adapters.journal` implements it. Every write is durable on return."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

from edge.domain.admission import Dossier, Warned
from edge.domain.desired import Good
from edge.domain.holding import Holding
from edge.domain.plan import Edition, LocalTag, RuleVersions, Site
from edge.domain.session import Staged
from fleet.position import Position
from fleet.reference import Digest


class EditionStore(Protocol):
    """Which editions were admitted, which may be in the registry, and what tags stand for."""

    def site(self) -> Site:
        """Say what is known of the site, setbacks apart."""

    def admit(
        self, edition: Edition, dossier: Dossier, rules: RuleVersions, *, at: datetime, warnings: Sequence[Warned] = ()
    ) -> None:
        """Record a verdict that admits, with all that it rests on; `at` counts where it was not admitted before."""

    def settle(
        self, admitted: Mapping[Edition, tuple[Warned, ...]], refused: Iterable[Edition], rules: RuleVersions
    ) -> None:
        """Record verdicts by stored evidence, all of them at once: the evidence stays as it is."""

    def refuse(self, edition: Edition) -> None:
        """Record that it is admitted no more; what may be in the registry is kept in mind until withdrawn."""

    def begin(self, edition: Edition) -> None:
        """Record that something of it may be in the registry from now on."""

    def publish(self, edition: Edition, tag: str) -> None:
        """Record that it is whole in the registry, and which tag stands for it now."""

    def miss(self, edition: Edition) -> None:
        """Record that something of it is missing in the registry; what was whole is mended."""

    def withdraw(self, edition: Edition) -> None:
        """Record that it is being removed from the registry: nothing of it counts from now on."""

    def forget(self, edition: Edition, tags: Sequence[str]) -> None:
        """Record that it is gone from the registry, and its tags with it."""

    def retag(self, tag: LocalTag, digest: Digest | None) -> None:
        """Record what a tag stands for now, None for nothing."""

    def dossier(self, edition: Edition) -> Dossier | None:
        """Read the dossier of an edition, without tags; None where there is none.

        One that is damaged is none: the edition is admitted and published no more, and to be judged afresh.
        """

    def size_bytes(self, edition: Edition) -> int:
        """Say how many bytes its blobs have, 0 where that is not known yet."""

    def walk(self) -> Iterable[tuple[Edition, Dossier]]:
        """Walk all that may be in the registry and has a dossier."""

    def neighbours(self, repository: str) -> Iterable[tuple[Edition, Dossier]]:
        """Walk what may be in one repository of the registry and has a dossier."""


class StateStore(Protocol):
    """Desired state as it was streamed."""

    def holding(self) -> Holding:
        """Read all scopes held."""

    def good(self) -> Good:
        """Read the last of each resource that could be used."""

    def hold(self, before: Holding, after: Holding, good: Good, position: Position) -> None:
        """Replace what is held, in one transaction; what was staged is used up."""

    def staged(self) -> Mapping[str, Staged]:
        """Read which deltas came in part."""

    def stage(self, staged: Staged, chunk: bytes, *, restart: bool) -> None:
        """Keep one more chunk of a delta."""

    def staged_bytes(self, scope: str) -> bytes:
        """Read what came of a scope's delta."""

    def drop_staged(self) -> None:
        """Forget all that was staged."""

    def position(self) -> Position | None:
        """Read the last position that Ground Control told."""

    def adopt(self, position: Position) -> None:
        """Remember a position at which what is held was found right."""

    def enforced(self) -> bytes:
        """Read the state digest that was last enforced in full; empty before the first."""

    def remember_enforced(self, digest: bytes) -> None:
        """Remember a state digest that is enforced in full."""

    def revocation_epoch(self) -> int:
        """Read the highest serial of a block that was ever in force; zero before the first."""

    def reach_revocation_epoch(self, serial: int) -> None:
        """Remember a serial that is in force, where it is higher than what is known."""
