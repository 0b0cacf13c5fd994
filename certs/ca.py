"""The certificate authority of one trust domain: a long-lived root, rotating intermediates, short SVIDs.

The root signs intermediates only. Bundles hold roots only, so an intermediate rotates without anyone
noticing. Intermediates live in memory: a restart makes a new one.

Source: SPIFFE X509-SVID specification, sections 2 to 4; RFC 5280, section 4.2.1.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fleet.errors import FleetError, Kind, malformed
from fleet.identity import parse_id

ROOT_LIFE = timedelta(days=3650)
MAX_SVID_LIFE = timedelta(hours=1)
MAX_CSR_BYTES = 8 * 1024
BACKDATE = timedelta(seconds=30)
"""How far a peer's clock may lag behind ours and still accept a certificate made just now."""

_SECOND = timedelta(seconds=1)
_MIN_RSA_BITS, _MAX_RSA_BITS = 2048, 8192
_DNS_NAME = re.compile(r"(?:\*\.)?[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*\Z")
_MAX_DNS_NAMES = 16


@dataclass(frozen=True, slots=True)
class Root:
    """The trust domain's anchor: its certificate and the key that signs intermediates."""

    trust_domain: str
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Intermediate:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)
    fresh_from: datetime
    fresh_until: datetime


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _authority_name(role: str, key: ec.EllipticCurvePublicKey) -> x509.Name:
    # Two authorities of one name confuse chain builders: a piece of the key's identifier keeps them apart.
    piece = x509.SubjectKeyIdentifier.from_public_key(key).digest.hex()[:16]
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Harbor Satellite"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{role} {piece}"),
        ]
    )


def _authority_builder(
    trust_domain: str, name: x509.Name, key: ec.EllipticCurvePublicKey, *, path_length: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder(subject_name=name, public_key=key)
        .serial_number(x509.random_serial_number())
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(_names([f"spiffe://{trust_domain}"], ()), critical=False)
    )


def _names(uris: list[str], dns_names: tuple[str, ...]) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([*map(x509.UniformResourceIdentifier, uris), *map(x509.DNSName, dns_names)])


