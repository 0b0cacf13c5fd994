"""X.509-SVIDs as both programs see them: what a leaf says, and where the current ones come from.

Source: SPIFFE X509-SVID specification, sections 2 (one URI SAN), 4.1 (basic constraints) and 4.3 (key usage).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from cryptography import x509

from fleet.errors import FleetError, Kind


@dataclass(frozen=True, slots=True)
class Leaf:
    """What a verified leaf certificate says of its holder."""

    spiffe_id: str
    not_before: datetime
    not_after: datetime
    issuer_key_id: bytes
    """The authority key identifier: which intermediate signed it; empty where it is not said."""


@dataclass(frozen=True, slots=True)
class X509Material:
    """One identity, whole: everything that the Workload API hands to its holder."""

    spiffe_id: str
    chain: tuple[bytes, ...]
    """Certificates, DER: the leaf first, then intermediates, no root."""
    key: bytes = field(repr=False)
    """The leaf's private key: PKCS#8, DER, unencrypted; in memory only."""
    bundle: tuple[bytes, ...]
    """The trust domain's root certificates, DER."""


class SvidSource(Protocol):
    """Where a connection finds its own identity and the roots it trusts, as they are at this moment."""

    def svid(self) -> X509Material | None:
        """Our identity, or None where we present none (the bootstrap listener)."""

    def roots(self, trust_domain: str) -> tuple[bytes, ...]:
        """The root certificates of a trust domain, DER; empty where it is not trusted."""

    def subscribe(self, notify: Callable[[], None]) -> Callable[[], None]:
        """Call `notify` on the event loop after each change; the answer ends the subscription."""


@dataclass(frozen=True, slots=True)
class FixedRoots:
    """A source without an identity of its own: it trusts what a join string pinned."""

    trust_domain: str
    certificates: tuple[bytes, ...]

    def svid(self) -> X509Material | None:
        """Nothing: the bootstrap listener asks for no client certificate."""
        return None

    def roots(self, trust_domain: str) -> tuple[bytes, ...]:
        """The pinned roots, for the pinned trust domain alone."""
        return self.certificates if trust_domain == self.trust_domain else ()

    def subscribe(self, notify: Callable[[], None]) -> Callable[[], None]:  # noqa: ARG002 - it never changes
        """Nothing ever changes, so nothing is ever called."""
        return lambda: None


def _unidentified(reason: str, text: str, detail: str = "") -> FleetError:
    return FleetError(Kind.UNIDENTIFIED, reason, text, detail=detail)


def load_certificate(der: bytes) -> x509.Certificate:
    """Read one certificate.

    Raises:
        FleetError: UNIDENTIFIED `SVID_MALFORMED` for anything else.
    """
    try:
        return x509.load_der_x509_certificate(der)
    except Exception as error:  # the parser's errors and warnings are of many kinds, all of them the sender's
        raise _unidentified("SVID_MALFORMED", "not an X.509 certificate", repr(error)) from error


def read_leaf(der: bytes) -> Leaf:
    """Read what a leaf certificate says; its signature was the TLS stack's to check.

    Raises:
        FleetError: UNIDENTIFIED `SVID_URI_SAN` unless there is exactly one URI name; `SVID_USAGE` for an
            authority's certificate or a wrong key usage; `SVID_MALFORMED` for anything else.
    """
    certificate = load_certificate(der)
    try:
        extensions = certificate.extensions
        spiffe_id = _spiffe_id(extensions)
        _check_end_entity(extensions)
        return Leaf(
            spiffe_id=spiffe_id,
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            issuer_key_id=_issuer_key_id(extensions),
        )
    except FleetError:
        raise
    except Exception as error:  # the parser's errors are of many kinds, all of them the peer's
        raise _unidentified("SVID_MALFORMED", "the certificate cannot be read", repr(error)) from error


def _spiffe_id(extensions: x509.Extensions) -> str:
    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except x509.ExtensionNotFound:
        uris = []
    if len(uris) != 1:
        raise _unidentified("SVID_URI_SAN", "an X509-SVID has exactly one URI name", f"{len(uris)} found")
    return uris[0]


def _check_end_entity(extensions: x509.Extensions) -> None:
    try:
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound as error:
        raise _unidentified("SVID_USAGE", "an X509-SVID states its key usage") from error
    try:
        authority = extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        authority = False
    if authority or not usage.digital_signature or usage.key_cert_sign or usage.crl_sign:
        raise _unidentified("SVID_USAGE", "an X509-SVID's leaf signs handshakes and no certificates")


def _issuer_key_id(extensions: x509.Extensions) -> bytes:
    try:
        return extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier or b""
    except x509.ExtensionNotFound:
        return b""
