from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store

from certs.ca import BACKDATE, ROOT_LIFE, CertificateAuthority, make_root
from certs.request import new_key_request
from fleet.errors import FleetError, Kind
from fleet.svid import read_leaf

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
SATELLITE = "spiffe://fleet.test/satellite/region/north/kiosk-1"


@pytest.fixture
def authority() -> CertificateAuthority:
    return CertificateAuthority(make_root("fleet.test", at=AT - timedelta(days=1)))


def refusal(
    authority: CertificateAuthority,
    csr: bytes,
    *,
    spiffe_id: str = SATELLITE,
    ttl: timedelta = HOUR,
    dns_names: tuple[str, ...] = (),
) -> FleetError:
    with pytest.raises(FleetError) as refused:
        authority.issue(csr, spiffe_id, ttl, at=AT, dns_names=dns_names)
    return refused.value


def csr_of(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier("spiffe://fleet.test/gc/main")])
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "root")]))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, algorithm)
    )
    return request.public_bytes(serialization.Encoding.DER)


def test_a_chain_verifies_from_the_root_alone(authority: CertificateAuthority) -> None:
    leaf, intermediate = authority.issue(new_key_request().csr, SATELLITE, HOUR, at=AT)
    store = Store([x509.load_der_x509_certificate(root) for root in authority.bundle])
    verifier = PolicyBuilder().store(store).time(AT).build_client_verifier()
    verified = verifier.verify(x509.load_der_x509_certificate(leaf), [x509.load_der_x509_certificate(intermediate)])
    assert verified.subjects == [x509.UniformResourceIdentifier(SATELLITE)]


def test_a_leaf_is_what_the_specification_asks(authority: CertificateAuthority) -> None:
    chain = authority.issue(new_key_request().csr, SATELLITE, HOUR, at=AT, dns_names=("gc.fleet.test",))
    leaf = x509.load_der_x509_certificate(chain[0])
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    usage = leaf.extensions.get_extension_for_class(x509.KeyUsage)
    constraints = leaf.extensions.get_extension_for_class(x509.BasicConstraints)
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [SATELLITE]
    assert names.get_values_for_type(x509.DNSName) == ["gc.fleet.test"]
    assert usage.critical
    assert usage.value.digital_signature
    assert not usage.value.key_cert_sign
    assert constraints.critical
    assert not constraints.value.ca
    assert set(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == {
        ExtendedKeyUsageOID.SERVER_AUTH,
        ExtendedKeyUsageOID.CLIENT_AUTH,
    }


def test_only_the_key_of_a_request_counts(authority: CertificateAuthority) -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    chain = authority.issue(csr_of(key), SATELLITE, HOUR, at=AT)
    leaf = x509.load_der_x509_certificate(chain[0])
    assert read_leaf(chain[0]).spiffe_id == SATELLITE
    assert leaf.public_key() == key.public_key()
    assert "root" not in leaf.subject.rfc4514_string()


def test_a_life_of_seconds_is_kept(authority: CertificateAuthority) -> None:
    leaf = read_leaf(authority.issue(new_key_request().csr, SATELLITE, timedelta(seconds=3), at=AT)[0])
    assert leaf.not_after == AT + timedelta(seconds=3)
    assert leaf.not_before == AT - BACKDATE


def test_intermediates_change_at_half_life_and_the_bundle_does_not(authority: CertificateAuthority) -> None:
    before = authority.bundle
    first = authority.issue(new_key_request().csr, SATELLITE, HOUR, at=AT)
    same = authority.issue(new_key_request().csr, SATELLITE, HOUR, at=AT + timedelta(hours=11))
    second = authority.issue(new_key_request().csr, SATELLITE, HOUR, at=AT + timedelta(hours=12))
    assert first[1] == same[1] != second[1]
    assert read_leaf(first[0]).issuer_key_id != read_leaf(second[0]).issuer_key_id
    assert authority.bundle == before


def test_a_clock_set_back_gets_an_intermediate_that_is_valid_then(authority: CertificateAuthority) -> None:
    first = authority.issue(new_key_request().csr, SATELLITE, HOUR, at=AT)
    earlier = authority.issue(new_key_request().csr, SATELLITE, HOUR, at=AT - timedelta(hours=3))
    assert earlier[1] != first[1]
    assert x509.load_der_x509_certificate(earlier[1]).not_valid_before_utc < AT - timedelta(hours=3)


def test_no_leaf_outlives_its_intermediate() -> None:
    authority = CertificateAuthority(make_root("fleet.test", at=AT), intermediate_life=timedelta(seconds=10))
    chain = authority.issue(new_key_request().csr, SATELLITE, HOUR, at=AT)
    end = x509.load_der_x509_certificate(chain[1]).not_valid_after_utc
    assert read_leaf(chain[0]).not_after == end == AT + timedelta(seconds=10)


def test_the_root_lives_ten_years_and_names_its_trust_domain() -> None:
    root = make_root("fleet.test", at=AT).certificate
    names = root.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert root.not_valid_after_utc == AT + ROOT_LIFE
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://fleet.test"]


def test_a_request_signed_by_another_key_is_refused(authority: CertificateAuthority) -> None:
    csr = bytearray(new_key_request().csr)
    csr[-1] ^= 1
    assert refusal(authority, bytes(csr)).reason in {"CSR_SIGNATURE", "CSR_MALFORMED"}


@pytest.mark.parametrize("csr", [b"", b"\x30\x00", b"x" * 9000, new_key_request().csr[:-1]])
def test_other_bytes_are_no_request(authority: CertificateAuthority, csr: bytes) -> None:
    error = refusal(authority, csr)
    assert (error.kind, error.reason) == (Kind.MALFORMED, "CSR_MALFORMED")


def test_weak_and_unknown_keys_are_refused(authority: CertificateAuthority) -> None:
    weak = rsa.generate_private_key(65537, 1024)
    for key in (weak, ed25519.Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256K1())):
        assert refusal(authority, csr_of(key)).reason == "CSR_KEY"


@pytest.mark.parametrize("ttl", [timedelta(0), timedelta(seconds=-1), timedelta(hours=1, seconds=1)])
def test_a_life_out_of_range_is_refused(authority: CertificateAuthority, ttl: timedelta) -> None:
    assert refusal(authority, new_key_request().csr, ttl=ttl).reason == "SVID_LIFE"


def test_foreign_and_malformed_ids_are_refused(authority: CertificateAuthority) -> None:
    csr = new_key_request().csr
    foreign = "spiffe://other.test/gc/main"
    assert refusal(authority, csr, spiffe_id=foreign).reason == "FOREIGN_TRUST_DOMAIN"
    assert refusal(authority, csr, spiffe_id="spiffe://fleet.test/anything").reason == "SPIFFE_ID_MALFORMED"


@pytest.mark.parametrize("name", ["", "*", "a..b", "UPPER", "a b", "a/b", "-a"])
def test_names_that_are_no_dns_names_are_refused(authority: CertificateAuthority, name: str) -> None:
    assert refusal(authority, new_key_request().csr, dns_names=(name,)).reason == "DNS_NAME"
