from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from certs.device_key import FileDeviceKey
from certs.proof import CHALLENGE_LIFE, bootstrap_claim, issue_challenge, renew_claim
from certs.registrar import Issued, Proof, Registrar
from certs.request import KeyRequest, new_key_request
from fleet.errors import FleetError, Kind
from fleet.svid import read_leaf
from tests.rig.identity import SATELLITE, Realm, utc_now
from tests.rig.joining import CHALLENGE_SECRET, MemoryStore, RealmSigner

AT = utc_now().replace(microsecond=0)
REALM = Realm()


@dataclass
class Joiner:
    """Someone with a device key and a request."""

    key: FileDeviceKey = field(default_factory=lambda: FileDeviceKey(ec.generate_private_key(ec.SECP256R1())))
    request: KeyRequest = field(default_factory=new_key_request)

    def proof(self, token_id: str | None = None) -> Proof:
        challenge, _ = issue_challenge(CHALLENGE_SECRET, AT)
        csr = self.request.csr
        claim = renew_claim(challenge, csr) if token_id is None else bootstrap_claim(challenge, csr, token_id)
        return Proof(csr, self.key.public_der, challenge, self.key.sign(claim))


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def registrar(store: MemoryStore) -> Registrar:
    return Registrar(
        tokens=store,
        devices=store,
        signer=RealmSigner(REALM, lambda: AT),
        challenge_secret=CHALLENGE_SECRET,
        svid_life=timedelta(minutes=5),
    )


async def refusal(decision: Awaitable[Issued]) -> FleetError:
    with pytest.raises(FleetError) as refused:
        await decision
    return refused.value


async def test_a_token_buys_the_identity_it_is_bound_to(store: MemoryStore, registrar: Registrar) -> None:
    joiner, (token_id, secret) = Joiner(), store.mint()
    issued = await registrar.bootstrap(token_id, secret, joiner.proof(token_id), at=AT)
    leaf = read_leaf(issued.svid.chain[0])
    certificate = x509.load_der_x509_certificate(issued.svid.chain[0])
    assert issued.spiffe_id == leaf.spiffe_id == SATELLITE
    assert leaf.not_after == AT + timedelta(minutes=5)
    assert issued.svid.bundle == REALM.bundle
    assert certificate.public_key() == x509.load_der_x509_csr(joiner.request.csr).public_key()


async def test_a_lost_reply_is_given_again_with_a_fresh_certificate(store: MemoryStore, registrar: Registrar) -> None:
    joiner, (token_id, secret) = Joiner(), store.mint()
    first = await registrar.bootstrap(token_id, secret, joiner.proof(token_id), at=AT)
    again = await registrar.bootstrap(token_id, secret, joiner.proof(token_id), at=AT)
    assert again.svid.chain[0] != first.svid.chain[0]
    assert store.misuses == []


async def test_a_used_token_is_refused_to_any_other_key_and_reported(store: MemoryStore, registrar: Registrar) -> None:
    joiner, (token_id, secret) = Joiner(), store.mint()
    await registrar.bootstrap(token_id, secret, joiner.proof(token_id), at=AT)
    for thief in (Joiner(), Joiner(request=joiner.request)):
        error = await refusal(registrar.bootstrap(token_id, secret, thief.proof(token_id), at=AT))
        assert (error.kind, error.reason) == (Kind.REFUSED, "TOKEN_USED")
    assert store.misuses == [token_id] * 2


async def test_the_same_device_with_a_new_key_to_certify_is_refused_but_no_thief(
    store: MemoryStore, registrar: Registrar
) -> None:
    joiner, (token_id, secret) = Joiner(), store.mint()
    await registrar.bootstrap(token_id, secret, joiner.proof(token_id), at=AT)
    again = Joiner(key=joiner.key).proof(token_id)
    assert (await refusal(registrar.bootstrap(token_id, secret, again, at=AT))).reason == "TOKEN_USED"
    assert store.misuses == []


async def test_unknown_tokens_and_wrong_secrets_look_alike(store: MemoryStore, registrar: Registrar) -> None:
    joiner, (token_id, secret) = Joiner(), store.mint()
    wrong = await refusal(registrar.bootstrap(token_id, bytes(32), joiner.proof(token_id), at=AT))
    unknown = await refusal(registrar.bootstrap("none", secret, joiner.proof("none"), at=AT))
    assert wrong.reason == unknown.reason == "TOKEN_INVALID"
    assert wrong.public == unknown.public
    assert store.tokens[token_id].used_by is None


