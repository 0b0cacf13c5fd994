"""What both envelopes of a Notary Project signature say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from edge.domain.documents import Reader
from edge.domain.verify.chains import load_certificate
from fleet.reference import Digest, parse_digest

PAYLOAD_TYPE = "application/vnd.cncf.notary.payload.v1+json"
SCHEME = "io.cncf.notary.signingScheme"
SIGNING_TIME = "io.cncf.notary.signingTime"
AUTHENTIC_TIME = "io.cncf.notary.authenticSigningTime"
EXPIRY = "io.cncf.notary.expiry"
TIMESTAMP = "io.cncf.notary.timestampSignature"
X509, SIGNING_AUTHORITY = "notary.x509", "notary.x509.signingAuthority"
UNDERSTOOD = frozenset({SCHEME, SIGNING_TIME, AUTHENTIC_TIME, EXPIRY})
"""Attributes that may be critical: any other one that is makes the signature unreadable."""
MAX_BYTES = 1 << 20
MAX_CERTIFICATES = 8
READER = Reader("EVIDENCE_MALFORMED", "Notary Project signature")
_HASHES: Mapping[str, hashes.HashAlgorithm] = {
    "256": hashes.SHA256(),
    "384": hashes.SHA384(),
    "512": hashes.SHA512(),
}
_RSA_BITS = {2048: "PS256", 3072: "PS384", 4096: "PS512"}
_CURVES = {"secp256r1": ("ES256", 32), "secp384r1": ("ES384", 48), "secp521r1": ("ES512", 66)}


@dataclass(frozen=True, slots=True)
class Envelope:
    """A signature that was read and not verified."""

    algorithm: str
    """As JWS names it: PS256, ES384, …"""
    signed: bytes
    """What the signature is over."""
    signature: bytes
    payload: bytes
    certificates: tuple[bytes, ...]
    """DER, the signer's own first."""
    scheme: str
    signing_time: datetime
    """As the signer says; as the signing authority says, where that is the scheme."""
    expiry: datetime | None
    timestamp: bytes
    """A TimeStampToken (RFC 3161), DER; empty where there is none."""

    @property
    def target(self) -> Digest:
        """The digest of the artifact that was signed.

        Raises:
            FleetError: MALFORMED `EVIDENCE_MALFORMED`, `DIGEST_MALFORMED`.
        """
        document = READER.parse(self.payload)
        return parse_digest(READER.text(READER.fields(document, "targetArtifact"), "digest"))

    def is_intact(self) -> bool:
        """Say whether the signer's key made the signature, by the algorithm that the key asks for."""
        key = load_certificate(self.certificates[0]).public_key()
        try:
            match key:
                case rsa.RSAPublicKey() if _RSA_BITS.get(key.key_size) == self.algorithm:
                    digest = _HASHES[self.algorithm[2:]]
                    scheme = padding.PSS(padding.MGF1(digest), salt_length=padding.PSS.DIGEST_LENGTH)
                    key.verify(self.signature, self.signed, scheme, digest)
                case ec.EllipticCurvePublicKey() if _CURVES.get(key.curve.name, ("", 0))[0] == self.algorithm:
                    size = _CURVES[key.curve.name][1]
                    if len(self.signature) != 2 * size:
                        return False
                    encoded = encode_dss_signature(
                        int.from_bytes(self.signature[:size], "big"), int.from_bytes(self.signature[size:], "big")
                    )
                    key.verify(encoded, self.signed, ec.ECDSA(_HASHES[self.algorithm[2:]]))
                case _:
                    return False
        except InvalidSignature:
            return False
        return True


def check(envelope: Envelope) -> Envelope:
    """Return an envelope whose certificates can be read and whose scheme is known.

    Raises:
        FleetError: MALFORMED `EVIDENCE_MALFORMED`, `CERTIFICATE_MALFORMED`.
    """
    if not 1 <= len(envelope.certificates) <= MAX_CERTIFICATES:
        raise READER.fail(f"it has no certificate, or more than {MAX_CERTIFICATES}")
    if envelope.scheme not in {X509, SIGNING_AUTHORITY}:
        raise READER.fail("its signing scheme is unknown")
    for one in envelope.certificates:
        load_certificate(one)
    _ = envelope.target
    return envelope


def in_utc(moment: datetime) -> datetime:
    """Return a time of an envelope in UTC.

    Raises:
        FleetError: MALFORMED `EVIDENCE_MALFORMED` where it has no zone, or is none there.
    """
    if moment.tzinfo is None:
        raise READER.fail("a time has no zone")
    try:
        return moment.astimezone(UTC)
    except OverflowError as error:
        raise READER.fail("a time is none in UTC") from error
