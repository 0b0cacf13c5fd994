"""What is not signed as policy says is not pullable: not by tag, not by digest, at no moment."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from edge.domain.verify.keys import key_id
from fleet.policy import Authority, RequiredAttestation, StaticVerdict
from tests.rig import cosign
from tests.rig.estate import TAG, V2, V3, Estate, Image, by_keys
from tests.rig.forgery import bundle_of, fallback_tag, list_referrers, move_signatures, strip_bundles
from tests.rig.hammer import blob_path, hammering, manifest_path
from tests.rig.images import add_referrer
from tests.rig.oci_layout import Client
from tests.rig.repository import Repository
from tests.rig.satellite import Satellite

pytestmark = [pytest.mark.needs_cosign, pytest.mark.needs_registry]

SBOM = "application/spdx+json"
Attack = Callable[[Estate, Satellite, Image], None]


def unsigned(estate: Estate, site: Satellite, image: Image) -> None:
    estate.allow(site, image, estate.release)


def signed_by_another_key(estate: Estate, site: Satellite, image: Image) -> None:
    estate.allow(site, image, estate.release)
    image.sign(estate.stranger, V2, V3)


def signed_for_another_digest(estate: Estate, site: Satellite, image: Image) -> None:
    estate.allow(site, image, estate.release)
    other = estate.image(repository=image.repository)
    other.sign(estate.release, V2, V3)
    move_signatures(other, image)


def stripped_of_the_format_that_counts(estate: Estate, site: Satellite, image: Image) -> None:
    estate.allow(site, image, estate.release, formats=(V3,))
    image.sign(estate.release, V2, V3)
    strip_bundles(image)


def signed_but_no_policy_matches(estate: Estate, site: Satellite, image: Image) -> None:
    image.sign(estate.release, V2, V3)


def under_a_policy_that_refuses(estate: Estate, site: Satellite, image: Image) -> None:
    estate.rule(site, image, Authority("nobody", StaticVerdict(passes=False)))
    image.sign(estate.release, V2, V3)


def signed_by_one_where_two_must(estate: Estate, site: Satellite, image: Image) -> None:
    estate.rule(site, image, by_keys(estate.release, estate.stranger, threshold=2))
    image.sign(estate.release, V2, V3)


def signed_but_not_attested(estate: Estate, site: Satellite, image: Image) -> None:
    asked = (RequiredAttestation("provenance", "https://slsa.dev/provenance/v1"),)
    estate.rule(site, image, replace(by_keys(estate.release), attestations=asked))
    image.sign(estate.release, V2, V3)


def signed_by_a_key_that_is_blocked(estate: Estate, site: Satellite, image: Image) -> None:
    key = cosign.generate_key(estate.directory, f"blocked-{secrets.token_hex(4)}")  # others are needed on
    estate.allow(site, image, key)
    estate.block(site, signers=[key_id(key.pem)])
    image.sign(key, V2, V3)


ATTACKS: dict[Attack, str] = {
    unsigned: "UNSIGNED",
    signed_by_another_key: "SIGNATURE_INVALID",
    signed_for_another_digest: "DIGEST_NOT_SIGNED",
    stripped_of_the_format_that_counts: "FORMAT_NOT_ALLOWED",
    signed_but_no_policy_matches: "NO_POLICY",
    under_a_policy_that_refuses: "STATIC_FAIL",
    signed_by_one_where_two_must: "THRESHOLD_NOT_MET",
    signed_but_not_attested: "ATTESTATION_MISSING",
    signed_by_a_key_that_is_blocked: "SIGNER_BLOCKED",
}


def paths_of(image: Image) -> Iterator[str]:
    """Everything that anybody could ask for."""
    for reference in (TAG, fallback_tag(image.root), f"{fallback_tag(image.root)}.sig", *image.content.manifests):
        yield manifest_path(image.repository, reference)
    for digest in image.content.blobs:
        yield blob_path(image.repository, digest)


@pytest.mark.parametrize("attack", [pytest.param(attack, id=attack.__name__) for attack in ATTACKS])
def test_it_is_never_pullable(estate: Estate, site: Satellite, attack: Attack) -> None:
    image = estate.image()
    with hammering(site.url, paths_of(image)) as puller:
        attack(estate, site, image)
        name = estate.assign(site, image)
        site.await_refused(name, ATTACKS[attack])
        puller.go_on()
    assert puller.answers == {"404"}


def test_ground_control_hears_why(estate: Estate, site: Satellite) -> None:
    image = estate.image()
    unsigned(estate, site, image)
    name = estate.assign(site, image)

    def told() -> set[str]:
        return {row.reason for row in estate.status(site).report.exceptions if name in str(row)}

    site.await_that(lambda: told() == {"UNSIGNED"}, "the report says it")


def test_a_runnable_image_in_a_referrer_s_disguise_stays_out(estate: Estate, site: Satellite) -> None:
    image = estate.image()
    image.sign(estate.release, V3)
    held = Repository()
    held.absorb(image.content)
    sbom = held.manifests[add_referrer(held, image.root, SBOM, b'{"spdx": true}')]
    disguised = held.manifests[add_referrer(held, image.root, SBOM, b"layers", runnable=True)]
    signature = bundle_of(image)
    Client(estate.central.url).push(image.repository, held)
    list_referrers(image, signature, sbom, disguised)
    estate.allow(site, image, estate.release, referrer_types=[SBOM])
    paths = [manifest_path(image.repository, disguised.digest), *_blobs_of(replace(image, content=held), disguised.raw)]
    with hammering(site.url, paths) as puller:
        site.await_published(estate.assign(site, image))
        puller.go_on()
    assert puller.answers == {"404"}
    assert site.pull(image.repository, sbom.digest) == (200, sbom.raw)
    assert referrers_at(site, image) == {signature.digest, sbom.digest}


def _blobs_of(image: Image, manifest: bytes) -> list[str]:
    layers = json.loads(manifest)["layers"]
    return [blob_path(image.repository, layer["digest"]) for layer in layers]


def referrers_at(site: Satellite, image: Image) -> set[str]:
    """List an image's referrers as cosign does: by the API, and by the fallback tag where there is none."""
    listed = Client(site.url).send("GET", f"/v2/{image.repository}/referrers/{image.root}", expect=(200, 404))
    if listed.status == 404:
        _, raw = site.pull(image.repository, fallback_tag(image.root))
        return {one["digest"] for one in json.loads(raw)["manifests"]}
    return {one["digest"] for one in listed.json()["manifests"]}
