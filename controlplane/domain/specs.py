"""What resources say: the contents that operators write and satellites read, free of the wire.

The meaning of each field is the comment of its namesake in proto/fleet/v1/resource.proto.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, unique

from fleet.link import Link


@unique
class ResourceKind(IntEnum):
    """What a resource is about; the numbers are the contract's and part of hashed bytes."""

    ARTIFACT = 1
    SOURCE = 2
    POLICY = 3
    TRUST_ROOT = 4
    BLOCK = 5
    CONFIGURATION = 6


@unique
class Track(IntEnum):
    """Who resolves a tag."""

    PINNED = 1
    FOLLOW = 2


@unique
class SignatureFormat(IntEnum):
    """How a signature is packed; 0 on the wire never admits, so it has no member here."""

    COSIGN_SIMPLE_SIGNING = 1
    SIGSTORE_BUNDLE = 2


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
class Authority:
    """One acceptable signer by public keys. Without formats or keys it accepts nothing."""

    name: str
    formats: tuple[SignatureFormat, ...] = ()
    public_keys_pem: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """What may be served: globs over `<source>/<repository>` and who must have signed."""

    images: tuple[str, ...] = ()
    authorities: tuple[Authority, ...] = ()
    check_reference: bool = False
    referrer_types: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BlockSpec:
    """What is never admitted, whatever a policy says."""

    digests: tuple[str, ...] = ()
    signers: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class ConfigurationSpec:
    """Settings of satellites; what is zero or None is left to scopes of a lower rank."""

    concurrent_images: int = 0
    link: Link | None = None


Spec = ArtifactSpec | SourceSpec | PolicySpec | BlockSpec | ConfigurationSpec
"""The content of one resource."""
