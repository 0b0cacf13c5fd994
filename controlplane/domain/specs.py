"""What resources say: the contents that operators write and satellites read, free of the wire.

The meaning of each field is the comment of its namesake in proto/fleet/v1/resource.proto.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, unique

from fleet.link import Link
from fleet.policy import BlockSpec, PolicySpec, TrustRootSpec


@unique
class ResourceKind(IntEnum):
    """What a resource is about; the numbers are the contract's and part of hashed bytes."""

    ARTIFACT = 1
    SOURCE = 2
    POLICY = 3
    TRUST_ROOT = 4
    BLOCK = 5
    CONFIGURATION = 6
    SIGNER_SET = 7


@unique
class Track(IntEnum):
    """Who resolves a tag."""

    PINNED = 1
    FOLLOW = 2


@dataclass(frozen=True, slots=True, order=True)
class Platform:
    """One `os/architecture[/variant]`; an empty variant is any."""

    os: str
    architecture: str
    variant: str = ""


@dataclass(frozen=True, slots=True)
class ArtifactSpec:
    """One thing to replicate. An empty digest is resolved from the tag when the artifact is written."""

    source: str
    repository: str
    tag: str = ""
    digest: str = ""
    platforms: tuple[Platform, ...] = ()
    priority: int = 0
    track: Track = Track.PINNED
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """An upstream registry. `needs_credential` is set by Ground Control when a credential is stored."""

    address: str
    ca_pem: str = ""
    mirrors: tuple[str, ...] = ()
    local_prefix: str = ""
    needs_credential: bool = False
    plain_http: bool = False


@dataclass(frozen=True, slots=True)
class ConfigurationSpec:
    """Settings of satellites; what is zero or None is left to scopes of a lower rank."""

    concurrent_images: int = 0
    link: Link | None = None


Spec = ArtifactSpec | SourceSpec | PolicySpec | TrustRootSpec | BlockSpec | ConfigurationSpec
"""The content of one resource that is written here; signer sets come as they were signed."""
