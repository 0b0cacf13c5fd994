"""FleetService's entities as one table: how each is read, shown and fetched; the verbs over them are all alike."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import Message

from controlplane.app.fleet import Fleet
from controlplane.domain.commands import Applied, Command, Delete, EntityKind, Upsert
from controlplane.domain.entities import Page
from controlplane.rpc import wire_entities as entities
from controlplane.rpc import wire_rules as rules
from controlplane.rpc.caller import current_caller
from controlplane.rpc.wire import page_size, write_position
from controlplane.rpc.wire_configuration import read_configuration, write_configuration


@dataclass(frozen=True, slots=True)
class EntityType:
    """One kind of entity on the wire."""

    kind: EntityKind
    field: str
    """The field that carries it in requests and responses."""
    plural: str
    """The field that carries a page of it."""
    read: Callable[[Any], Any]
    write: Callable[[Any], Message]
    get: Callable[[Fleet, str], Awaitable[Any]]


SATELLITE = EntityType(
    EntityKind.SATELLITE,
    "satellite",
    "satellites",
    entities.read_satellite,
    entities.write_satellite,
    Fleet.get_satellite,
)
GROUP = EntityType(EntityKind.GROUP, "group", "groups", entities.read_group, entities.write_group, Fleet.get_group)
SOURCE = EntityType(
    EntityKind.SOURCE, "source", "sources", entities.read_source, entities.write_source, Fleet.get_source
)
ARTIFACT = EntityType(
    EntityKind.ARTIFACT, "artifact", "artifacts", entities.read_artifact, entities.write_artifact, Fleet.get_artifact
)
POLICY = EntityType(EntityKind.POLICY, "policy", "policies", rules.read_policy, rules.write_policy, Fleet.get_policy)
TRUST_ROOT = EntityType(
    EntityKind.TRUST_ROOT,
    "trust_root",
    "trust_roots",
    rules.read_trust_root,
    rules.write_trust_root,
    Fleet.get_trust_root,
)
BLOCK = EntityType(EntityKind.BLOCK, "block", "blocks", rules.read_block, rules.write_block, Fleet.get_block)
CONFIGURATION = EntityType(
    EntityKind.CONFIGURATION,
    "configuration",
    "configurations",
    read_configuration,
    write_configuration,
    Fleet.get_configuration,
)
OPERATOR = EntityType(
    EntityKind.OPERATOR,
    "operator",
    "operators",
    entities.read_operator,
    entities.write_operator,
    Fleet.get_operator,
)

Fields = dict[str, Any]
"""Fields of a response."""


class EntityVerbs:
    """Create, replace, remove, read and list, for any entity type."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    async def create(self, entity: EntityType, request: Any) -> Fields:  # noqa: ANN401 - any Create request
        """Make an entity that does not exist yet."""
        return await self._put(entity, request, must_create=True)

    async def replace(self, entity: EntityType, request: Any) -> Fields:  # noqa: ANN401 - any Update request
        """Replace an entity that exists."""
        return await self._put(entity, request, must_create=False)

    async def set(self, entity: EntityType, request: Any) -> Fields:  # noqa: ANN401 - any Set request
        """Make or replace an entity."""
        entities.refuse_unknown(request)
        return await self._written(entity, request, Upsert(entity.read(getattr(request, entity.field))))

    async def _put(self, entity: EntityType, request: Any, *, must_create: bool) -> Fields:  # noqa: ANN401 - as above
        entities.refuse_unknown(request)
        value = entity.read(getattr(request, entity.field))
        command = Upsert(value, must_create=must_create, must_exist=not must_create)
        return await self._written(entity, request, command)

    async def _written(self, entity: EntityType, request: Any, command: Upsert) -> Fields:  # noqa: ANN401 - as above
        applied = await self.apply(request, command)
        now = await entity.get(self._fleet, applied.results[0].name)
        return {entity.field: entity.write(now), "position": write_position(applied.position)}

    async def delete(self, entity: EntityType, request: Any) -> Fields:  # noqa: ANN401 - any Delete request
        """Remove an entity; UNKNOWN where there is none."""
        applied = await self.apply(request, Delete(entity.kind, request.name, request.etag))
        return {"position": write_position(applied.position)}

    async def read(self, entity: EntityType, request: Any) -> Fields:  # noqa: ANN401 - any Get request
        """Read one entity."""
        return {entity.field: entity.write(await entity.get(self._fleet, request.name))}

    async def apply(self, request: Any, *commands: Command) -> Applied:  # noqa: ANN401 - any writing request
        """Do commands as the caller, under the request's id."""
        return await self._fleet.apply(current_caller().spiffe_id, commands, request_id=request.request_id)


def page_of(entity: EntityType, page: Page[Any]) -> Fields:
    """Show a page."""
    return {
        entity.plural: map(entity.write, page.items),
        "next_page_token": page.next_page_token,
        "position": write_position(page.position),
    }


def paging(request: Any) -> tuple[int, str]:  # noqa: ANN401 - any List request
    """Read which page is asked for."""
    return page_size(request.page_size), request.page_token