async def test_an_expired_token_is_refused_even_to_its_user(store: MemoryStore, registrar: Registrar) -> None:
    joiner, (token_id, secret) = Joiner(), store.mint(at=AT - timedelta(minutes=59))
    await registrar.bootstrap(token_id, secret, joiner.proof(token_id), at=AT)
    late = AT + timedelta(minutes=1)
    error = await refusal(registrar.bootstrap(token_id, secret, joiner.proof(token_id), at=late))
    assert error.reason == "TOKEN_EXPIRED"


async def test_a_device_renews_after_any_absence(store: MemoryStore, registrar: Registrar) -> None:
    joiner, (token_id, secret) = Joiner(), store.mint()
    await registrar.bootstrap(token_id, secret, joiner.proof(token_id), at=AT)
    issued = await registrar.renew(Joiner(key=joiner.key).proof(), at=AT)
    assert issued.spiffe_id == SATELLITE


async def test_an_unknown_device_renews_nothing(registrar: Registrar) -> None:
    error = await refusal(registrar.renew(Joiner().proof(), at=AT))
    assert (error.kind, error.reason) == (Kind.REFUSED, "DEVICE_UNKNOWN")


async def test_a_revoked_identity_neither_renews_nor_joins(store: MemoryStore, registrar: Registrar) -> None:
    joiner, (token_id, secret) = Joiner(), store.mint()
    await registrar.bootstrap(token_id, secret, joiner.proof(token_id), at=AT)
    store.revoked.add(SATELLITE)
    second, (other_id, other_secret) = Joiner(), store.mint()
    refusals = [
        await refusal(registrar.renew(joiner.proof(), at=AT)),
        await refusal(registrar.bootstrap(token_id, secret, joiner.proof(token_id), at=AT)),
        await refusal(registrar.bootstrap(other_id, other_secret, second.proof(other_id), at=AT)),
    ]
    assert {(error.kind, error.reason) for error in refusals} == {(Kind.REFUSED, "REVOKED")}


async def test_a_new_token_replaces_the_device(store: MemoryStore, registrar: Registrar) -> None:
    old, (token_id, secret) = Joiner(), store.mint()
    await registrar.bootstrap(token_id, secret, old.proof(token_id), at=AT)
    new, (other_id, other_secret) = Joiner(), store.mint()
    await registrar.bootstrap(other_id, other_secret, new.proof(other_id), at=AT)
    assert (await refusal(registrar.renew(old.proof(), at=AT))).reason == "DEVICE_UNKNOWN"
    again = registrar.bootstrap(token_id, secret, old.proof(token_id), at=AT)
    assert (await refusal(again)).reason == "TOKEN_USED"
    await registrar.renew(new.proof(), at=AT)


async def test_a_proof_counts_for_one_call_one_request_and_two_minutes(
    store: MemoryStore, registrar: Registrar
) -> None:
    joiner, (token_id, secret) = Joiner(), store.mint()
    proof = joiner.proof(token_id)
    other_csr = replace(proof, csr=new_key_request().csr)
    forged = replace(proof, challenge=bytes(56))
    late = AT + CHALLENGE_LIFE
    assert (await refusal(registrar.bootstrap(token_id, secret, other_csr, at=AT))).reason == "PROOF_INVALID"
    assert (await refusal(registrar.renew(proof, at=AT))).reason == "PROOF_INVALID"
    assert (await refusal(registrar.bootstrap(token_id, secret, forged, at=AT))).reason == "CHALLENGE_INVALID"
    assert (await refusal(registrar.bootstrap(token_id, secret, proof, at=late))).reason == "CHALLENGE_EXPIRED"
    assert store.tokens[token_id].used_by is None


async def test_a_request_without_proof_of_its_key_binds_no_token(store: MemoryStore, registrar: Registrar) -> None:
    joiner, (token_id, secret) = Joiner(), store.mint()
    joiner.request = KeyRequest(csr=b"junk", key=b"")
    error = await refusal(registrar.bootstrap(token_id, secret, joiner.proof(token_id), at=AT))
    assert error.reason == "CSR_MALFORMED"
    assert store.tokens[token_id].used_by is None
