from __future__ import annotations

from dataclasses import replace

import pytest

from edge.app.judge import judge, rejudge
from edge.domain.admission import Admission, Refused
from edge.domain.content import OCI_INDEX, OCI_MANIFEST, Index, Platform, raw_manifest, read_manifest
from edge.domain.policy import Blocks, Rules
from edge.domain.verify.simple_signing import signature_tag
from fleet.errors import FleetError
from fleet.reference import Digest
from tests.rig.images import encode, make_image
from tests.rig.judging import judged, policy, reason, wanted
from tests.rig.repository import Repository
from tests.rig.signer import Signer, sign_v2, sign_v3
from tests.rig.upstream import MemoryUpstream

AMD64 = Platform("linux", "amd64")


def _index(into: Repository, *children: Digest, tag: str = "1.0") -> Digest:
    entries = [{"mediaType": into.manifests[child].media_type, "digest": child, "size": 1} for child in children]
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    return into.add_manifest(encode(document), OCI_INDEX, tag=tag).digest


def _admitted(held: Repository, signer: Signer, *platforms: Platform) -> Admission:
    upstream = MemoryUpstream({"demo/app": held})
    verdict = judge(wanted(held.tags["1.0"], *platforms), upstream, Rules((policy(signer.pem),)))
    assert isinstance(verdict, Admission), verdict
    return verdict


def test_no_layer_is_asked_for(image: Repository, root: Digest, signer: Signer) -> None:
    sign_v3(image, root, signer)
    layers = {blob.digest for blob in _admitted(image, signer).blobs}
    upstream = MemoryUpstream({"demo/app": image})
    judge(wanted(root), upstream, Rules((policy(signer.pem),)))
    assert not layers & set(upstream.asked)


def test_nothing_below_the_root_is_asked_for_before_the_signature_holds(
    image: Repository, root: Digest, signer: Signer
) -> None:
    sign_v2(image, root, Signer())
    upstream = MemoryUpstream({"demo/app": image})
    judge(wanted(root), upstream, Rules((policy(signer.pem),)))
    assert upstream.asked[:2] == [root, signature_tag(root)]
    assert not set(upstream.asked) & (set(image.manifests) - {root})


def test_without_a_policy_nothing_is_asked_for(image: Repository, root: Digest) -> None:
    upstream = MemoryUpstream({"demo/app": image})
    assert reason(judge(wanted(root), upstream, Rules())) == "NO_POLICY"
    assert upstream.asked == []


def test_a_platform_filter_keeps_the_index_whole(image: Repository, root: Digest, signer: Signer) -> None:
    sign_v3(image, root, signer)
    verdict = _admitted(image, signer, AMD64)
    assert verdict.root == image.manifests[root]
    assert [child.wanted for child in verdict.children] == [True, False]
    assert len(verdict.blobs) == 3


def test_an_index_without_the_wanted_platform_is_refused(image: Repository, root: Digest, signer: Signer) -> None:
    sign_v3(image, root, signer)
    upstream = MemoryUpstream({"demo/app": image})
    verdict = judge(wanted(root, Platform("plan9", "mips")), upstream, Rules((policy(signer.pem),)))
    assert reason(verdict) == "PLATFORM_ABSENT"


def test_an_unwanted_child_may_be_absent_at_the_source(image: Repository, root: Digest, signer: Signer) -> None:
    sign_v3(image, root, signer)
    index = read_manifest(image.manifests[root].raw, "")
    assert isinstance(index, Index)
    del image.manifests[index.children[1].digest]
    assert [child.wanted for child in _admitted(image, signer, AMD64).children] == [True]
    with pytest.raises(FleetError, match="MANIFEST_ABSENT"):
        judged(image, policy(signer.pem))


def test_a_nested_index_comes_before_the_one_that_names_it(signer: Signer) -> None:
    held = make_image(tag="inner")
    root = _index(held, held.tags["inner"])
    sign_v3(held, root, signer)
    verdict = _admitted(held, signer)
    assert verdict.children[-1].manifest.digest == held.tags["inner"]
    assert len(verdict.children) == 3


def test_indexes_that_nest_deeper_are_refused(signer: Signer) -> None:
    held = make_image(tag="inner")
    middle = _index(held, held.tags["inner"], tag="middle")
    sign_v3(held, _index(held, middle), signer)
    assert reason(judged(held, policy(signer.pem))) == "INDEX_TOO_DEEP"


