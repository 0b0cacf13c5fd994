"""What a policy makes of evidence: thresholds, given answers, modes, fallbacks, expiry, blocks."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from edge.app.judge import judge, rejudge
from edge.domain.admission import Admission, Refused
from edge.domain.moment import Moment
from edge.domain.policy import Blocks, Policy, Rules, TrustRoot
from edge.domain.verify.keys import key_id
from fleet.policy import (
    Authority,
    CertificateChain,
    Keyless,
    KeySet,
    Mode,
    Notation,
    NotationLevel,
    RequiredAttestation,
    SignatureFormat,
    SignerIdentity,
    StaticVerdict,
    TextMatch,
    TrustRootSpec,
    WhenClockUnknown,
    WhenExpired,
)
from fleet.reference import Digest
from tests.rig.judging import judged, key_authority, policy, policy_of, reason, wanted
from tests.rig.repository import Repository
from tests.rig.signer import Signer, sign_v2, sign_v3
from tests.rig.upstream import MemoryUpstream

NOW = datetime(2026, 6, 1, tzinfo=UTC)
PAST, FUTURE = NOW - timedelta(days=1), NOW + timedelta(days=1)
PROVENANCE = "https://slsa.dev/provenance/v1"
ANY = TextMatch(".*", is_regexp=True)
FORMATS = tuple(SignatureFormat)


def at(image: Repository, *policies: Policy, moment: Moment | None = None, **rules: object) -> Admission | Refused:
    upstream = MemoryUpstream({"demo/app": image})
    return judge(wanted(image.tags["1.0"]), upstream, Rules(policies, **rules), moment or Moment(NOW))  # type: ignore[arg-type]


# Keys, m of n -------------------------------------------------------------------------------------------


def test_as_many_different_keys_must_have_signed_as_the_threshold_says(
    image: Repository, root: Digest, signer: Signer
) -> None:
    second, third = Signer(), Signer()
    two_of_three = policy_of(key_authority("board", signer.pem, second.pem, third.pem, threshold=2))
    sign_v3(image, root, signer)
    assert reason(judged(image, two_of_three)) == "THRESHOLD_NOT_MET"
    sign_v2(image, root, signer)  # the same key once more
    assert reason(judged(image, two_of_three)) == "THRESHOLD_NOT_MET"
    sign_v3(image, root, third)
    assert not reason(judged(image, two_of_three))


def test_one_key_that_is_listed_twice_is_one(image: Repository, root: Digest, signer: Signer) -> None:
    sign_v3(image, root, signer)
    assert reason(judged(image, policy_of(key_authority("twice", signer.pem, signer.pem + b"\n", threshold=2)))) == (
        "THRESHOLD_NOT_MET"
    )


def test_keys_of_two_authorities_do_not_add_up(image: Repository, root: Digest, signer: Signer) -> None:
    second, other = Signer(), Signer()
    sign_v3(image, root, signer)
    sign_v3(image, root, second)
    apart = policy_of(
        key_authority("a", signer.pem, other.pem, threshold=2), key_authority("b", second.pem, other.pem, threshold=2)
    )
    assert reason(judged(image, apart)) == "THRESHOLD_NOT_MET"


def test_a_threshold_beyond_the_keys_admits_nothing(image: Repository, root: Digest, signer: Signer) -> None:
    sign_v3(image, root, signer)
    assert reason(judged(image, policy_of(key_authority("too-many", signer.pem, threshold=2)))) == "THRESHOLD_NOT_MET"


# Given answers and what nobody can satisfy --------------------------------------------------------------


@pytest.mark.parametrize(("passes", "refused"), [(True, ""), (False, "STATIC_FAIL")])
def test_a_static_authority_answers_without_a_signature(image: Repository, *, passes: bool, refused: str) -> None:
    assert reason(judged(image, policy_of(Authority("given", StaticVerdict(passes))))) == refused


def test_a_static_refusal_leaves_the_other_authorities_theirs(image: Repository, root: Digest, signer: Signer) -> None:
    sign_v3(image, root, signer)
    either = policy_of(Authority("given", StaticVerdict(passes=False)), key_authority("here", signer.pem))
    assert not reason(judged(image, either))


def test_a_policy_that_passes_does_not_lift_another(image: Repository, root: Digest, signer: Signer) -> None:
    sign_v3(image, root, Signer())
    passes = policy_of(Authority("given", StaticVerdict(passes=True)))
    assert reason(judged(image, passes, policy(signer.pem))) == "SIGNATURE_INVALID"


@pytest.mark.parametrize(
    "verifier",
    [
        None,
        KeySet(()),
        Keyless(()),
        CertificateChain(()),
        Notation(()),
        Notation((), NotationLevel.AUDIT),
    ],
)
def test_an_authority_that_names_nobody_admits_nothing(
    image: Repository, root: Digest, signer: Signer, verifier: KeySet | None
) -> None:
    sign_v3(image, root, signer)
    assert reason(judged(image, policy_of(Authority("nobody", verifier, FORMATS)))) == "POLICY_EMPTY"


@pytest.mark.parametrize(
    "verifier",
    [Keyless((SignerIdentity(ANY, ANY),)), CertificateChain((ANY,)), Notation(("*",))],
)
def test_without_a_trust_root_no_certificate_counts(
    image: Repository, root: Digest, signer: Signer, verifier: Keyless
) -> None:
    sign_v3(image, root, signer)
    assert reason(judged(image, policy_of(Authority("certificates", verifier, FORMATS))))


# Modes and fallbacks ------------------------------------------------------------------------------------


def test_a_policy_that_warns_lets_pass_and_says_why(image: Repository, root: Digest, signer: Signer) -> None:
    sign_v3(image, root, Signer())
    verdict = judged(image, policy(signer.pem, mode=Mode.WARN))
    assert isinstance(verdict, Admission)
    assert [(one.policy, one.reason) for one in verdict.warnings] == [("signed", "SIGNATURE_INVALID")]
    assert verdict.evidence == (), "what did not verify does not come along"


def test_what_was_wrong_with_a_signature_is_said_again_where_only_what_counted_is_stored(
    image: Repository, root: Digest, signer: Signer
) -> None:
    sign_v3(image, root, Signer())
    warns = policy(signer.pem, mode=Mode.WARN)
    stored = judged(image, warns)
    assert isinstance(stored, Admission)
    again = rejudge(stored, Rules((warns,)), warned=stored.warnings)
    assert isinstance(again, Admission)
    assert again.warnings == stored.warnings
    other = replace(warns, name="another", version=b"another")
    of_another = rejudge(stored, Rules((other,)), warned=stored.warnings)
    assert isinstance(of_another, Admission)
    assert [one.reason for one in of_another.warnings] == ["UNSIGNED"], "it never said anything of a signature"


def test_an_expiry_that_has_passed_is_not_said_again(image: Repository, signer: Signer) -> None:
    warns = replace(policy(signer.pem, mode=Mode.WARN), expires_at=PAST)
    stored = at(image, warns)
    assert isinstance(stored, Admission)
    assert [one.reason for one in stored.warnings] == ["TRUST_EXPIRED"]
    renewed = rejudge(stored, Rules((replace(warns, expires_at=FUTURE),)), Moment(NOW), warned=stored.warnings)
    assert isinstance(renewed, Admission)
    assert [one.reason for one in renewed.warnings] == ["UNSIGNED"]


def test_one_that_enforces_is_not_softened_by_one_that_warns(image: Repository, root: Digest, signer: Signer) -> None:
    sign_v3(image, root, Signer())
    assert reason(judged(image, policy(signer.pem, mode=Mode.WARN), policy(signer.pem))) == "SIGNATURE_INVALID"


def test_what_is_blocked_is_refused_whatever_the_mode(image: Repository, root: Digest, signer: Signer) -> None:
    rules = Rules((policy(signer.pem, mode=Mode.WARN),), blocks=Blocks(frozenset({root})))
    assert reason(judged(image, rules=rules)) == "BLOCKED"


def test_a_fallback_counts_where_nothing_else_matches(image: Repository, root: Digest, signer: Signer) -> None:
    anyway = replace(policy_of(Authority("given", StaticVerdict(passes=True)), is_fallback=True), name="otherwise")
    assert not reason(judged(image, anyway))
    assert not reason(judged(image, anyway, policy(signer.pem, images="central/other/**")))
    assert reason(judged(image, anyway, policy(signer.pem))) == "UNSIGNED"


# Attestations -------------------------------------------------------------------------------------------


def attested(signer: Signer, *types: str, threshold: int = 1, others: tuple[bytes, ...] = ()) -> Policy:
    required = tuple(RequiredAttestation(f"r{number}", one) for number, one in enumerate(types))
    return policy_of(replace(key_authority("ci", signer.pem, *others, threshold=threshold), attestations=required))


def test_an_attestation_that_is_asked_for_must_be_there(image: Repository, root: Digest, signer: Signer) -> None:
    sign_v3(image, root, signer)
    assert reason(judged(image, attested(signer, PROVENANCE))) == "ATTESTATION_MISSING"
    sign_v3(image, root, signer, predicate=PROVENANCE)
    assert not reason(judged(image, attested(signer, PROVENANCE)))
    assert reason(judged(image, attested(signer, PROVENANCE, "https://spdx.dev/Document"))) == "ATTESTATION_MISSING"


def test_an_attestation_of_another_image_counts_for_nothing(image: Repository, root: Digest, signer: Signer) -> None:
    sign_v3(image, root, signer, predicate=PROVENANCE, digest="sha256:" + "e" * 64)
    assert reason(judged(image, attested(signer, PROVENANCE))) == "DIGEST_NOT_SIGNED"


def test_each_attestation_needs_its_own_threshold(image: Repository, root: Digest, signer: Signer) -> None:
    second = Signer()
    both = attested(signer, PROVENANCE, threshold=2, others=(second.pem,))
    sign_v3(image, root, signer, predicate=PROVENANCE)
    sign_v3(image, root, second)
    assert reason(judged(image, both)) == "THRESHOLD_NOT_MET"
    sign_v3(image, root, second, predicate=PROVENANCE)
    assert not reason(judged(image, both))


# Blocked signers ----------------------------------------------------------------------------------------


def test_a_blocked_signer_s_word_no_longer_counts(image: Repository, root: Digest, signer: Signer) -> None:
    second = Signer()
    sign_v3(image, root, signer)
    blocks = Blocks(signers=frozenset({key_id(signer.pem)}), version=b"1")
    rules = Rules((policy(signer.pem, second.pem),), blocks=blocks)
    verdict = judged(image, rules=rules)
    assert reason(verdict) == "SIGNER_BLOCKED"
    assert isinstance(verdict, Refused)
    assert [one.signer for one in verdict.considered] == [f"sha256:{key_id(signer.pem)}"]
    sign_v3(image, root, second)
    assert not reason(judged(image, rules=rules))


# Expiry and clocks --------------------------------------------------------------------------------------


def expiring(signer: Signer, expires_at: datetime, **more: object) -> Policy:
    return replace(policy(signer.pem, **more), expires_at=expires_at)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("when", "outcome"),
    [
        (WhenExpired.REFUSE_NEW, ("TRUST_EXPIRED", "")),
        (WhenExpired.WITHDRAW, ("TRUST_EXPIRED", "TRUST_EXPIRED")),
        (WhenExpired.ACCEPT, ("", "")),
    ],
)
def test_what_an_expired_policy_does_is_the_policy_s_own_choice(
    image: Repository, root: Digest, signer: Signer, when: WhenExpired, outcome: tuple[str, str]
) -> None:
    fresh, served = outcome
    sign_v3(image, root, signer)
    good = at(image, expiring(signer, FUTURE, when_expired=when))
    assert isinstance(good, Admission)
    assert good.warnings == ()
    lapsed = expiring(signer, PAST, when_expired=when)
    assert reason(at(image, lapsed)) == fresh
    again = rejudge(good, Rules((lapsed,)), Moment(NOW, served_since=PAST))
    assert reason(again) == served
    if when is WhenExpired.ACCEPT:
        assert isinstance(again, Admission)
        assert [one.reason for one in again.warnings] == ["TRUST_EXPIRED"]


def test_a_trust_root_s_expiry_is_the_policy_s_too(image: Repository, root: Digest, signer: Signer) -> None:
    sign_v3(image, root, signer)
    rooted = policy_of(replace(key_authority("ci", signer.pem), trust_root="prod"))
    roots = {("fleet", "prod"): TrustRoot("prod", TrustRootSpec(), expires_at=PAST)}
    assert reason(at(image, rooted, trust_roots=roots)) == "TRUST_EXPIRED"
    of_the_group = {("group/a", "prod"): TrustRoot("prod", TrustRootSpec(), expires_at=FUTURE), **roots}
    assert not reason(at(image, replace(rooted, scope="group/a"), trust_roots=of_the_group))
    assert reason(at(image, rooted, trust_roots=of_the_group)) == "TRUST_EXPIRED"


@pytest.mark.parametrize(
    ("when", "fresh"), [(WhenClockUnknown.REFUSE, "CLOCK_UNKNOWN"), (WhenClockUnknown.USE_FLOOR, "")]
)
def test_without_a_clock_nothing_that_expires_is_relied_on_but_by_choice(
    image: Repository, root: Digest, signer: Signer, when: WhenClockUnknown, fresh: str
) -> None:
    sign_v3(image, root, signer)
    unknown = Moment(NOW, is_known=False)
    rule = expiring(signer, FUTURE, when_clock_unknown=when)
    assert reason(at(image, rule, moment=unknown)) == fresh
    assert reason(at(image, expiring(signer, PAST, when_clock_unknown=when), moment=unknown)) == "TRUST_EXPIRED"
    assert not reason(at(image, policy(signer.pem), moment=unknown)), "keys know no time"
    good = at(image, rule)
    assert isinstance(good, Admission)
    served = replace(unknown, served_since=PAST)
    assert not reason(rejudge(good, Rules((rule,)), served)), "what is served stays"
