"""What a piece of evidence says, before anyone asked who signed it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fleet.policy import SignatureFormat
from fleet.reference import Digest

SIGN_PREDICATE = "https://sigstore.dev/cosign/sign/v1"
"""The predicate type that says "I signed this image" and nothing else."""


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """That an entry is in a transparency log, by RFC 6962's tree and a signed checkpoint over it."""

    log_index: int
    tree_size: int
    root_hash: bytes
    hashes: tuple[bytes, ...]
    checkpoint: str
    """A signed note (C2SP); empty where there is none."""


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One entry of a transparency log (Rekor), not verified yet."""

    log_id: bytes
    log_index: int
    kind: str
    version: str
    body: bytes
    """The canonicalized body, whose hash is the leaf."""
    integrated_time: int = 0
    """Seconds since 1970; 0 where the log says none (Rekor v2)."""
    promise: bytes = b""
    """The signed entry timestamp of Rekor v1; empty where there is none."""
    proof: InclusionProof | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """One signed statement about one or more digests."""

    form: SignatureFormat
    signed: bytes
    """The bytes that the signatures are over; of a notation signature, its whole envelope."""
    signatures: tuple[bytes, ...]
    digests: frozenset[Digest]
    payload: bytes = b""
    """Of a DSSE envelope what is in it, which `signed` encodes; empty for other formats."""
    repository: str = ""
    """The repository path that was signed along, without its host; empty where the format carries none."""
    predicate_type: str = SIGN_PREDICATE
    """What it says of the digests; an attestation says something else than that it was signed."""
    predicate: object = None
    """What an attestation says, as JSON values; None for a signature."""
    subjects: tuple[Mapping[str, object], ...] = ()
    """An in-toto statement's subjects, as JSON values."""
    certificates: tuple[bytes, ...] = ()
    """DER, the signer's own first, in any order behind it; empty where it was made with a bare key."""
    log_entries: tuple[LogEntry, ...] = ()
    timestamps: tuple[bytes, ...] = field(default=())
    """DER time-stamp responses (RFC 3161) over the signature."""

    @property
    def is_signature(self) -> bool:
        """It says "I signed this image"."""
        return self.predicate_type == SIGN_PREDICATE


@dataclass(frozen=True, slots=True)
class Vouch:
    """One signer's word that a claim is theirs."""

    key_id: str
    """SHA-256 of the key's SubjectPublicKeyInfo, hexadecimal: what blocks name."""
    issuer: str = ""
    """OIDC issuer of a short-lived certificate."""
    subject: str = ""
    """The certificate's name; empty for a bare key."""
    warnings: tuple[str, ...] = ()
    """Reasons of checks that failed and only warn (notation's levels)."""

    @property
    def signer(self) -> str:
        """Name the signer, for people."""
        named = f"{self.subject} ({self.issuer})" if self.issuer else self.subject
        return named or f"sha256:{self.key_id}"


Vouched = tuple[Vouch, ...] | str
"""Who made a claim: at least one of an authority's signers, or the reason why it counts as nobody's."""
