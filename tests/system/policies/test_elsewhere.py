"""Signatures that lie in another repository of the artifact's source, where the policy says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edge.domain.admission import Admission
from edge.domain.verify.bundle import BUNDLE_TYPE
from tests.rig import cosign
from tests.rig.images import add_referrer, make_image
from tests.rig.judging import key_authority, policy_of
from tests.rig.signer import Signer, bundle
from tests.system.policies.conftest import V2, V3, Source, reason

pytestmark = [pytest.mark.needs_cosign, pytest.mark.needs_registry]


def test_cosign_2_s_signatures_are_found_where_they_were_put(source: Source, tmp_path: Path) -> None:
    key = cosign.generate_key(tmp_path, "release")
    digest = source.push("elsewhere/app")
    host = source.url.removeprefix("http://")
    cosign.sign(source.reference("elsewhere/app", digest), key, V2, repository=f"{host}/elsewhere/signatures")
    here = key_authority("release", key.pem, formats=(V2,))
    there = replace(here, signature_repository="elsewhere/signatures")
    assert reason(source.judged("elsewhere/app", digest, policy_of(here))) == "UNSIGNED"
    verdict = source.judged("elsewhere/app", digest, policy_of(there))
    assert isinstance(verdict, Admission), verdict
    assert len(verdict.evidence) == 1, "it comes along to the site"
    nowhere = replace(here, signature_repository="elsewhere/nothing")
    assert reason(source.judged("elsewhere/app", digest, policy_of(nowhere))) == "UNSIGNED"


def test_bundles_are_found_there_too_and_one_that_is_in_both_is_one(source: Source) -> None:
    signer, image = Signer(), make_image("elsewhere/both")
    root = image.tags["1.0"]
    source.push("elsewhere/both", image)
    add_referrer(image, root, BUNDLE_TYPE, bundle(signer, root))
    source.push("elsewhere/bundles", image)
    here = key_authority("release", signer.pem, formats=(V3,))
    there = policy_of(replace(here, signature_repository="elsewhere/bundles"))
    assert reason(source.judged("elsewhere/both", root, policy_of(here))) == "UNSIGNED"
    assert not reason(source.judged("elsewhere/both", root, there))
    source.push("elsewhere/both", image)
    verdict = source.judged("elsewhere/both", root, there)
    assert isinstance(verdict, Admission)
    assert len(verdict.evidence) == 1
