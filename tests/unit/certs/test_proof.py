from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from certs.proof import (
    CHALLENGE_LIFE,
    bootstrap_claim,
    check_challenge,
    check_device_signature,
    issue_challenge,
    renew_claim,
)
from fleet.errors import FleetError

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
SECRET = b"s" * 32


def refusal(challenge: bytes, *, secret: bytes = SECRET, at: datetime = AT) -> str:
    with pytest.raises(FleetError) as refused:
        check_challenge(secret, challenge, at)
    return refused.value.reason


def test_a_challenge_is_good_until_it_expires() -> None:
    challenge, expires_at = issue_challenge(SECRET, AT)
    assert expires_at == AT + CHALLENGE_LIFE
    check_challenge(SECRET, challenge, AT)
    check_challenge(SECRET, challenge, expires_at - timedelta(seconds=1))
    assert refusal(challenge, at=expires_at) == "CHALLENGE_EXPIRED"


def test_no_two_challenges_are_alike() -> None:
    assert issue_challenge(SECRET, AT) != issue_challenge(SECRET, AT)


def test_a_challenge_that_we_did_not_issue_is_refused() -> None:
    challenge, _ = issue_challenge(SECRET, AT)
    assert refusal(challenge, secret=b"t" * 32) == "CHALLENGE_INVALID"
    assert refusal(b"") == "CHALLENGE_INVALID"
    assert refusal(challenge[:-1]) == "CHALLENGE_INVALID"
    for at in range(len(challenge)):
        changed = bytearray(challenge)
        changed[at] ^= 1
        assert refusal(bytes(changed)) == "CHALLENGE_INVALID"


def test_claims_of_different_calls_never_coincide() -> None:
    assert bootstrap_claim(b"c", b"r", "") != renew_claim(b"c", b"r")
    assert bootstrap_claim(b"c", b"r", "t") != bootstrap_claim(b"c", b"rt", "")
    assert renew_claim(b"ab", b"c") != renew_claim(b"a", b"bc")


def test_a_claim_is_laid_out_as_the_contract_says() -> None:
    domain = b"fleet.v1.bootstrap"
    assert bootstrap_claim(b"CH", b"CSR", "tok") == (
        b"\x00\x00\x00\x12" + domain + b"\x00\x00\x00\x02CH\x00\x00\x00\x03CSR\x00\x00\x00\x03tok"
    )


@pytest.mark.parametrize("curve", [ec.SECP384R1(), None])
def test_other_kinds_of_keys_are_refused(curve: ec.EllipticCurve | None) -> None:
    der = b"junk"
    if curve:
        der = (
            ec.generate_private_key(curve)
            .public_key()
            .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
    with pytest.raises(FleetError) as refused:
        check_device_signature(der, b"claim", b"signature")
    assert refused.value.reason == "DEVICE_KEY_MALFORMED"
