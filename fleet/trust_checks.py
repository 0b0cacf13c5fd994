"""What trust material must be before a policy may rely on it: readable, and of use to somebody.

Source: sigstore protobuf-specs, `sigstore_trustroot.proto` (TrustedRoot in its JSON form); RFC 5280 for certificates
and revocation lists.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from fleet.documents import Fields, Reader
from fleet.errors import FleetError, malformed
from fleet.policy import Authority, CertificateChain, Keyless, LogEvidence, Notation, NotationLevel, TrustRootSpec
from fleet.public_keys import read_key

_FAMILY = "application/vnd.dev.sigstore.trustedroot"
MEDIA_TYPES = frozenset(
    f"{_FAMILY}{form}" for version in ("0.1", "0.2") for form in (f"+json;version={version}", f".v{version}+json")
)
MAX_CERTIFICATES = 16
"""In one PEM text."""
MAX_LISTED = 64
T = TypeVar("T")
_READER = Reader("TRUSTED_ROOT_MALFORMED", "trusted_root.json (`cosign trusted-root create` makes one)")
_AUTHORITIES = ("certificateAuthorities", "timestampAuthorities")
_LOGS = ("tlogs", "ctlogs")


def check_trust_root(spec: TrustRootSpec) -> TrustRootSpec:
    """Return trust material all of which can be read.

    Raises:
        FleetError: MALFORMED `TRUST_ROOT_EMPTY`, `TRUSTED_ROOT_MALFORMED`, `CA_MALFORMED`, `CRL_MALFORMED`.
    """
    pems = (*spec.ca_pem, *spec.signing_authority_pem, *spec.timestamp_authority_pem)
    if not (spec.trusted_root_json or pems):
        text = "a trust root without certificate, log or authority vouches for nobody: add a trusted_root.json or a CA"
        raise malformed("TRUST_ROOT_EMPTY", text)
    if spec.trusted_root_json:
        check_trusted_root(spec.trusted_root_json)
    for pem in pems:
        check_certificates(pem)
    for revoked in spec.revocation_lists:
        check_revocation_list(revoked)
    return spec


def check_certificates(pem: str) -> str:
    """Return PEM certificates, at least one; `CA_MALFORMED`."""
    try:
        found = x509.load_pem_x509_certificates(pem.encode())
        for one in found:
            _check_whole(one)
    except (ValueError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        text = "an authority's certificates are PEM, and begin with -----BEGIN CERTIFICATE-----"
        raise malformed("CA_MALFORMED", text) from error
    if len(found) > MAX_CERTIFICATES:
        raise malformed("CA_MALFORMED", "at most 16 certificates are in one text: divide it")
    return pem


def _check_whole(certificate: x509.Certificate) -> None:
    """Read what is otherwise read late, and may be damaged."""
    _ = certificate.extensions, certificate.public_key()


def _read_certificate(der: bytes) -> None:
    _check_whole(x509.load_der_x509_certificate(der))


def check_revocation_list(der: bytes) -> bytes:
    """Return a revocation list; `CRL_MALFORMED`."""
    try:
        x509.load_der_x509_crl(der)
    except ValueError as error:
        text = "a revocation list is DER (RFC 5280): `openssl crl -outform der` makes it of PEM"
        raise malformed("CRL_MALFORMED", text) from error
    return der


def check_trusted_root(raw: bytes) -> bytes:
    """Return a `trusted_root.json` all of whose certificates and keys can be read.

    Raises:
        FleetError: MALFORMED `TRUSTED_ROOT_MALFORMED`.
    """
    root = _READER.parse(raw)
    if _READER.text(root, "mediaType") not in MEDIA_TYPES:
        raise _READER.fail("its mediaType is not that of a trusted root v0.1 or v0.2")
    authorities = [one for field in _AUTHORITIES for one in _READER.objects(root, field, limit=MAX_LISTED)]
    logs = [one for field in _LOGS for one in _READER.objects(root, field, limit=MAX_LISTED)]
    if not (authorities or logs):
        raise _READER.fail("there is no authority and no log in it")
    for authority in authorities:
        _check_authority(authority)
    for log in logs:
        _check_log(log)
    return raw


def _check_authority(authority: Fields) -> None:
    chain = _READER.objects(_READER.fields(authority, "certChain"), "certificates", limit=MAX_LISTED)
    if not chain:
        raise _READER.fail("an authority has no certificate")
    for one in chain:
        _read(_read_certificate, _READER.base64(one, "rawBytes"), "an authority's certificate")
    _check_span(authority)


def _check_log(log: Fields) -> None:
    key = _READER.fields(log, "publicKey")
    _read(read_key, _READER.base64(key, "rawBytes"), "a log's public key")
    if not _READER.base64(_READER.fields(log, "logId"), "keyId"):
        raise _READER.fail("a log has no ID")
    _check_span(key)


def _check_span(holder: Fields) -> None:
    span = _READER.maybe_fields(holder, "validFor")
    for end in ("start", "end"):
        if text := _READER.text(span, end, default=""):
            _read(datetime.fromisoformat, text, f"{end} of validFor")


def _read(read: Callable[[T], object], value: T, what: str) -> None:
    try:
        read(value)
    except (ValueError, FleetError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        raise _READER.fail(f"{what} cannot be read") from error


def check_use(authority: Authority, spec: TrustRootSpec) -> None:
    """See that a trust root has what an authority asks of it, so that something could ever be verified.

    Raises:
        FleetError: MALFORMED `TRUST_ROOT_LACKS`, which names what is missing.
    """
    root = json.loads(spec.trusted_root_json) if spec.trusted_root_json else {}
    match authority.verifier:
        case Keyless() if not root.get("certificateAuthorities"):
            raise _lacks(authority, "Fulcio's certificate authority, in a trusted_root.json")
        case CertificateChain() if not spec.ca_pem:
            raise _lacks(authority, "a certificate authority (--ca)")
        case Notation(level=level) if level is not NotationLevel.SKIP:
            if not (spec.ca_pem or spec.signing_authority_pem):
                raise _lacks(authority, "a certificate authority (--ca) or signing authority (--signing-authority)")
    _check_evidence(authority, authority.asked_evidence, spec, root)


def _check_evidence(authority: Authority, asked: LogEvidence, spec: TrustRootSpec, root: Mapping[str, Any]) -> None:
    stamps = bool(root.get("timestampAuthorities") or spec.timestamp_authority_pem)
    if asked.log_entries and not root.get("tlogs"):
        raise _lacks(authority, "a transparency log (tlogs in a trusted_root.json)")
    if asked.certificate_timestamps and not root.get("ctlogs"):
        raise _lacks(authority, "a certificate log (ctlogs in a trusted_root.json)")
    if asked.timestamps and not stamps:
        raise _lacks(authority, "a timestamp authority")
    # The time of a short-lived certificate's use is proven in any case: it has expired since.
    proves = asked.observed_times or isinstance(authority.verifier, Keyless)
    if proves and not (stamps or root.get("tlogs")):
        raise _lacks(authority, "a timestamp authority or a transparency log")


def _lacks(authority: Authority, what: str) -> FleetError:
    text = f"the trust root lacks what an authority asks for: {what}; add it, or ask for less by log_evidence"
    return malformed("TRUST_ROOT_LACKS", text, subject=authority.name)
