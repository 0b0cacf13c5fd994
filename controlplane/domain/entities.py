"""The things that operators name, as values. Fields marked *output* are ignored where the value is a command's."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, IntEnum, unique
from typing import Generic, TypeVar

from controlplane.domain.specs import ArtifactSpec, ConfigurationSpec, SourceSpec
from fleet.policy import BlockSpec, PolicySpec, SignerSetSpec, TrustRootSpec
from fleet.position import Position as Position  # noqa: PLC0414 a value of this vocabulary, too

T = TypeVar("T")

OPERATOR = "operator"
"""The owner of memberships and assignments that a person made."""


@unique
class Lifecycle(Enum):
    """What can be observed of a satellite."""

    PENDING = "pending"
    ONLINE = "online"
    STALE = "stale"
    REVOKED = "revoked"


@unique
class Role(IntEnum):
    """What an operator may do; each includes the one before."""

    VIEWER = 1
    EDITOR = 2
    ADMIN = 3


@dataclass(frozen=True, slots=True)
class Satellite:
    """One edge site's agent. Output: spiffe_id, lifecycle, groups, created_at."""

    name: str
    region: str = ""
    description: str = ""
    spiffe_id: str = ""
    lifecycle: Lifecycle = Lifecycle.PENDING
    groups: tuple[str, ...] = ()
    created_at: datetime | None = None
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """A named set of artifacts. Output: satellites and artifacts, counted."""

    name: str
    precedence: int = 0
    description: str = ""
    satellites: int = 0
    artifacts: int = 0
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """An upstream registry. Output: has_credential."""

    name: str
    spec: SourceSpec
    has_credential: bool = False
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Artifact:
    """One thing that scopes may be assigned. Output: scopes, and the name, which follows from the spec."""

    spec: ArtifactSpec
    name: str = ""
    scopes: tuple[str, ...] = ()
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Policy:
    """A verification policy and the scopes that hold it; none given is `fleet`. Output: serial, signed_by."""

    name: str
    spec: PolicySpec
    scopes: tuple[str, ...] = ()
    etag: str = ""
    expires_at: datetime | None = None
    serial: int = 0
    signed_by: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class TrustRoot:
    """Trust material and the scopes that hold it; none given is `fleet`. Output: serial, signed_by."""

    name: str
    spec: TrustRootSpec
    scopes: tuple[str, ...] = ()
    etag: str = ""
    expires_at: datetime | None = None
    serial: int = 0
    signed_by: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Block:
    """What is never admitted and the scopes that hold it; none given is `fleet`. Output: serial, signed_by."""

    name: str
    spec: BlockSpec
    scopes: tuple[str, ...] = ()
    etag: str = ""
    serial: int = 0
    signed_by: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class SignerSet:
    """Who may sign all of these, for sites that pin them: named by its serial, held by the fleet, always signed."""

    name: str
    spec: SignerSetSpec
    scopes: tuple[str, ...] = ()
    etag: str = ""
    serial: int = 0
    signed_by: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Signature:
    """One policy signer's word on a payload's version."""

    key_id: bytes
    """SHA-256 of the signer's SubjectPublicKeyInfo."""
    signature: bytes


@dataclass(frozen=True, slots=True)
class Signed:
    """A policy, trust root, block or signer set as it was signed: these bytes, and no others, are passed on."""

    kind: int
    payload: bytes
    signatures: tuple[Signature, ...]


@dataclass(frozen=True, slots=True)
class Configuration:
    """What one scope says of its satellites' own settings; named by the scope, which alone holds it."""

    name: str
    spec: ConfigurationSpec
    etag: str = ""

    @property
    def scopes(self) -> tuple[str, ...]:
        """The scope."""
        return (self.name,)


@dataclass(frozen=True, slots=True)
class Membership:
    """One satellite in one group, kept by an owner. In a deletion an empty owner is any owner."""

    satellite: str
    group: str
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Assignment:
    """One artifact wanted by one scope, kept by an owner. In a deletion an empty owner is any owner."""

    artifact: str
    scope: str
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Operator:
    """A person or a pipeline with a role. Output: spiffe_id."""

    name: str
    role: Role
    spiffe_id: str = ""
    etag: str = ""


@dataclass(frozen=True, slots=True)
class JoinToken:
    """What lets one identity join, once; its secret is known to its holder alone."""

    id: str
    spiffe_id: str
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None = None
    refused_attempts: int = 0


@dataclass(frozen=True, slots=True)
class Credential:
    """What opens a source. Never logged, never shown."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Attested:
    """Ground Control's word on a satellite that proved its identity."""

    satellite: str
    lifecycle: Lifecycle


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows by name, how to ask for the next ones (empty: these are the last), and when it was read."""

    items: tuple[T, ...]
    next_page_token: str
    position: Position


Entity = (
    Satellite
    | Group
    | Source
    | Artifact
    | Policy
    | TrustRoot
    | Block
    | Signed
    | Configuration
    | Membership
    | Assignment
    | Operator
)
"""What a command can write."""
