"""When rules change, what is there is judged again: withdrawn, brought back, reported; and time changes rules."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from edge.domain.verify.keys import key_id
from fleet.policy import Mode, WhenExpired
from fleet.v1 import fleet_pb2 as pb
from fleet.v1 import state_pb2
from tests.rig import cosign
from tests.rig.estate import TAG, V2, V3, Estate, Image, by_keys
from tests.rig.hammer import hammering, manifest_path
from tests.rig.satellite import Satellite

pytestmark = [pytest.mark.needs_cosign, pytest.mark.needs_registry]


@pytest.fixture
def image(estate: Estate, site: Satellite) -> Image:
    """A published image that the release key signed."""
    image = estate.image()
    image.sign(estate.release, V3)
    estate.allow(site, image, estate.release)
    site.await_published(estate.assign(site, image))
    return image


def is_there(site: Satellite, image: Image) -> bool:
    return site.pull(image.repository, TAG)[0] == 200


def test_a_stricter_policy_takes_it_away_and_the_old_one_brings_it_back(
    estate: Estate, site: Satellite, image: Image
) -> None:
    estate.rule(site, image, by_keys(estate.release, estate.stranger, threshold=2))
    site.await_refused(image.name, "THRESHOLD_NOT_MET")
    site.await_that(lambda: not is_there(site, image), "it is not pullable")
    assert site.pull(image.repository, image.root)[0] == 404
    estate.allow(site, image, estate.release)
    site.await_published(image.name)
    assert is_there(site, image)


def test_what_the_source_has_meanwhile_keeps_it_served_all_the_while(
    estate: Estate, site: Satellite, image: Image
) -> None:
    path = manifest_path(image.repository, TAG)
    image.sign(estate.stranger, V2)
    with hammering(site.url, [path]) as puller:
        estate.rule(site, image, by_keys(estate.stranger))
        site.await_that(lambda: estate.status(site).converged, "the policy has come, and all is judged")
    assert puller.answers == {image.root}
    site.await_published(image.name)


def test_a_policy_that_only_warns_says_so_at_the_site_and_to_operators(
    estate: Estate, site: Satellite, image: Image
) -> None:
    estate.rule(site, image, by_keys(estate.stranger), mode=Mode.WARN)
    site.await_that(lambda: site.states().get(image.name) == ("warned", "SIGNATURE_INVALID"), "it is warned of")
    assert is_there(site, image)
    site.await_that(lambda: bool(steps_of(estate, site, image)), "Ground Control knows of this one")
    (told,) = exceptions_of(estate, site, image)
    assert told.state == state_pb2.ARTIFACT_STATE_WARNED
    assert [one.outcome for one in told.steps] == [state_pb2.STEP_OUTCOME_WARNED]
    assert estate.status(site).report.warned >= 1
    estate.allow(site, image, estate.release)
    site.await_published(image.name)


def test_a_blocked_signer_reaches_the_site_in_seconds_and_the_epoch_says_so(estate: Estate, site: Satellite) -> None:
    key = cosign.generate_key(estate.directory, f"leaked-{site.directory.name}")
    image = estate.image()
    image.sign(key, V3)
    estate.allow(site, image, key)
    site.await_published(estate.assign(site, image))
    before = estate.status(site).report.revocation_epoch
    begun = time.monotonic()
    block = estate.block(site, signers=[key_id(key.pem)])
    site.await_that(lambda: not is_there(site, image), "it is not pullable")
    print(f"{site.registry}: withdrawn {time.monotonic() - begun:.2f} s after the block")
    site.await_refused(image.name, "SIGNER_BLOCKED")
    site.await_that(lambda: estate.status(site).report.revocation_epoch > before, "the newer epoch is enforced")
    site.await_that(lambda: bool(steps_of(estate, site, image)), "the steps are told")
    (step,) = steps_of(estate, site, image)
    assert (step.reason, step.signer) == ("SIGNER_BLOCKED", f"sha256:{key_id(key.pem)}")
    reached = estate.status(site).report.revocation_epoch
    estate.change(pb.Change(delete=pb.Deletion(block=block)))
    site.await_published(image.name)
    assert site.status()["state"]["revocation_epoch"] == reached, "it does not fall when a block is lifted"


def steps_of(estate: Estate, site: Satellite, image: Image) -> list[state_pb2.VerdictStep]:
    return [step for told in exceptions_of(estate, site, image) for step in told.steps]


def exceptions_of(estate: Estate, site: Satellite, image: Image) -> list[state_pb2.ResourceException]:
    return [one for one in estate.status(site).report.exceptions if one.name == image.name]


@pytest.mark.parametrize("when", list(WhenExpired))
def test_what_an_expiry_does_is_the_policy_s_choice(
    estate: Estate, site: Satellite, image: Image, when: WhenExpired
) -> None:
    name = f"short-{when.name.lower().replace('_', '-')}-{site.directory.name}"
    estate.trust(site, name, expires_at=datetime.now(UTC) + timedelta(seconds=4))
    rooted = replace(by_keys(estate.release), trust_root=name)
    estate.rule(site, image, rooted, when_expired=when)
    match when:
        case WhenExpired.WITHDRAW:
            site.await_refused(image.name, "TRUST_EXPIRED")
            site.await_that(lambda: not is_there(site, image), "it is not pullable")
        case WhenExpired.ACCEPT:
            site.await_that(lambda: site.states().get(image.name) == ("warned", "TRUST_EXPIRED"), "it is warned of")
            assert is_there(site, image)
        case WhenExpired.REFUSE_NEW:
            fresh = estate.image()
            fresh.sign(estate.release, V3)
            time.sleep(4)  # the expiry itself: nothing at the site changes by it
            estate.rule(site, fresh, rooted, when_expired=when)
            site.await_refused(estate.assign(site, fresh), "TRUST_EXPIRED")
            assert is_there(site, image), "what is served stays"
