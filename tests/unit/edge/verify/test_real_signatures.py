"""Signatures that the real cosign made (tests/fixtures), judged as they lie there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge.domain.admission import Admission
from fleet.policy import SignatureFormat
from fleet.reference import digest_of
from tests.rig.fixtures import IMAGES, OPERATOR, STRANGER
from tests.rig.judging import judged, policy, reason
from tests.rig.oci_layout import read_layout
from tests.rig.repository import Repository

V2, V3 = SignatureFormat.COSIGN_SIMPLE_SIGNING, SignatureFormat.SIGSTORE_BUNDLE


@pytest.mark.parametrize("name", ["signed-v2", "signed-v3", "signed-both", "signed-docker"])
def test_an_image_that_the_operator_signed_is_admitted(name: str) -> None:
    held = read_layout(IMAGES / name)
    verdict = judged(held, policy(OPERATOR.pem))
    assert isinstance(verdict, Admission)
    assert verdict.root == held.manifests[held.tags["1.0"]]
    assert verdict.tags == ("1.0",)
    assert len(verdict.evidence) == (2 if name in {"signed-both", "signed-docker"} else 1)
    assert [child.wanted for child in verdict.children] == [True, True]
    assert len(verdict.blobs) == 6


@pytest.mark.parametrize(("name", "refusal"), [("unsigned", "UNSIGNED"), ("signed-by-stranger", "SIGNATURE_INVALID")])
def test_what_the_operator_did_not_sign_is_refused(name: str, refusal: str) -> None:
    assert reason(judged(read_layout(IMAGES / name), policy(OPERATOR.pem))) == refusal


def test_the_strangers_image_is_admitted_where_the_stranger_is_trusted() -> None:
    assert not reason(judged(read_layout(IMAGES / "signed-by-stranger"), policy(OPERATOR.pem, STRANGER.pem)))


@pytest.mark.parametrize(("name", "counted"), [("signed-v2", V3), ("signed-v3", V2)])
def test_a_signature_in_a_format_that_does_not_count_is_refused(name: str, counted: SignatureFormat) -> None:
    verdict = judged(read_layout(IMAGES / name), policy(OPERATOR.pem, formats=[counted]))
    assert reason(verdict) == "FORMAT_NOT_ALLOWED"


def test_a_stripped_bundle_leaves_an_old_signature_that_does_not_count() -> None:
    held = read_layout(IMAGES / "signed-both")
    for referrer in held.referrers(held.tags["1.0"]):
        del held.manifests[referrer.digest]
    assert reason(judged(held, policy(OPERATOR.pem, formats=[V3]))) == "FORMAT_NOT_ALLOWED"


def test_only_signatures_that_count_come_along() -> None:
    verdict = judged(read_layout(IMAGES / "signed-both"), policy(OPERATOR.pem, formats=[V3]))
    assert isinstance(verdict, Admission)
    assert [piece.tag for piece in verdict.evidence] == [""]


def _signature_of(name: str) -> tuple[Repository, str]:
    held = read_layout(IMAGES / name)
    return held, next(tag for tag in held.tags if tag.endswith(".sig"))


def test_a_signature_moved_to_another_image_is_for_another_digest() -> None:
    signed, tag = _signature_of("signed-v2")
    other = read_layout(IMAGES / "unsigned")
    wrong_tag = f"{other.tags['1.0'].replace(':', '-')}.sig"
    signature = signed.tags[tag]
    other.manifests[signature] = signed.manifests[signature]
    other.blobs.update(signed.blobs)
    other.tags[wrong_tag] = signature
    assert reason(judged(other, policy(OPERATOR.pem))) == "DIGEST_NOT_SIGNED"


@pytest.mark.parametrize("position", [0, 100, -1])
def test_a_payload_changed_anywhere_is_refused(position: int) -> None:
    held, tag = _signature_of("signed-v2")
    manifest = held.manifests[held.tags[tag]]
    payload = next(d for d in held.blobs if d.encode() in manifest.raw and b"critical" in held.blobs[d])
    changed = bytearray(held.blobs[payload])
    changed[position] ^= 1
    digest = held.add_blob(bytes(changed))
    held.add_manifest(manifest.raw.replace(payload.encode(), digest.encode()), manifest.media_type, tag=tag)
    assert reason(judged(held, policy(OPERATOR.pem))) in {"SIGNATURE_INVALID", "EVIDENCE_MALFORMED"}


def test_the_signed_repository_is_checked_where_the_policy_says_so() -> None:
    held = read_layout(IMAGES / "signed-v2")
    by_reference = policy(OPERATOR.pem, check_reference=True)
    assert reason(judged(held, by_reference)) == "REFERENCE_NOT_SIGNED"
    assert not reason(judged(held, by_reference, repository="demo/signed-v2"))


def test_a_bundle_names_no_repository_so_it_cannot_pass_a_policy_that_checks_it() -> None:
    by_reference = policy(OPERATOR.pem, check_reference=True)
    verdict = judged(read_layout(IMAGES / "signed-v3"), by_reference, repository="demo/signed-v3")
    assert reason(verdict) == "REFERENCE_NOT_SIGNED"


def test_bytes_are_never_rewritten() -> None:
    verdict = judged(read_layout(IMAGES / "signed-docker"), policy(OPERATOR.pem))
    assert isinstance(verdict, Admission)
    manifests = [verdict.root, *(child.manifest for child in verdict.children)]
    manifests += [manifest for piece in verdict.evidence for manifest in piece.manifests]
    assert all(digest_of(manifest.raw) == manifest.digest for manifest in manifests)


def test_an_admission_cannot_be_made_from_another() -> None:
    verdict = judged(read_layout(IMAGES / "signed-v3"), policy(OPERATOR.pem))
    assert isinstance(verdict, Admission)
    with pytest.raises(ValueError, match="seal"):
        replace(verdict, local_repository="elsewhere")  # type: ignore[call-arg]  # that is the point
