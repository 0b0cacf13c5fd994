"""What trust material must be before a policy may rely on it: readable, and of use to somebody.

Source: sigstore protobuf-specs, `sigstore_trustroot.proto` (TrustedRoot in its JSON form); RFC 5280 for certificates
and revocation lists.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from fleet.errors import FleetError, malformed
from fleet.policy import Authority, CertificateChain, Keyless, LogEvidence, Notation, NotationLevel, TrustRootSpec
from fleet.public_keys import read_key

_FAMILY = "application/vnd.dev.sigstore.trustedroot"
MEDIA_TYPES = frozenset(
    f"{_FAMILY}{form}" for version in ("0.1", "0.2") for form in (f"+json;version={version}", f".v{version}+json")
)
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
        x509.load_pem_x509_certificates(pem.encode())
    except ValueError as error:
        text = "an authority's certificates are PEM, and begin with -----BEGIN CERTIFICATE-----"
        raise malformed("CA_MALFORMED", text) from error
    return pem


def check_revocation_list(der: bytes) -> bytes:
    """Return a revocation list; `CRL_MALFORMED`."""
    try:
        x509.load_der_x509_crl(der)
    except ValueError as error:
        text = "a revocation list is DER (RFC 5280): `openssl crl -outform der` makes it of PEM"
        raise malformed("CRL_MALFORMED", text) from error
    return der


def check_trusted_root(raw: bytes) -> Mapping[str, Any]:
    """Read a `trusted_root.json`; every certificate and key in it can be read, too.

    Raises:
        FleetError: MALFORMED `TRUSTED_ROOT_MALFORMED`.
    """
    try:
        root = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise _malformed("it is not JSON") from error
    if not isinstance(root, dict):
        raise _malformed("it is not a JSON object")
    if root.get("mediaType") not in MEDIA_TYPES:
        raise _malformed("its mediaType is not that of a trusted root v0.1 or v0.2", str(root.get("mediaType"))[:80])
    for field in _AUTHORITIES:
        for one in _objects(root, field):
            _check_chain(one)
    for field in _LOGS:
        for one in _objects(root, field):
            _check_bytes(one.get("publicKey"), read_key, "a log's public key")
    if not any(root.get(field) for field in (*_AUTHORITIES, *_LOGS)):
        raise _malformed("there is no authority and no log in it")
    return root


def _malformed(what: str, subject: str = "") -> FleetError:
    text = f"this is no trusted_root.json: {what} (`cosign trusted-root create` makes one)"
    return malformed("TRUSTED_ROOT_MALFORMED", text, subject=subject)


def _objects(holder: Mapping[str, Any], field: str) -> Sequence[Mapping[str, Any]]:
    found = holder.get(field) or []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise _malformed(f"{field} is not a list of objects")
    return found


def _check_chain(authority: Mapping[str, Any]) -> None:
    chain = authority.get("certChain")
    certificates = _objects(chain, "certificates") if isinstance(chain, dict) else ()
    if not certificates:
        raise _malformed("an authority has no certificate")
    for one in certificates:
        _check_bytes(one, x509.load_der_x509_certificate, "an authority's certificate")


def _check_bytes(holder: object, read: Callable[[bytes], object], what: str) -> None:
    encoded = holder.get("rawBytes") if isinstance(holder, dict) else None
    try:
        read(base64.b64decode(encoded or "", validate=True))
    except (ValueError, TypeError, binascii.Error, FleetError, UnsupportedAlgorithm) as error:
        raise _malformed(f"{what} cannot be read") from error


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
    if asked.observed_times and not (stamps or root.get("tlogs")):
        raise _lacks(authority, "a timestamp authority or a transparency log")


def _lacks(authority: Authority, what: str) -> FleetError:
    text = f"the trust root lacks what an authority asks for: {what}; add it, or ask for less by log_evidence"
    return malformed("TRUST_ROOT_LACKS", text, subject=authority.name)
