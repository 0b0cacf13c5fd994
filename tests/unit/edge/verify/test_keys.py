from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edge.domain.verify import ed25519ph
from edge.domain.verify.keys import load_key
from fleet.errors import FleetError

MESSAGE = b"what is signed"
# RFC 8032, section 7.3: Ed25519ph of "abc".
RFC_KEY = bytes.fromhex("ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf")
RFC_SIGNATURE = bytes.fromhex(
    "98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae41"
    "31f85042463c2a355a2003d062adf5aaa10b8c61e636062aaad11c2a26083406"
)


def _encoded(key: PublicKeyTypes, encoding: Encoding = Encoding.PEM) -> bytes:
    return key.public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("encoding", [Encoding.PEM, Encoding.DER])
@pytest.mark.parametrize(
    ("curve", "algorithm"),
    [
        (ec.SECP256R1(), hashes.SHA256()),
        (ec.SECP384R1(), hashes.SHA384()),
        (ec.SECP384R1(), hashes.SHA256()),
        (ec.SECP521R1(), hashes.SHA512()),
        (ec.SECP521R1(), hashes.SHA256()),
    ],
)
def test_an_ecdsa_key_verifies_with_its_hash(
    curve: ec.EllipticCurve, algorithm: hashes.HashAlgorithm, encoding: Encoding
) -> None:
    key = ec.generate_private_key(curve)
    verifies = load_key(_encoded(key.public_key(), encoding))
    signature = key.sign(MESSAGE, ec.ECDSA(algorithm))
    assert verifies(signature, MESSAGE)
    assert not verifies(signature, MESSAGE + b".")
    assert not verifies(b"", MESSAGE)


def test_an_rsa_key_verifies_pkcs1_with_sha256_and_nothing_else() -> None:
    key = rsa.generate_private_key(65537, 2048)
    verifies = load_key(_encoded(key.public_key()))
    assert verifies(key.sign(MESSAGE, padding.PKCS1v15(), hashes.SHA256()), MESSAGE)
    assert not verifies(key.sign(MESSAGE, padding.PKCS1v15(), hashes.SHA1()), MESSAGE)
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    assert not verifies(key.sign(MESSAGE, pss, hashes.SHA256()), MESSAGE)


def test_an_ed25519_key_verifies_pure_signatures() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    verifies = load_key(_encoded(key.public_key()))
    assert verifies(key.sign(MESSAGE), MESSAGE)
    assert not verifies(key.sign(MESSAGE), MESSAGE + b".")


def test_an_ed25519_key_verifies_pre_hashed_signatures() -> None:
    verifies = load_key(_encoded(ed25519.Ed25519PublicKey.from_public_bytes(RFC_KEY)))
    assert verifies(RFC_SIGNATURE, b"abc")
    assert not verifies(RFC_SIGNATURE, b"abd")


def test_a_pure_signature_over_the_hash_is_no_pre_hashed_one() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    signature = key.sign(hashlib.sha512(MESSAGE).digest())
    assert not load_key(_encoded(key.public_key()))(signature, MESSAGE)


@pytest.mark.parametrize("position", range(0, 64, 7))
def test_a_pre_hashed_signature_changed_anywhere_is_refused(position: int) -> None:
    changed = bytearray(RFC_SIGNATURE)
    changed[position] ^= 1
    assert not ed25519ph.verifies(RFC_KEY, bytes(changed), b"abc")


def test_a_pre_hashed_signature_has_one_spelling() -> None:
    order = 2**252 + 27742317777372353535851937790883648493
    again = int.from_bytes(RFC_SIGNATURE[32:], "little") + order
    assert not ed25519ph.verifies(RFC_KEY, RFC_SIGNATURE[:32] + again.to_bytes(32, "little"), b"abc")


@pytest.mark.parametrize("key", [b"", bytes(31), b"\xff" * 32, (2).to_bytes(32, "little")])
def test_what_is_no_point_of_the_curve_verifies_nothing(key: bytes) -> None:
    assert not ed25519ph.verifies(key, RFC_SIGNATURE, b"abc")


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256K1()).public_key(),
        rsa.generate_private_key(65537, 1024).public_key(),
        dsa.generate_private_key(2048).public_key(),
    ],
    ids=["secp256k1", "rsa-1024", "dsa"],
)
def test_a_key_that_cosign_would_not_make_is_refused(key: PublicKeyTypes) -> None:
    with pytest.raises(FleetError, match="KEY_UNSUPPORTED"):
        load_key(_encoded(key))


@pytest.mark.parametrize("encoded", [b"", b"-----BEGIN PUBLIC KEY-----\n", b"\x30\x00", b"x" * 20_000])
def test_what_is_no_key_is_refused(encoded: bytes) -> None:
    with pytest.raises(FleetError, match="KEY_MALFORMED"):
        load_key(encoded)
