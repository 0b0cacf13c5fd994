"""A site without Ground Control: desired state given by the test, everything else the product's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import urllib3

from edge.adapters.journal.journal import Journal
from edge.adapters.oci.descriptors import ACCEPT
from edge.adapters.registry.choose import choose_registry
from edge.adapters.registry.listener import Listener
from edge.adapters.sources import SourceRegistries
from edge.app.execute import Executor
from edge.app.govern import Governor
from edge.app.meter import Meter
from edge.app.ports import SiteRegistry, SupervisedRegistry
from edge.app.progress import ProgressBoard
from edge.app.reconcile import Reconciler, Standing
from edge.app.replicate import Replicator
from edge.domain.clock import ClockState, Reading
from edge.domain.desired import enforce
from edge.domain.holding import HeldScope, Holding, Resource
from edge.domain.plan import Edition
from fleet import resources
from fleet.digests import resource_version, scope_digest
from fleet.position import Position
from fleet.reference import Digest
from fleet.v1 import resource_pb2 as pb

DEADLINE_S = 30.0


def resource(kind: int, name: str, payload: pb.ResourcePayload | bytes) -> Resource:
    """Write a resource as Ground Control does."""
    raw = payload if isinstance(payload, bytes) else payload.SerializeToString(deterministic=True)
    return Resource(kind, name, raw, resource_version(kind, raw))


def source(name: str, address: str, *, prefix: str = "", needs_credential: bool = False, ca_pem: str = "") -> Resource:
    """Describe a source: over TLS where it has an authority, else over plain http."""
    spec = pb.SourceSpec(
        address=address,
        plain_http=not ca_pem,
        local_prefix=prefix,
        needs_credential=needs_credential,
        ca_pem=ca_pem,
    )
    return resource(resources.SOURCE, name, pb.ResourcePayload(if_unknown=pb.IF_UNKNOWN_IGNORE, source=spec))


class PublicKey(Protocol):
    """The public half of a key that signs images."""

    @property
    def pem(self) -> bytes:
        """PEM of its SubjectPublicKeyInfo."""


def policy(name: str, *keys: PublicKey, images: str = "**") -> Resource:
    authority = pb.Authority(
        name="release",
        formats=[pb.SIGNATURE_FORMAT_SIGSTORE_BUNDLE, pb.SIGNATURE_FORMAT_COSIGN_SIMPLE_SIGNING],
        keys=pb.KeySet(public_keys_pem=[key.pem.decode() for key in keys]),
    )
    spec = pb.PolicySpec(images=[images], authorities=[authority])
    return resource(resources.POLICY, name, pb.ResourcePayload(if_unknown=pb.IF_UNKNOWN_HOLD, policy=spec))


def artifact(from_source: str, repository: str, digest: Digest, tag: str = "", priority: int = 0) -> Resource:
    spec = pb.ArtifactSpec(source=from_source, repository=repository, tag=tag, digest=digest, priority=priority)
    name = f"{from_source}/{repository}:{tag}" if tag else f"{from_source}/{repository}@{digest}"
    payload = pb.ResourcePayload(if_unknown=pb.IF_UNKNOWN_IGNORE, artifact=spec)
    return resource(resources.ARTIFACT, name, payload)


def block(name: str, *digests: Digest) -> Resource:
    payload = pb.ResourcePayload(if_unknown=pb.IF_UNKNOWN_HOLD, block=pb.BlockSpec(digests=digests))
    return resource(resources.BLOCK, name, payload)


def holding(*parts: Resource, scope: str = "fleet") -> Holding:
    """Hold one scope."""
    digest = scope_digest((one.kind, one.name, one.version) for one in parts)
    return {scope: HeldScope(digest, 1, 0, {one.key: one for one in parts})}


@dataclass
class LocalSite:
    """A running reconciler over a real registry."""

    journal: Journal
    registry: SupervisedRegistry
    reconciler: Reconciler
    changed: asyncio.Event
    http: urllib3.PoolManager = field(default_factory=lambda: urllib3.PoolManager(retries=False))

    def want(self, *parts: Resource, scope: str = "fleet") -> None:
        """Make this desired state, journaled and enforced, as a stream would."""
        want(self.journal, self.reconciler, *parts, scope=scope)

    def pull(self, repository: str, reference: str, *, kind: str = "manifests") -> tuple[int, bytes]:
        """Get a manifest or blob as a workload does."""
        url = f"{self.registry.public_url}/v2/{repository}/{kind}/{reference}"
        answer = self.http.request("GET", url, headers={"Accept": ACCEPT})
        return answer.status, answer.data

    @property
    def standing(self) -> Standing:
        return self.reconciler.standing()

    def reasons(self) -> dict[str, str]:
        """Why what is not there is not there: `artifact name → reason`."""
        return {edition.name: setback.reason for edition, setback in self.standing.site.setbacks.items()}

    async def until(self, claim: object, what: str) -> None:
        """Wait for a claim about the standing: a callable of no arguments."""
        assert callable(claim)
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not await asyncio.to_thread(claim):
                    self.changed.clear()
                    try:
                        async with asyncio.timeout(0.2):
                            await self.changed.wait()
                    except TimeoutError:
                        continue
        except TimeoutError as error:
            raise AssertionError(f"in vain: {what}; {self.standing}") from error

    async def published(self, *names: str) -> None:
        """Wait until these artifacts and no others are published."""

        def claim() -> bool:
            return {edition.name for edition in self.standing.site.published} == set(names)

        await self.until(claim, f"published {names}")


def want(journal: Journal, reconciler: Reconciler, *parts: Resource, scope: str = "fleet") -> None:
    """Make this desired state, journaled and enforced, as a stream would."""
    after = holding(*parts, scope=scope)
    enforced, good = enforce(after, journal.state.good())
    journal.state.hold(journal.state.holding(), after, good, Position(1, 1))
    reconciler.enforce(enforced)


def utc_now() -> datetime:
    return datetime.now(UTC)


def data_plane(
    journal: Journal,
    site: Callable[[], SiteRegistry],
    changed: Callable[[], None],
    *,
    plain_hosts: Iterable[str] = (),
    now: Callable[[], datetime] = utc_now,
) -> tuple[Reconciler, Replicator]:
    """Put the product's data plane together over a registry that runs; nothing of it is started."""
    replicator = Replicator(site(), journal.intents, journal.transfers, staging=journal.staging)
    sources = SourceRegistries(lambda *_: None, plain_hosts=frozenset(plain_hosts))
    enforced, _ = enforce(journal.state.holding(), journal.state.good())
    governor = Governor(Meter(journal.traffic, now=now), now=now)
    executor = Executor(
        replicator,
        site,
        journal.editions,
        sources,
        enforced,
        progress=ProgressBoard(),
        governor=governor,
        clock=lambda: Reading(now(), ClockState.SYNCED),
    )
    return Reconciler(executor, journal.editions, now=now, changed=changed), replicator


@asynccontextmanager
async def local_site(
    directory: Path,
    *,
    plain_hosts: Iterable[str] = (),
    kind: str = "distribution",
    now: Callable[[], datetime] = utc_now,
) -> AsyncIterator[LocalSite]:
    """Run a site on a directory; entered again on the same one, it restarts."""
    journal = Journal.open(directory / "journal.db")
    registry = choose_registry(directory / "registry", Listener(), wanted=kind)
    await registry.start_private()
    changed = asyncio.Event()
    reconciler, replicator = data_plane(journal, lambda: registry.site, changed.set, plain_hosts=plain_hosts, now=now)
    try:
        await reconciler.prepare()
        await registry.open_public()
        loop = asyncio.create_task(reconciler.run())
        try:
            site = LocalSite(journal, registry, reconciler, changed)
            yield site
            site.http.clear()
        finally:
            loop.cancel()
            await asyncio.wait((loop,))
            replicator.close()
    finally:
        await registry.stop()
        journal.close()


def editions_of(site: LocalSite, name: str) -> set[Edition]:
    return {edition for edition in site.standing.site.begun if edition.name == name}
