"""The reading half of `Fleet`: entities, desired state, statuses, the log."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from controlplane.app.ports import PageRequest, Store
from controlplane.domain.checks import check_page
from controlplane.domain.commands import Changes, EntityKind
from controlplane.domain.entities import (
    Artifact,
    Block,
    Configuration,
    Group,
    JoinToken,
    Operator,
    Page,
    Policy,
    Position,
    Satellite,
    SignerSet,
    Source,
    TrustRoot,
)
from controlplane.domain.rules import unknown
from controlplane.domain.state import Desired, WholeState
from controlplane.domain.status import ArtifactStatus, ChangedStatuses, FleetStatus, SatelliteStatus


def _page(size: int, token: str) -> PageRequest:
    return PageRequest(check_page(size), token)


class FleetReading:
    """What can be asked. A name that is not there is UNKNOWN `<KIND>_UNKNOWN`; pages are 1 to 1,000 rows, 0 is 100."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock

    async def position(self) -> Position:
        """Read the log's end."""
        return await self._store.position()

    async def get_satellite(self, name: str) -> Satellite:
        """Read one satellite."""
        return await self._store.satellite(name, self._clock())

    async def get_group(self, name: str) -> Group:
        """Read one group."""
        return await self._store.group(name)

    async def get_source(self, name: str) -> Source:
        """Read one source."""
        return await self._store.source(name)

    async def get_artifact(self, name: str) -> Artifact:
        """Read one artifact."""
        return await self._store.artifact(name)

    async def get_policy(self, name: str) -> Policy:
        """Read one policy."""
        return await self._store.policy(name)

    async def get_trust_root(self, name: str) -> TrustRoot:
        """Read one trust root."""
        return await self._store.trust_root(name)

    async def get_block(self, name: str) -> Block:
        """Read one block."""
        return await self._store.block(name)

    async def get_configuration(self, name: str) -> Configuration:
        """Read one scope's settings."""
        return await self._store.configuration(name)

    async def get_operator(self, name: str) -> Operator:
        """Read one operator."""
        return await self._store.operator(name)

    async def list_satellites(self, page_size: int = 0, page_token: str = "", *, group: str = "") -> Page[Satellite]:
        """Read satellites by name, of one group where it is not empty."""
        return await self._store.satellites(_page(page_size, page_token), group, self._clock())

    async def list_groups(self, page_size: int = 0, page_token: str = "") -> Page[Group]:
        """Read groups by name."""
        return await self._store.groups(_page(page_size, page_token))

    async def list_sources(self, page_size: int = 0, page_token: str = "") -> Page[Source]:
        """Read sources by name."""
        return await self._store.sources(_page(page_size, page_token))

    async def list_artifacts(self, page_size: int = 0, page_token: str = "", *, scope: str = "") -> Page[Artifact]:
        """Read artifacts by name, of one scope where it is not empty."""
        return await self._store.artifacts(_page(page_size, page_token), scope)

    async def list_policies(self, page_size: int = 0, page_token: str = "") -> Page[Policy]:
        """Read policies by name."""
        return await self._store.policies(_page(page_size, page_token))

    async def list_trust_roots(self, page_size: int = 0, page_token: str = "") -> Page[TrustRoot]:
        """Read trust roots by name."""
        return await self._store.trust_roots(_page(page_size, page_token))

    async def list_blocks(self, page_size: int = 0, page_token: str = "") -> Page[Block]:
        """Read blocks by name."""
        return await self._store.blocks(_page(page_size, page_token))

    async def list_signer_sets(self, page_size: int = 0, page_token: str = "") -> Page[SignerSet]:
        """Read signer sets by name, which is their serial."""
        return await self._store.signer_sets(_page(page_size, page_token))

    async def list_configurations(self, page_size: int = 0, page_token: str = "") -> Page[Configuration]:
        """Read scopes' settings by scope."""
        return await self._store.configurations(_page(page_size, page_token))

    async def list_operators(self, page_size: int = 0, page_token: str = "") -> Page[Operator]:
        """Read operators by name."""
        return await self._store.operators(_page(page_size, page_token))

    async def list_tokens(self, page_size: int = 0, page_token: str = "") -> Page[JoinToken]:
        """Read join tokens by identifier, without their secrets."""
        return await self._store.tokens(_page(page_size, page_token))

    async def changes(self, after: Position | None = None, page_size: int = 0) -> Changes:
        """Read the log from a position on (None: from the oldest change that is kept), oldest first.

        Raises:
            FleetError: PRECONDITION `POSITION_COMPACTED` where changes after the position are not kept any more.
        """
        return await self._store.changes(after, check_page(page_size))

    async def desired(self, satellite: str) -> Desired:
        """Compute what a satellite should hold. UNKNOWN `SATELLITE_UNKNOWN`."""
        found = await self._store.desired([satellite])
        if satellite not in found:
            raise unknown(EntityKind.SATELLITE, satellite)
        return found[satellite]

    async def knows(self, scope: str, digest: bytes) -> bool:
        """Say whether a scope is known to have had this digest, so that a delta can start from it."""
        return await self._store.knows(scope, digest)

    async def state(self, satellite: str) -> WholeState:
        """Read a satellite's whole desired state, payloads included."""
        return await self._store.whole_state(satellite)

    async def fleet_status(self) -> FleetStatus:
        """Count the fleet."""
        return await self._store.fleet_status(self._clock())

    async def satellite_statuses(
        self, page_size: int = 0, page_token: str = "", *, group: str = ""
    ) -> Page[SatelliteStatus]:
        """Read where satellites stand, by name, reports without exceptions."""
        return await self._store.statuses(_page(page_size, page_token), group, self._clock())

    async def statuses_since(self, since: datetime) -> ChangedStatuses:
        """Read statuses that changed at or after a time, for WatchFleet; at most 1,000, the oldest change first."""
        return await self._store.statuses_since(since, self._clock())

    async def live_workers(self) -> frozenset[str]:
        """Name the processes whose sessions count as open: with one that is gone, all of its satellites' end unsaid."""
        return await self._store.live_workers(self._clock())

    async def satellite_status(self, name: str) -> tuple[SatelliteStatus, tuple[ArtifactStatus, ...]]:
        """Read where one satellite stands, exceptions included, and each desired artifact, by name."""
        return await self._store.status(name, self._clock())
