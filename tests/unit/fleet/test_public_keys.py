"""Keys by the one name that blocks, signatures and reports use."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fleet.errors import FleetError
from fleet.public_keys import MAX_KEY_BYTES, key_id, read_signing_key

SPKI = PublicFormat.SubjectPublicKeyInfo


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()])
def test_a_key_has_the_same_name_in_pem_and_der(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> None:
    public = key.public_key()
    der = public.public_bytes(Encoding.DER, SPKI)
    assert key_id(der) == key_id(public.public_bytes(Encoding.PEM, SPKI)) == hashlib.sha256(der).hexdigest()
    assert read_signing_key(der).public_bytes(Encoding.DER, SPKI) == der


@pytest.mark.parametrize("content", [b"", b"no", b"-----BEGIN PUBLIC KEY-----", b"0" * (MAX_KEY_BYTES + 1)])
def test_what_is_no_key_has_no_name(content: bytes) -> None:
    with pytest.raises(FleetError) as raised:
        key_id(content)
    assert raised.value.reason == "KEY_MALFORMED"
