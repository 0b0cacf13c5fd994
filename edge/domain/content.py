"""OCI content as values: descriptors and manifests, read from raw bytes that are never rewritten.

Source: OCI image specification 1.1 (image manifest, image index, descriptor); Docker image manifest version 2,
schema 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fleet.reference import Digest


@dataclass(frozen=True, slots=True)
class Platform:
    """What a child of an index runs on; an empty variant matches any."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A reference from one piece of content to another."""

    media_type: str
    digest: Digest
    size_bytes: int
    platform: Platform | None = None
    artifact_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RawManifest:
    """A manifest as it came: the bytes are what its digest is over."""

    raw: bytes
    media_type: str
    digest: Digest
