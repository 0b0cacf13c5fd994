"""The executor over a journal of its own, and a registry and a source in memory: what it does at a moment of choice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edge.adapters.journal.journal import Journal
from edge.app.execute import Executor
from edge.app.govern import Governor
from edge.app.meter import Meter
from edge.app.ports import Upstream
from edge.app.progress import ProgressBoard
from edge.app.replicate import Replicator
from edge.domain.admission import Refused
from edge.domain.clock import ClockState, Reading
from edge.domain.desired import Enforced, enforce
from edge.domain.holding import Resource
from edge.domain.plan import Edition
from fleet import resources
from fleet.position import Position
from fleet.reference import Digest
from tests.rig.images import AMD64, make_image
from tests.rig.local_site import artifact, holding, policy, source, utc_now
from tests.rig.memory_registry import MemorySite
from tests.rig.repository import Repository
from tests.rig.signer import Signer, sign_v3
from tests.rig.upstream import MemoryUpstream


@dataclass(slots=True)
class MeetingUpstream(MemoryUpstream):
    """Lets something happen while a blob is on its way."""

    meanwhile: Callable[[], object] | None = None
    """Called once."""

    @contextmanager
    def blob(
        self,
        repository: str,
        digest: Digest,
        *,
        offset: int = 0,
        size_bytes: int | None = None,
        dropped: Callable[[int], None] | None = None,
    ) -> Iterator[Iterator[bytes]]:
        happens, self.meanwhile = self.meanwhile, None
        if happens:
            happens()
        with MemoryUpstream.blob(
            self, repository, digest, offset=offset, size_bytes=size_bytes, dropped=dropped
        ) as chunks:
            yield chunks


class MemoryPlane:
    """Judges and publishes where it is told to; no loop runs."""

    def __init__(self, directory: Path) -> None:
        self.signer = Signer()
        self.base = (source("hub", "registry.example"), policy("base", self.signer))
        self.upstream, self.site = MeetingUpstream({}), MemorySite()
        self.journal = Journal.open(directory / "journal.db")
        self.editions = self.journal.editions
        self.replicator = Replicator(
            self.site, self.journal.intents, self.journal.transfers, staging=self.journal.staging
        )
        self.executor = Executor(
            self.replicator,
            lambda: self.site,
            self.editions,
            self,
            Enforced(),
            progress=ProgressBoard(),
            governor=Governor(Meter(self.journal.traffic, now=utc_now), now=utc_now),
            clock=lambda: Reading(utc_now(), ClockState.SYNCED),
        )

    def open(self, name: str, source: resources.Source) -> Upstream:
        """Implement `edge.app.execute.Sources`."""
        return self.upstream

    def push(self, repository: str, tag: str = "1", *, message: str = "") -> Resource:
        """Push a signed image to the source: `→ the artifact that wants it`."""
        image = make_image(message or repository, tag=tag, platforms=(AMD64,), layer_sizes=(1000,))
        root = image.tags[tag]
        sign_v3(image, root, self.signer)
        self.upstream.repositories.setdefault(repository, Repository()).absorb(image)
        return artifact("hub", repository, root, tag)

    def want(self, *parts: Resource, **scoped: tuple[Resource, ...]) -> Enforced:
        """Make this the fleet's part of desired state, `scoped` that of satellites, and enforce both."""
        after = holding(*parts)
        for name, resources_of in scoped.items():
            after = {**after, **holding(*resources_of, scope=f"satellite/{name}")}
        enforced, good = enforce(after, self.journal.state.good())
        self.journal.state.hold(self.journal.state.holding(), after, good, Position(1, 1))
        self.executor.enforce(enforced)
        return enforced

    def edition(self, name: str) -> Edition:
        """Find what is wanted by an artifact's name."""
        return next(one.edition for one in self.executor.enforced.wanted if one.edition.name == name)

    def publish(self, name: str, *, meanwhile: Callable[[], object] | None = None) -> Edition:
        """Judge and publish what is wanted; `meanwhile` happens while its first layer comes."""
        edition = self.edition(name)
        assert not isinstance(self.executor.judge(edition, again=False), Refused)
        self.upstream.meanwhile = meanwhile
        self.executor.publish(edition)
        return edition

    def close(self) -> None:
        self.executor.stop()
        self.replicator.close()
        self.journal.close()
