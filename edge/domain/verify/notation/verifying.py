"""A Notary Project signature against a trust policy: integrity, authenticity, timestamp, expiry, revocation.

What each level enforces and what it only reports: trust-store-trust-policy.md, "Signature Verification". Revocation is
judged by the lists in the trust root, for a site asks nobody: a certificate that names neither a list nor a responder
cannot be revoked, one that does needs a list that is current.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from cryptography import x509

from edge.domain.moment import Moment
from edge.domain.verify.by_certificate import anchors_of, revocation_lists
from edge.domain.verify.chains import Anchors, Path, find_path, load_certificate, public_key_of
from edge.domain.verify.claims import Claim, Vouch, Vouched
from edge.domain.verify.der import element, with_sorted_certificates
from edge.domain.verify.keys import key_id
from edge.domain.verify.notation.cose import read_cose
from edge.domain.verify.notation.envelope import SIGNING_AUTHORITY, Envelope
from edge.domain.verify.notation.jws import read_jws
from edge.domain.verify.sigstore.timestamps import timestamp_below
from fleet.policy import Notation, NotationLevel, SignatureFormat, TrustRootSpec

_LEVELS = {
    NotationLevel.STRICT: frozenset({"authenticity", "timestamp", "expiry", "revocation"}),
    NotationLevel.PERMISSIVE: frozenset({"authenticity"}),
    NotationLevel.AUDIT: frozenset[str](),
}
"""What is enforced, beside integrity, which always is."""
_SUBJECT = "x509.subject:"
_BETWEEN = re.compile(r"(?<!\\),\s+")
"""Notation's users write a space between attributes, which RFC 4514 does not know."""
_GRANTED = bytes.fromhex("3003020100")
"""PKIStatusInfo: granted."""


def vouch_notation(claim: Claim, by: Notation, trust: TrustRootSpec, moment: Moment) -> Vouched:
    """Say whether somebody whom the trust policy names signed, by its level."""
    envelope = read_cose(claim.signed) if claim.form is SignatureFormat.NOTATION_COSE else read_jws(claim.signed)
    if not envelope.is_intact():
        return "SIGNATURE_INVALID"
    failures = _Verification(envelope, by, trust, moment).failures()
    enforced = _LEVELS[by.level]
    for check, reason in failures:
        if check in enforced:
            return reason
    signer = load_certificate(envelope.certificates[0])
    warnings = tuple(reason for _, reason in failures)
    return (Vouch(key_id(public_key_of(envelope.certificates[0])), "", signer.subject.rfc4514_string(), warnings),)


@dataclass(frozen=True, slots=True)
class _Verification:
    envelope: Envelope
    by: Notation
    trust: TrustRootSpec
    moment: Moment

    def failures(self) -> list[tuple[str, str]]:
        """Say which checks fail, and why, in the order in which they are to be told."""
        at, untimed = self._signed_at()
        path = find_path(self._signer, self._anchors, at, must_say=False)
        # What was issued by somebody trusted and has run out is authentic, at a time that is not.
        found = [("authenticity", path)] if path == "CERTIFICATE_UNTRUSTED" else []
        if not self._is_named():
            found.append(("authenticity", "IDENTITY_OTHER"))
        if untimed:
            found.append(("timestamp", untimed))
        elif path == "CERTIFICATE_EXPIRED":
            found.append(("timestamp", path))
        if late := self._lateness():
            found.append(("expiry", late))
        if not isinstance(path, str) and (revoked := self._revocation(path)):
            found.append(("revocation", revoked))
        return found

    @property
    def _signer(self) -> x509.Certificate:
        return load_certificate(self.envelope.certificates[0])

    @property
    def _anchors(self) -> Anchors:
        pems = self.trust.signing_authority_pem if self._has_authority else self.trust.ca_pem
        return anchors_of(pems, (), self.envelope.certificates[1:])

    @property
    def _has_authority(self) -> bool:
        return self.envelope.scheme == SIGNING_AUTHORITY

    def _signed_at(self) -> tuple[datetime, str]:
        """Say at which time certificates must be valid: `→ time, why it proves nothing`."""
        if self._has_authority:
            return self.envelope.signing_time, ""
        if self.envelope.timestamp and self.trust.timestamp_authority_pem:
            proven = timestamped(self.envelope.timestamp, self.envelope.signature, self.trust.timestamp_authority_pem)
            return (proven, "") if proven else (self.moment.at, "TIMESTAMP_INVALID")
        return self.moment.at, "" if self.moment.is_known else "CLOCK_UNKNOWN"

    def _is_named(self) -> bool:
        subject = _attributes(self._signer.subject)
        return any(
            one == "*" or (one.startswith(_SUBJECT) and _is_part(one.removeprefix(_SUBJECT).strip(), subject))
            for one in self.by.trusted_identities
        )

    def _lateness(self) -> str:
        expiry = self.envelope.expiry
        if expiry is None:
            return ""
        if self.moment.at >= expiry:
            return "SIGNATURE_EXPIRED"
        return "" if self.moment.is_known else "CLOCK_UNKNOWN"

    def _revocation(self, path: Path) -> str:
        """Say what the lists know: of each certificate that could be revoked, by its issuer's current list."""
        lists = revocation_lists(self.trust.revocation_lists)
        reasons = [_revoked(one, issuer, lists, self.moment) for one, issuer in pairwise(path)]
        return max(reasons, key=("", "REVOCATION_UNKNOWN", "CERTIFICATE_REVOKED").index, default="")


def _revoked(
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    lists: Sequence[x509.CertificateRevocationList],
    moment: Moment,
) -> str:
    own = [one for one in lists if one.issuer == issuer.subject and _signed(one, issuer)]
    if any(one.get_revoked_certificate_by_serial_number(certificate.serial_number) for one in own):
        return "CERTIFICATE_REVOKED"
    is_current = any(one.next_update_utc is None or one.next_update_utc > moment.at for one in own)
    return "" if is_current or not _can_be_revoked(certificate) else "REVOCATION_UNKNOWN"


def _signed(revocations: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    try:
        return revocations.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]  # others raise TypeError
    except (TypeError, ValueError):
        return False


def _can_be_revoked(certificate: x509.Certificate) -> bool:
    for kind in (x509.CRLDistributionPoints, x509.AuthorityInformationAccess):
        try:
            certificate.extensions.get_extension_for_class(kind)
        except x509.ExtensionNotFound:
            continue
        return True
    return False


def _attributes(name: x509.Name) -> set[tuple[str, str]]:
    return {(one.oid.dotted_string, str(one.value)) for one in name}


def _is_part(text: str, subject: set[tuple[str, str]]) -> bool:
    """Say whether a subject has all attributes of a written name; one that cannot be read has none."""
    try:
        wanted = _attributes(x509.Name.from_rfc4514_string(_BETWEEN.sub(",", text)))
    except ValueError:
        return False
    return bool(wanted) and wanted <= subject


def timestamped(token: bytes, signature: bytes, authorities: Sequence[str]) -> datetime | None:
    """Say when a timestamp authority saw a signature; None where none that is trusted did."""
    try:
        response = element(0x30, _GRANTED + with_sorted_certificates(token))
    except ValueError:
        return None
    found = timestamp_below(response, signature, anchors_of(tuple(authorities), (), ()).roots)
    return found[1] if found else None
