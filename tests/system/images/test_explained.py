"""Why an image is served or not, as operators see it: explained for a site, and judged by the site's code anywhere."""

from __future__ import annotations

import pytest

from tests.rig.estate import V2, V3, Estate, by_keys
from tests.rig.satctl import Satctl
from tests.rig.satellite import Satellite

pytestmark = [pytest.mark.needs_cosign, pytest.mark.needs_registry]


@pytest.fixture(scope="module")
def satctl(estate: Estate, tmp_path_factory: pytest.TempPathFactory) -> Satctl:
    satctl = Satctl(tmp_path_factory.mktemp("explaining"))
    satctl.ok("login", estate.ground_control.operator_string("explainer"))
    return satctl


def test_a_refusal_is_explained_step_by_step(estate: Estate, site: Satellite, satctl: Satctl) -> None:
    image = estate.image()
    image.sign(estate.stranger, V2)
    policy = estate.rule(site, image, by_keys(estate.release, formats=(V2,)))
    site.await_refused(estate.assign(site, image), "SIGNATURE_INVALID")
    name = site.directory.name
    site.await_that(lambda: len(satctl.json("explain", image.name, "--satellite", name)["steps"]) > 3, "it is told")
    told = satctl.json("explain", image.name, "--satellite", name)
    assert (told["outcome"], told["reason"]) == ("refused", "SIGNATURE_INVALID")
    failed = [step for step in told["steps"] if step["outcome"] == "failed"]
    assert [(step["reason"], step["text"].split(":")[0]) for step in failed] == [
        ("SIGNATURE_INVALID", f"{policy}/release")
    ]
    assert failed[0]["evidence"].startswith("sha256:")
    for_people = satctl.ok("explain", image.name, "--satellite", name)
    assert f"policy {policy} of satellite/{name} must hold" in for_people
    assert "refused (SIGNATURE_INVALID)" in for_people


def test_what_is_served_and_what_nobody_wants_is_said_so(estate: Estate, site: Satellite, satctl: Satctl) -> None:
    image, unwanted = estate.image(), estate.image()
    image.sign(estate.release, V3)
    estate.allow(site, image, estate.release)
    site.await_published(estate.assign(site, image))
    name = site.directory.name
    site.await_that(
        lambda: satctl.json("explain", image.name, "--satellite", name)["outcome"] == "published", "it is told"
    )
    told = satctl.json("explain", unwanted.name, "--satellite", name)
    assert told["reason"] == "NOT_DESIRED"
    assert {step["reason"] for step in told["steps"] if step["outcome"] == "failed"} == {"NOT_DESIRED", "NO_POLICY"}


def test_what_a_site_would_say_can_be_asked_beforehand(
    estate: Estate, site: Satellite, satctl: Satctl, tmp_path_factory: pytest.TempPathFactory
) -> None:
    image = estate.image()
    image.sign(estate.release, V3)
    plain = ("--allow-plain-http", estate.central.host.partition(":")[0])
    asked = ("policy", "test", image.name, "--satellite", site.directory.name, *plain)
    done = satctl.run(*asked)
    assert (done.returncode, "refused (NO_POLICY)" in done.stdout) == (1, True), done
    policy = estate.allow(site, image, estate.release)
    verdict = satctl.json(*asked)
    assert (verdict["admitted"], verdict["policies"], verdict["digest"]) == (True, [policy], image.root)
    assert not site.states().get(image.name), "nothing was changed"

    file = tmp_path_factory.mktemp("rules") / "policy.yaml"
    file.with_name("stranger.pub").write_bytes(estate.stranger.pem)
    text = "name: {0}\nimages: ['**']\nauthorities: [{{name: s, formats: [bundle], keys: [{{file: stranger.pub}}]}}]\n"
    file.write_text(text.format("strict"))
    done = satctl.run("policy", "test", image.name, "--file", str(file), *plain, "--json")
    assert (done.returncode, '"SIGNATURE_INVALID"' in done.stdout) == (1, True), done
    code, said = satctl.refused("policy", "test", "nowhere/app:1", "--satellite", site.directory.name)
    assert (code, "SOURCE_UNKNOWN" in said) == (1, True), said
