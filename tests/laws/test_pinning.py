"""The laws of pinned policy signers: whatever is sent, only what enough signers signed changes the rules."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from edge.domain.desired import Enforced, Good, enforce
from edge.domain.holding import HeldScope, Holding, Resource
from fleet.digests import resource_version
from fleet.resources import BLOCK, POLICY, SIGNER_SET, TRUST_ROOT
from fleet.signing import Signers, sign
from fleet.v1 import resource_pb2 as pb

ALICE, BOB, CAROL, MALLORY = range(4)
NAMES = ("base", "extra")


@cache
def key(who: int) -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.from_private_bytes(bytes([who + 1]) * 32)


def pem(who: int) -> str:
    return key(who).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


PINNED = Signers((pem(ALICE), pem(BOB), pem(CAROL)), 2)


def resource(kind: int, name: str, payload: pb.ResourcePayload, *by: int) -> Resource:
    raw = payload.SerializeToString(deterministic=True)
    version = resource_version(kind, raw)
    return Resource(kind, name, raw, version, tuple(sign(version, key(who)) for who in by))


def policy(
    serial: int,
    *by: int,
    name: str = "base",
    signed_name: str = "",
    scopes: tuple[str, ...] = ("fleet",),
    image: str = "**",
) -> Resource:
    payload = pb.ResourcePayload(
        if_unknown=pb.IF_UNKNOWN_HOLD,
        serial=serial,
        name=signed_name or name,
        scopes=scopes,
        policy=pb.PolicySpec(images=[image]),
    )
    return resource(POLICY, name, payload, *by)


def block(serial: int, *by: int, digests: tuple[str, ...]) -> Resource:
    payload = pb.ResourcePayload(serial=serial, name="bad", scopes=["fleet"], block=pb.BlockSpec(digests=digests))
    return resource(BLOCK, "bad", payload, *by)


def signer_set(serial: int, members: tuple[int, ...], threshold: int, *by: int) -> Resource:
    spec = pb.SignerSetSpec(public_keys_pem=map(pem, members), threshold=threshold)
    payload = pb.ResourcePayload(serial=serial, name=str(serial), scopes=["fleet"], signer_set=spec)
    return resource(SIGNER_SET, str(serial), payload, *by)


@dataclass
class Site:
    """A pinned site that is told one state after the other."""

    good: Good = field(default_factory=dict)

    def told(self, *held: Resource, scope: str = "fleet") -> Enforced:
        holding: Holding = {scope: HeldScope(b"", resources={one.key: one for one in held})} if held else {}
        enforced, self.good = enforce(holding, self.good, PINNED)
        return enforced


def images(enforced: Enforced) -> list[str]:
    return sorted(glob for one in enforced.rules.policies for glob in one.spec.images)


def problems(enforced: Enforced) -> set[str]:
    return {one.reason for one in enforced.problems}


def test_what_enough_signers_signed_is_in_force() -> None:
    enforced = Site().told(policy(1, ALICE, BOB, image="hub/**"))
    assert (images(enforced), problems(enforced)) == (["hub/**"], set())
    assert not enforced.are_held


@pytest.mark.parametrize(
    ("forged", "reason"),
    [
        (policy(2, image="evil"), "POLICY_UNSIGNED"),
        (policy(2, ALICE, image="evil"), "POLICY_UNSIGNED"),
        (policy(2, ALICE, ALICE, image="evil"), "POLICY_UNSIGNED"),
        (policy(2, ALICE, MALLORY, image="evil"), "POLICY_UNSIGNED"),
        (policy(0, ALICE, BOB, image="evil"), "POLICY_ROLLED_BACK"),
        (policy(1, ALICE, BOB, image="evil"), "POLICY_ROLLED_BACK"),
        (policy(2, ALICE, BOB, signed_name="staging", image="evil"), "POLICY_RENAMED"),
        (policy(2, ALICE, BOB, scopes=("group/lab",), image="evil"), "POLICY_MISPLACED"),
    ],
)
def test_a_forged_policy_is_refused_reported_and_changes_nothing(forged: Resource, reason: str) -> None:
    site = Site()
    site.told(policy(1, ALICE, BOB, image="hub/**"))
    for _ in range(2):
        enforced = site.told(forged)
        assert (images(enforced), problems(enforced)) == (["hub/**"], {reason})
    enforced = site.told(policy(3, BOB, CAROL, image="quay/**"))
    assert (images(enforced), problems(enforced)) == (["quay/**"], set())


def test_what_is_taken_away_stays_until_signers_take_it_back() -> None:
    site, digest = Site(), "sha256:" + "a" * 64
    site.told(policy(1, ALICE, BOB), block(1, ALICE, BOB, digests=(digest,)))
    for held in ((policy(1, ALICE, BOB),), (), (policy(1, ALICE, BOB), block(2, ALICE, digests=()))):
        enforced = site.told(*held)
        assert enforced.rules.blocks.digests == {digest}
        assert problems(enforced) <= {"POLICY_WITHHELD", "POLICY_UNSIGNED"}
        assert problems(enforced)
    enforced = site.told(policy(1, ALICE, BOB), block(2, ALICE, CAROL, digests=()))
    assert (enforced.rules.blocks.digests, problems(enforced)) == (frozenset(), set())


def test_signers_succeed_each_other_and_the_former_ones_no_longer_count() -> None:
    site = Site()
    first = signer_set(1, (BOB, CAROL, MALLORY), 2, ALICE, BOB, CAROL)
    assert images(Site().told(policy(1, ALICE, BOB, image="old"), first)) == [], "what never was in force is too late"
    site.told(policy(1, ALICE, BOB, image="old"))
    enforced = site.told(policy(1, ALICE, BOB, image="old"), first)
    assert (images(enforced), problems(enforced)) == (["old"], set()), "what was in force stays so"
    enforced = site.told(first, policy(2, ALICE, BOB, image="new"))
    assert (images(enforced), problems(enforced)) == (["old"], {"POLICY_UNSIGNED"})
    enforced = site.told(first, policy(2, CAROL, MALLORY, image="new"))
    assert (images(enforced), problems(enforced)) == (["new"], set())
    enforced = site.told(policy(3, ALICE, BOB, image="evil"))
    assert images(enforced) == ["new"], "a set that is withheld counts on"


@pytest.mark.parametrize(
    "forged",
    [
        signer_set(1, (MALLORY,), 1, MALLORY),
        signer_set(1, (MALLORY,), 1, ALICE, MALLORY),
        signer_set(1, (MALLORY, CAROL), 2, ALICE, BOB),
        signer_set(2, (MALLORY,), 1, ALICE, BOB, MALLORY),
        signer_set(1, (MALLORY,), 0, ALICE, BOB, MALLORY),
        signer_set(1, (MALLORY, MALLORY), 2, ALICE, BOB, MALLORY),
    ],
)
def test_a_signer_set_that_is_not_rightly_the_next_changes_nobody(forged: Resource) -> None:
    site = Site()
    enforced = site.told(forged, policy(1, MALLORY, image="evil"))
    assert images(enforced) == []
    assert images(site.told(forged, policy(1, ALICE, BOB, image="good"))) == ["good"]


def test_what_was_good_before_the_site_was_pinned_counts_only_if_it_was_signed() -> None:
    unsigned, signed = policy(7, image="before"), policy(2, ALICE, CAROL, name="extra", image="signed")
    holding: Holding = {"fleet": HeldScope(b"", resources={one.key: one for one in (unsigned, signed)})}
    _, good = enforce(holding, {})
    site = Site(good)
    assert images(site.told(unsigned, signed)) == ["signed"]
    assert images(site.told(policy(1, ALICE, BOB, image="first"), signed)) == ["first", "signed"]


resources_sent = st.builds(
    policy,
    st.integers(0, 4),
    st.sampled_from([ALICE, MALLORY]),
    st.sampled_from([ALICE, MALLORY]),
    name=st.sampled_from(NAMES),
    signed_name=st.sampled_from(["", *NAMES]),
    scopes=st.sampled_from([("fleet",), ("group/lab",)]),
    image=st.sampled_from(["x", "y"]),
) | st.builds(
    signer_set, st.integers(1, 2), st.just((MALLORY,)), st.just(1), st.sampled_from([ALICE, MALLORY]), st.just(MALLORY)
)


@given(st.lists(st.lists(resources_sent, max_size=3), max_size=5))
def test_no_sequence_without_enough_signatures_ever_changes_the_rules(sent: list[list[Resource]]) -> None:
    site = Site()
    before = site.told(
        policy(2, ALICE, BOB, image="hub/**"), block(2, ALICE, BOB, digests=("sha256:" + "a" * 64,))
    ).rules
    for held in sent:
        after = site.told(*held).rules
        assert after.policies == before.policies
        assert after.blocks == before.blocks
    assert TRUST_ROOT not in {kind for _, kind, _ in site.good}