def make_root(trust_domain: str, *, at: datetime, life: timedelta = ROOT_LIFE) -> Root:
    """Make a trust domain's root: `name → key and self-signed certificate`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _authority_name("root", key.public_key())
    certificate = (
        _authority_builder(trust_domain, name, key.public_key(), path_length=1)
        .issuer_name(name)
        .not_valid_before(at - BACKDATE)
        .not_valid_after(at + life)
        .sign(key, hashes.SHA256())
    )
    return Root(trust_domain, certificate, key)


def _check_key(key: object) -> None:
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, (ec.SECP256R1, ec.SECP384R1)):
        return
    if isinstance(key, rsa.RSAPublicKey) and _MIN_RSA_BITS <= key.key_size <= _MAX_RSA_BITS:
        return
    raise malformed("CSR_KEY", "a certificate request's key is ECDSA P-256, P-384 or RSA of 2048 to 8192 bits")


def read_csr(der: bytes) -> x509.CertificateSigningRequest:
    """Read a PKCS #10 request and check that its sender holds the key.

    Raises:
        FleetError: MALFORMED `CSR_MALFORMED`, `CSR_KEY` or `CSR_SIGNATURE`.
    """
    if len(der) > MAX_CSR_BYTES:
        raise malformed("CSR_MALFORMED", "a certificate request has at most 8 KiB")
    try:
        request = x509.load_der_x509_csr(der)
        key = request.public_key()
        _check_key(key)
        possessed = request.is_signature_valid
    except FleetError:
        raise
    except Exception as error:  # the parser's errors are of many kinds, all of them the sender's
        raise malformed("CSR_MALFORMED", "not a PKCS #10 certificate request", detail=repr(error)) from error
    if not possessed:
        raise malformed("CSR_SIGNATURE", "the certificate request is not signed by its own key")
    return request


class CertificateAuthority:
    """Issues X.509-SVIDs under intermediates that it replaces at half their life."""

    def __init__(self, root: Root, *, intermediate_life: timedelta = timedelta(hours=24)) -> None:
        self._root = root
        self._life = intermediate_life
        self._current: _Intermediate | None = None

    @property
    def trust_domain(self) -> str:
        """The trust domain that it answers for."""
        return self._root.trust_domain

    @property
    def bundle(self) -> tuple[bytes, ...]:
        """The trust domain's roots, DER: no intermediate is ever in it."""
        return (self._root.certificate.public_bytes(serialization.Encoding.DER),)

    def issue(
        self,
        csr_der: bytes,
        spiffe_id: str,
        ttl: timedelta,
        *,
        at: datetime,
        dns_names: tuple[str, ...] = (),
    ) -> tuple[bytes, bytes]:
        """Issue an SVID for the key of a request: `→ leaf and intermediate, DER`.

        Of the request only the key counts. The leaf ends after `ttl`, or sooner with its intermediate.

        Raises:
            FleetError: MALFORMED `CSR_*`, `SPIFFE_ID_MALFORMED`, `DNS_NAME`, `SVID_LIFE` unless 1 s ≤ ttl ≤ 1 h;
                REFUSED `FOREIGN_TRUST_DOMAIN`.
        """
        self._check(spiffe_id, ttl, dns_names)
        request = read_csr(csr_der)
        issuer = self._intermediate(at)
        leaf = self._leaf(request, spiffe_id, dns_names, issuer, at=at, ttl=ttl)
        encoding = serialization.Encoding.DER
        return leaf.public_bytes(encoding), issuer.certificate.public_bytes(encoding)

    def _check(self, spiffe_id: str, ttl: timedelta, dns_names: tuple[str, ...]) -> None:
        if parse_id(spiffe_id).trust_domain != self.trust_domain:
            raise FleetError(
                Kind.REFUSED,
                "FOREIGN_TRUST_DOMAIN",
                "this authority answers for another trust domain",
                subject=spiffe_id,
            )
        if not _SECOND <= ttl <= MAX_SVID_LIFE:
            raise malformed("SVID_LIFE", "an SVID lives from one second to one hour", subject=str(ttl))
        if len(dns_names) > _MAX_DNS_NAMES or not all(_DNS_NAME.match(name) for name in dns_names):
            raise malformed("DNS_NAME", "at most 16 DNS names, in lower case", subject=" ".join(dns_names)[:200])

    def _leaf(
        self,
        request: x509.CertificateSigningRequest,
        spiffe_id: str,
        dns_names: tuple[str, ...],
        issuer: _Intermediate,
        *,
        at: datetime,
        ttl: timedelta,
    ) -> x509.Certificate:
        usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Harbor Satellite")]))
            .issuer_name(issuer.certificate.subject)
            .public_key(request.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(at - BACKDATE)
            .not_valid_after(min(at + ttl, issuer.certificate.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(usages, critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(request.public_key()), critical=False)
            .add_extension(_issuer_key(issuer.certificate), critical=False)
            .add_extension(_names([spiffe_id], dns_names), critical=False)
            .sign(issuer.key, hashes.SHA256())
        )

    def _intermediate(self, at: datetime) -> _Intermediate:
        current = self._current
        if current is None or not current.fresh_from <= at < current.fresh_until:
            current = self._current = self._make_intermediate(at)
        return current

    def _make_intermediate(self, at: datetime) -> _Intermediate:
        key = ec.generate_private_key(ec.SECP256R1())
        name = _authority_name("intermediate", key.public_key())
        certificate = (
            _authority_builder(self.trust_domain, name, key.public_key(), path_length=0)
            .issuer_name(self._root.certificate.subject)
            .not_valid_before(at - BACKDATE)
            .not_valid_after(min(at + self._life, self._root.certificate.not_valid_after_utc))
            .add_extension(_issuer_key(self._root.certificate), critical=False)
            .sign(self._root.key, hashes.SHA256())
        )
        # Nor is it used before its time: after the clock was set back, its leaves would not be valid yet.
        return _Intermediate(certificate, key, fresh_from=at - BACKDATE, fresh_until=at + self._life / 2)


def _issuer_key(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)
