"""The five calls that every named thing has, by the regular names that the contract gives them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from google.protobuf.message import Message

from controlplane.satctl.options import PAGE_SIZE
from fleet.v1 import fleet_pb2 as pb

if TYPE_CHECKING:
    from controlplane.satctl.client import FleetClient

Thing = TypeVar("Thing", bound=Message)

_FEW = 32
_INNER_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class Entity(Generic[Thing]):
    """One sort of named thing: `Entity(pb.Group, "Groups")`."""

    message: type[Thing]
    plural: str
    page_size: int = PAGE_SIZE
    """Rows that a list asks for at once: few of what may be a MiB each."""

    @property
    def word(self) -> str:
        """Its name in the contract's messages: `Group`."""
        return str(self.message.DESCRIPTOR.name)

    @property
    def field(self) -> str:
        """Its field in them: `group`, `trust_root`."""
        return _snake(self.word)

    async def create(self, client: FleetClient, thing: Thing) -> Thing:
        """Make it. EXISTS where it exists with other content."""
        return await self._one(client, "Create", **{self.field: thing})

    async def update(self, client: FleetClient, thing: Thing) -> Thing:
        """Replace it, on condition of the etag in it. CONFLICT `ETAG_MISMATCH` where it changed since."""
        return await self._one(client, "Update", **{self.field: thing})

    async def set(self, client: FleetClient, thing: Thing) -> Thing:
        """Make or replace it, on condition of the etag in it, where it is one of those that have this call."""
        return await self._one(client, "Set", **{self.field: thing})

    async def get(self, client: FleetClient, name: str) -> Thing:
        """Read it. UNKNOWN where there is none."""
        return await self._one(client, "Get", name=name)

    async def delete(self, client: FleetClient, name: str, *, etag: str = "") -> None:
        """Remove it."""
        await self._answer(client, f"Delete{self.word}", name=name, etag=etag)

    async def all(self, client: FleetClient, **filters: str) -> list[Thing]:
        """Read them all, by name."""
        method, request = _rpc(client, f"List{self.plural}", filters)
        field = _snake(self.plural)

        def items(answer: Any) -> Iterable[Thing]:  # noqa: ANN401 - one of the List answers
            return getattr(answer, field)  # type: ignore[no-any-return] # as the contract has it

        return await client.pages(method, request, items, page_size=self.page_size)

    async def _one(self, client: FleetClient, verb: str, **content: Any) -> Thing:  # noqa: ANN401 - a request's fields
        answer = await self._answer(client, f"{verb}{self.word}", **content)
        return getattr(answer, self.field)  # type: ignore[no-any-return] # as the contract has it

    async def _answer(self, client: FleetClient, rpc: str, **content: Any) -> Any:  # noqa: ANN401 - as above
        method, request = _rpc(client, rpc, content)
        return await client.call(method, request)


def _snake(word: str) -> str:
    return _INNER_CAPITAL.sub("_", word).lower()


def _rpc(client: FleetClient, name: str, content: dict[str, Any]) -> tuple[Any, Any]:
    return getattr(client.fleet, name), getattr(pb, f"{name}Request")(**content)


SATELLITE = Entity(pb.Satellite, "Satellites")
GROUP = Entity(pb.Group, "Groups")
SOURCE = Entity(pb.Source, "Sources")
ARTIFACT = Entity(pb.Artifact, "Artifacts")
POLICY = Entity(pb.Policy, "Policies", page_size=_FEW)
TRUST_ROOT = Entity(pb.TrustRoot, "TrustRoots", page_size=_FEW)
BLOCK = Entity(pb.Block, "Blocks", page_size=_FEW)
CONFIGURATION = Entity(pb.Configuration, "Configurations")
