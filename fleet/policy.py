"""What policies, trust roots, blocks and signer sets say: values that both programs share.

The meaning of each field is the comment of its namesake in proto/fleet/v1/resource.proto. What is empty admits nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, unique


@unique
class SignatureFormat(IntEnum):
    """How a signature is packed; 0 on the wire never admits, so it has no member here."""

    COSIGN_SIMPLE_SIGNING = 1
    SIGSTORE_BUNDLE = 2
    NOTATION_JWS = 3
    NOTATION_COSE = 4


@unique
class Mode(IntEnum):
    """What a policy does with an image that does not satisfy it."""

    ENFORCE = 1
    WARN = 2


@unique
class WhenExpired(IntEnum):
    """What becomes of images when their policy or its trust root has expired."""

    REFUSE_NEW = 1
    WITHDRAW = 2
    ACCEPT = 3


@unique
class WhenClockUnknown(IntEnum):
    """What is done where the present time matters and is not known."""

    REFUSE = 1
    USE_FLOOR = 2


@unique
class NotationLevel(IntEnum):
    """A signature verification level of the Notary Project."""

    STRICT = 1
    PERMISSIVE = 2
    AUDIT = 3
    SKIP = 4


@dataclass(frozen=True, slots=True)
class TextMatch:
    """Accepts one text, or each in which a regular expression (RE2) is found."""

    text: str
    is_regexp: bool = False


@dataclass(frozen=True, slots=True)
class SignerIdentity:
    """Who a short-lived certificate was issued to, and on whose word."""

    issuer: TextMatch
    subject: TextMatch


@dataclass(frozen=True, slots=True)
class KeySet:
    """Public keys, and how many different ones must have signed."""

    public_keys_pem: tuple[str, ...]
    threshold: int = 1


@dataclass(frozen=True, slots=True)
class Keyless:
    """Short-lived certificates for one of these identities."""

    identities: tuple[SignerIdentity, ...]


@dataclass(frozen=True, slots=True)
class CertificateChain:
    """X.509 certificates of the trust root's own certificate authorities."""

    subjects: tuple[TextMatch, ...]


@dataclass(frozen=True, slots=True)
class StaticVerdict:
    """An answer that looks at no signature."""

    passes: bool
    message: str = ""


@dataclass(frozen=True, slots=True)
class Notation:
    """Notary Project signatures."""

    trusted_identities: tuple[str, ...]
    level: NotationLevel = NotationLevel.STRICT


# Each has a required field that no other has: a stored one is told from the others by it.
Verifier = KeySet | Keyless | CertificateChain | StaticVerdict | Notation


@dataclass(frozen=True, slots=True)
class LogEvidence:
    """How many independent proofs of when a signature was made must verify."""

    log_entries: int = 0
    timestamps: int = 0
    observed_times: int = 0
    certificate_timestamps: int = 0


KEYLESS_EVIDENCE = LogEvidence(log_entries=1, observed_times=1, certificate_timestamps=1)
"""What keyless authorities ask for that say nothing of it."""


@dataclass(frozen=True, slots=True)
class RequiredAttestation:
    """One statement about the image that must be there."""

    name: str
    predicate_type: str
    condition: str = ""
    """CEL; empty for any statement of the type."""


@dataclass(frozen=True, slots=True)
class Authority:
    """One acceptable signer. Without a verifier it accepts nothing, and without formats neither, unless static."""

    name: str
    verifier: Verifier | None = None
    formats: tuple[SignatureFormat, ...] = ()
    trust_root: str = ""
    log_evidence: LogEvidence | None = None
    attestations: tuple[RequiredAttestation, ...] = ()
    signature_repository: str = ""

    @property
    def asked_evidence(self) -> LogEvidence:
        """What must prove the time of a signature, said or not."""
        if self.log_evidence is not None:
            return self.log_evidence
        return KEYLESS_EVIDENCE if isinstance(self.verifier, Keyless) else LogEvidence()


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """What may be served: globs over `<source>/<repository>` and who must have signed."""

    images: tuple[str, ...] = ()
    authorities: tuple[Authority, ...] = ()
    check_reference: bool = False
    referrer_types: tuple[str, ...] = ()
    mode: Mode = Mode.ENFORCE
    is_fallback: bool = False
    when_expired: WhenExpired = WhenExpired.REFUSE_NEW
    when_clock_unknown: WhenClockUnknown = WhenClockUnknown.REFUSE


@dataclass(frozen=True, slots=True)
class TrustRootSpec:
    """Trust material that policies refer to by name."""

    trusted_root_json: bytes = b""
    ca_pem: tuple[str, ...] = ()
    signing_authority_pem: tuple[str, ...] = ()
    timestamp_authority_pem: tuple[str, ...] = ()
    revocation_lists: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class BlockSpec:
    """What is never admitted, whatever a policy says."""

    digests: tuple[str, ...] = ()
    signers: tuple[str, ...] = ()
    """SHA-256 of SubjectPublicKeyInfo, hexadecimal."""
    reason: str = ""
    identities: tuple[SignerIdentity, ...] = ()


@dataclass(frozen=True, slots=True)
class SignerSetSpec:
    """Who may sign policies, trust roots, blocks and the next signer set, and how many must."""

    public_keys_pem: tuple[str, ...] = ()
    threshold: int = 0
