"""What a piece of evidence says, before anyone asked who signed it."""

from __future__ import annotations

from dataclasses import dataclass

from edge.domain.policy import SignatureFormat
from fleet.reference import Digest


@dataclass(frozen=True, slots=True)
class Claim:
    """One signed statement about one or more digests."""

    form: SignatureFormat
    signed: bytes
    """The bytes that the signatures are over."""
    signatures: tuple[bytes, ...]
    digests: frozenset[Digest]
    repository: str
    """The repository path that was signed along, without its host; empty where the format carries none."""
    is_signature: bool
    """It says "I signed this image"; an attestation (provenance, an SBOM) says something else of it."""
