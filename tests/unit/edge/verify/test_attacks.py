"""What an attacker who can write to the source makes, and no key of ours ever signed as it lies there."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edge.domain.admission import Admission
from edge.domain.policy import Blocks, Rules
from edge.domain.verify.bundle import BUNDLE_TYPE
from edge.domain.verify.evidence import MAX_BYTES, MAX_OBJECTS
from edge.domain.verify.simple_signing import signature_tag
from fleet.policy import Authority
from fleet.reference import Digest
from tests.rig.images import add_referrer, make_image
from tests.rig.judging import judged, key_authority, policy, policy_of, reason
from tests.rig.repository import Repository
from tests.rig.signer import Signer, add_signatures, bundle, payload, sign_v2, sign_v3

Sign = Callable[..., Digest]
ELSEWHERE = "sha256:" + "e" * 64


@pytest.mark.parametrize("sign", [sign_v2, sign_v3])
def test_a_signature_for_another_digest_is_refused(image: Repository, root: Digest, signer: Signer, sign: Sign) -> None:
    sign(image, root, signer, digest=ELSEWHERE)
    assert reason(judged(image, policy(signer.pem))) == "DIGEST_NOT_SIGNED"


@pytest.mark.parametrize("sign", [sign_v2, sign_v3])
def test_a_signature_by_another_key_is_refused(image: Repository, root: Digest, signer: Signer, sign: Sign) -> None:
    sign(image, root, Signer())
    assert reason(judged(image, policy(signer.pem))) == "SIGNATURE_INVALID"


def test_the_signature_that_came_furthest_is_told(image: Repository, root: Digest, signer: Signer) -> None:
    sign_v2(image, root, signer, digest=ELSEWHERE)
    sign_v3(image, root, Signer())
    verdict = judged(image, policy(signer.pem))
    assert reason(verdict) == "DIGEST_NOT_SIGNED"
    assert not isinstance(verdict, Admission)
    assert {finding.reason for finding in verdict.considered} == {"DIGEST_NOT_SIGNED", "SIGNATURE_INVALID"}


def test_one_good_signature_among_many_is_found(image: Repository, root: Digest, signer: Signer) -> None:
    content = payload(root)
    strangers = [(content, Signer().sign(content)) for _ in range(20)]
    add_signatures(image, root, [*strangers, (content, signer.sign(content))])
    for _ in range(20):
        sign_v3(image, root, Signer())
    verdict = judged(image, policy(signer.pem))
    assert isinstance(verdict, Admission)
    assert [piece.tag for piece in verdict.evidence] == [signature_tag(root)]


def test_a_repository_of_the_same_name_on_another_host_is_the_same(
    image: Repository, root: Digest, signer: Signer
) -> None:
    sign_v2(image, root, signer, reference="registry.example:5000/demo/app")
    assert not reason(judged(image, policy(signer.pem, check_reference=True)))


def test_a_signature_replayed_in_another_repository_is_refused_where_policy_checks(
    image: Repository, root: Digest, signer: Signer
) -> None:
    sign_v2(image, root, signer, reference="registry.example/demo/other")
    assert reason(judged(image, policy(signer.pem, check_reference=True))) == "REFERENCE_NOT_SIGNED"
    assert not reason(judged(image, policy(signer.pem)))


def test_an_attestation_by_a_trusted_key_signs_nothing(image: Repository, root: Digest, signer: Signer) -> None:
    sign_v3(image, root, signer, predicate="https://slsa.dev/provenance/v1")
    assert reason(judged(image, policy(signer.pem))) == "NOT_A_SIGNATURE"


def test_an_attestation_that_verifies_comes_along_with_a_signature(
    image: Repository, root: Digest, signer: Signer
) -> None:
    provenance = sign_v3(image, root, signer, predicate="https://slsa.dev/provenance/v1")
    signature = sign_v3(image, root, signer)
    sign_v3(image, root, Signer())
    verdict = judged(image, policy(signer.pem))
    assert isinstance(verdict, Admission)
    assert {piece.manifests[-1].digest for piece in verdict.evidence} == {provenance, signature}


def test_a_runnable_image_hung_on_a_signed_one_stays_behind(image: Repository, root: Digest, signer: Signer) -> None:
    signature = sign_v3(image, root, signer)
    add_referrer(image, root, "application/spdx+json", b"not an sbom", runnable=True)
    add_referrer(image, root, BUNDLE_TYPE, bundle(signer, root), runnable=True)
    verdict = judged(image, policy(signer.pem, referrer_types=("application/spdx+json",)))
    assert isinstance(verdict, Admission)
    assert [piece.manifests[-1].digest for piece in verdict.evidence] == [signature]


def test_a_runnable_image_at_the_signatures_tag_is_no_evidence(image: Repository, root: Digest, signer: Signer) -> None:
    sign_v3(image, root, signer)
    other = make_image(platforms=[("linux", "amd64")])
    image.absorb(Repository(other.manifests, other.blobs, {signature_tag(root): other.tags["1.0"]}))
    verdict = judged(image, policy(signer.pem))
    assert isinstance(verdict, Admission)
    assert [piece.tag for piece in verdict.evidence] == [""]


def test_a_referrer_of_a_listed_type_comes_along_and_no_other(image: Repository, root: Digest, signer: Signer) -> None:
    sign_v2(image, root, signer)
    sbom = add_referrer(image, root, "application/spdx+json", b"{}")
    add_referrer(image, root, "application/vnd.example.malware", b"{}")
    verdict = judged(image, policy(signer.pem, referrer_types=("application/spdx+json",)))
    assert isinstance(verdict, Admission)
    assert [piece.manifests[-1].digest for piece in verdict.evidence if not piece.tag] == [sbom]


def test_a_referrer_of_another_image_is_no_evidence(image: Repository, root: Digest, signer: Signer) -> None:
    other = make_image()
    sign_v3(other, other.tags["1.0"], signer, digest=root)
    other.tags.clear()
    image.absorb(other)
    assert reason(judged(image, policy(signer.pem))) == "UNSIGNED"


def test_more_signatures_than_are_looked_at_are_refused(image: Repository, root: Digest, signer: Signer) -> None:
    content = payload(root)
    add_signatures(image, root, [(content, signer.sign(content))] * (MAX_OBJECTS + 1))
    assert reason(judged(image, policy(signer.pem))) == "EVIDENCE_LIMIT"


def test_more_referrers_than_are_looked_at_are_refused_before_they_are_fetched(
    image: Repository, root: Digest, signer: Signer
) -> None:
    for number in range(MAX_OBJECTS + 1):
        add_referrer(image, root, BUNDLE_TYPE, b"%d" % number)
    assert reason(judged(image, policy(signer.pem))) == "EVIDENCE_LIMIT"


def test_more_bytes_than_are_looked_at_are_refused(image: Repository, root: Digest, signer: Signer) -> None:
    sign_v2(image, root, signer)
    add_referrer(image, root, BUNDLE_TYPE, bytes(MAX_BYTES))
    assert reason(judged(image, policy(signer.pem))) == "EVIDENCE_LIMIT"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff\xfe",
        b'{"critical":{},"critical":{}}',
        b'{"critical":{"type":"cosign container image signature","image":{"docker-manifest-digest":"sha256:0"}}}',
        b'{"critical":{"type":"something else"}}',
    ],
)
def test_a_payload_that_cannot_be_read_is_no_evidence(
    image: Repository, root: Digest, signer: Signer, content: bytes
) -> None:
    add_signatures(image, root, [(content, signer.sign(content))])
    assert reason(judged(image, policy(signer.pem))) == "EVIDENCE_MALFORMED"


def test_a_bundle_cut_short_is_no_evidence(image: Repository, root: Digest, signer: Signer) -> None:
    add_referrer(image, root, BUNDLE_TYPE, bundle(signer, root)[:-9])
    assert reason(judged(image, policy(signer.pem))) == "EVIDENCE_MALFORMED"


def test_an_image_that_no_policy_matches_is_refused(image: Repository, root: Digest, signer: Signer) -> None:
    sign_v3(image, root, signer)
    assert reason(judged(image, policy(signer.pem, images="central/other/**"))) == "NO_POLICY"
    assert reason(judged(image)) == "NO_POLICY"


@pytest.mark.parametrize(
    "authorities",
    [
        (),
        (key_authority("nobody"),),
        (key_authority("mute", b"key", formats=()),),
    ],
)
def test_an_empty_policy_admits_nothing(
    image: Repository, root: Digest, signer: Signer, authorities: tuple[Authority, ...]
) -> None:
    sign_v3(image, root, signer)
    assert reason(judged(image, policy_of(*authorities), policy(signer.pem))) == "POLICY_EMPTY"


def test_an_authority_whose_keys_are_all_gone_does_not_stop_the_others(
    image: Repository, root: Digest, signer: Signer
) -> None:
    sign_v3(image, root, signer)
    assert not reason(judged(image, policy_of(key_authority("gone"), key_authority("here", signer.pem))))


def test_every_policy_that_matches_must_hold(image: Repository, root: Digest, signer: Signer) -> None:
    second = Signer()
    sign_v3(image, root, signer)
    both = (policy(signer.pem), policy(second.pem, images="central/demo/*"))
    assert reason(judged(image, *both)) == "SIGNATURE_INVALID"
    sign_v2(image, root, second)
    assert not reason(judged(image, *both))


def test_one_authority_suffices_for_a_policy(image: Repository, root: Digest, signer: Signer) -> None:
    sign_v3(image, root, signer)
    assert not reason(judged(image, policy_of(key_authority("a", Signer().pem), key_authority("b", signer.pem))))


def test_a_key_that_cannot_be_read_trusts_nobody(image: Repository, root: Digest, signer: Signer) -> None:
    sign_v3(image, root, signer)
    assert reason(judged(image, policy(b"no key"))) == "KEY_UNUSABLE"
    assert not reason(judged(image, policy(b"no key", signer.pem)))


def test_while_a_policy_cannot_be_read_nothing_new_is_admitted(image: Repository, root: Digest, signer: Signer) -> None:
    sign_v3(image, root, signer)
    rules = Rules((policy(signer.pem),), unreadable=("policy/of-tomorrow",))
    assert reason(judged(image, rules=rules)) == "AGENT_TOO_OLD"


@pytest.mark.parametrize("part", ["root", "child", "layer"])
def test_a_blocked_part_keeps_the_whole_out(image: Repository, root: Digest, signer: Signer, part: str) -> None:
    layer = next(iter(image.blobs))
    child = next(digest for digest in image.manifests if digest != root)
    sign_v3(image, root, signer)
    block = {"root": root, "child": child, "layer": layer}[part]
    rules = Rules((policy(signer.pem),), blocks=Blocks(frozenset({block})))
    assert reason(judged(image, rules=rules)) == "BLOCKED"