def test_a_single_image_is_taken_whatever_the_platform_wanted(signer: Signer) -> None:
    held = make_image(platforms=[("linux", "arm64")])
    sign_v3(held, held.tags["1.0"], signer)
    verdict = _admitted(held, signer, AMD64)
    assert verdict.children == ()
    assert len(verdict.blobs) == 3


def test_a_tag_that_moved_changes_nothing(image: Repository, root: Digest, signer: Signer) -> None:
    sign_v3(image, root, signer)
    other = make_image()
    image.absorb(other)
    upstream = MemoryUpstream({"demo/app": image})
    verdict = judge(wanted(root), upstream, Rules((policy(signer.pem),)))
    assert isinstance(verdict, Admission)
    assert verdict.root.digest == root


def test_a_source_that_answers_with_other_bytes_is_corrupt(image: Repository, root: Digest, signer: Signer) -> None:
    sign_v3(image, root, signer)
    image.manifests[root] = replace(image.manifests[root], raw=b"{}")
    with pytest.raises(FleetError, match="DIGEST_MISMATCH"):
        judged(image, policy(signer.pem))


@pytest.mark.parametrize("raw", [b"", b'{"schemaVersion":1}', b" " * (4 << 20) + b"{}"])
def test_rubbish_at_the_signatures_tag_does_not_hide_a_bundle(
    image: Repository, root: Digest, signer: Signer, raw: bytes
) -> None:
    sign_v3(image, root, signer)
    rubbish = raw_manifest(raw, OCI_MANIFEST)
    upstream = MemoryUpstream({"demo/app": image})
    upstream.extra[signature_tag(root)] = rubbish
    assert isinstance(judge(wanted(root), upstream, Rules((policy(signer.pem),))), Admission)


def test_an_absent_root_is_an_error_and_no_verdict(image: Repository, signer: Signer) -> None:
    absent = wanted(Digest("sha256:" + "a" * 64))
    with pytest.raises(FleetError, match="MANIFEST_ABSENT"):
        judge(absent, MemoryUpstream({"demo/app": image}), Rules((policy(signer.pem),)))


def test_an_admission_says_by_which_rules_it_was_made(image: Repository, root: Digest, signer: Signer) -> None:
    sign_v3(image, root, signer)
    rules = Rules((policy(signer.pem, version=b"1"),))
    upstream = MemoryUpstream({"demo/app": image})
    verdict = judge(wanted(root), upstream, rules)
    changed = judge(wanted(root), upstream, Rules((policy(signer.pem, version=b"2"),)))
    assert isinstance(verdict, Admission)
    assert isinstance(changed, Admission)
    assert verdict.policy_version == rules.policy_version != changed.policy_version
    assert verdict.block_version == changed.block_version


def test_an_admission_is_judged_again_without_the_source(image: Repository, root: Digest, signer: Signer) -> None:
    sign_v2(image, root, signer)
    verdict = _admitted(image, signer)
    again = rejudge(verdict, Rules((policy(signer.pem, version=b"2"),)))
    assert isinstance(again, Admission)
    assert again.policy_version != verdict.policy_version
    assert again.evidence == verdict.evidence


@pytest.mark.parametrize("change", ["key", "block", "policy"])
def test_judged_again_an_image_may_be_refused(image: Repository, root: Digest, signer: Signer, change: str) -> None:
    sign_v2(image, root, signer)
    verdict = _admitted(image, signer)
    rules = {
        "key": Rules((policy(Signer().pem),)),
        "block": Rules((policy(signer.pem),), blocks=Blocks(frozenset({root}))),
        "policy": Rules(),
    }[change]
    again = rejudge(verdict, rules)
    assert isinstance(again, Refused)
    assert again.reason == {"key": "SIGNATURE_INVALID", "block": "BLOCKED", "policy": "NO_POLICY"}[change]


def test_stored_evidence_that_rotted_is_no_evidence(image: Repository, root: Digest, signer: Signer) -> None:
    sign_v2(image, root, signer)
    verdict = _admitted(image, signer)
    piece = verdict.evidence[0]
    rotten = replace(piece, blobs=tuple((descriptor, content + b" ") for descriptor, content in piece.blobs))
    plain = verdict.without_verdict()
    assert reason(rejudge(replace(plain, evidence=(rotten,)), Rules((policy(signer.pem),)))) == "EVIDENCE_MALFORMED"
