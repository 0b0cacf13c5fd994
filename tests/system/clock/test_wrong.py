"""Sites whose clocks are wrong, as whole processes: they reach Ground Control, learn the time, and go on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fleet.policy import Authority, Keyless, SignerIdentity, TextMatch, WhenClockUnknown
from tests.rig.distribution import distribution
from tests.rig.estate import TAG, V3, Estate, Image, by_keys
from tests.rig.faketime import SINCE_1970
from tests.rig.images import make_image
from tests.rig.oci_layout import Client
from tests.rig.registries import Central
from tests.rig.satellite import Satellite
from tests.rig.sigstore import Sigstore, sigstore

pytestmark = [pytest.mark.needs_cosign, pytest.mark.needs_registry, pytest.mark.needs_faketime]
DEVELOPER = "developer@example.com"
CLOCKS = {"slow": "-10m", "fast": "+10m", "without-a-battery": SINCE_1970}


def first_time(site: Satellite) -> datetime:
    """Read what time it was at the site when its newest process said its first word."""
    start = next(line for line in reversed(site.log().splitlines()) if '"satellite.started"' in line)
    return datetime.fromisoformat(json.loads(start)["timestamp"])


def time_at(site: Satellite) -> datetime:
    """Read what time the site goes by."""
    return datetime.fromisoformat(site.status()["at"])


def is_right(moment: datetime) -> bool:
    return abs(datetime.now(UTC) - moment) < timedelta(minutes=5)


@pytest.mark.parametrize("clock", list(CLOCKS))
def test_a_site_whose_clock_is_wrong_is_served_all_the_same(estate: Estate, kind: str, clock: str) -> None:
    site = estate.site(kind, f"{clock}-{kind}", time=CLOCKS[clock])
    assert not is_right(first_time(site)), "its clock is wrong"
    image = estate.image()
    image.sign(estate.release, V3)
    estate.allow(site, image, estate.release)
    site.await_published(estate.assign(site, image))
    assert site.pull(image.repository, TAG)[0] == 200
    if clock == "fast":
        assert time_at(site) > datetime.now(UTC), "time does not go back"
    else:
        site.await_that(lambda: is_right(time_at(site)), "Ground Control has told the time")
        assert site.status()["clock"] == "floor"
    estate.retire(site.directory.name)


@pytest.fixture
def private(tmp_path: Path) -> Iterator[Sigstore]:
    with sigstore(tmp_path / "sigstore") as running:
        yield running


@pytest.mark.needs_sigstore
def test_without_a_clock_and_a_link_what_needs_the_time_is_not_admitted_but_by_choice(
    estate: Estate, kind: str, private: Sigstore, tmp_path: Path
) -> None:
    served = estate.image()
    served.sign(estate.release, V3)
    with distribution(tmp_path / "later") as url:
        central = Central(url, tmp_path)
        keyed, keyless, refused, by_floor = (at_source(central, f"{what}-{kind}", f"later-{kind}") for what in WHAT)
        for image in (keyed, refused, by_floor):
            image.sign(estate.release, V3)
        private.sign(f"{central.host}/{keyless.repository}@{keyless.root}", DEVELOPER)
    # 1. The site learns what it should have, of a source that is away.
    site = estate.site(kind, f"alone-{kind}", plain_hosts=[central.host], time=SINCE_1970)
    estate.allow(site, served, estate.release)
    site.await_published(estate.assign(site, served))
    estate.add_source(keyed.source, central.host, prefix=keyed.source)
    sigstore_root, expiring_root = f"sigstore-{kind}", f"expiring-{kind}"
    estate.trust(site, sigstore_root, trusted_root=private.trusted_root.read_bytes())
    estate.trust(site, expiring_root, expires_at=datetime.now(UTC) + timedelta(days=1))
    who = SignerIdentity(TextMatch(private.issuer.url), TextMatch(DEVELOPER))
    expiring = replace(by_keys(estate.release), trust_root=expiring_root)
    estate.allow(site, keyed, estate.release)
    estate.rule(site, keyless, Authority("developers", Keyless((who,)), (V3,), trust_root=sigstore_root))
    estate.rule(site, refused, expiring)
    estate.rule(site, by_floor, expiring, when_clock_unknown=WhenClockUnknown.USE_FLOOR)
    names = [estate.assign(site, image) for image in (keyed, keyless, refused, by_floor)]
    site.await_that(lambda: site.states().keys() >= set(names), "it knows of all")
    # 2. It starts again, in 1970, where nobody tells the time; the source is back.
    assert site.stop() == 0
    assert estate.ground_control.stop() == 0
    with distribution(tmp_path / "later", port=int(central.host.rpartition(":")[2])):
        site.start()
        assert first_time(site).year == 1970
        assert site.pull(served.repository, TAG)[0] == 200, "what was served is served"
        site.await_published(keyed.name, keyless.name, by_floor.name)
        site.await_refused(refused.name, "CLOCK_UNKNOWN")
        assert site.pull(f"{refused.source}/{refused.repository}", TAG)[0] == 404
        assert site.status()["clock"] == "floor"
        # 3. Ground Control tells the time: what waited for it is judged anew.
        estate.ground_control.start()
        site.await_published(refused.name)
    estate.retire(site.directory.name)


WHAT = ("keyed", "keyless", "refused", "by-floor")


def at_source(central: Central, repository: str, source: str) -> Image:
    """Push an image to another source than the estate's."""
    image = Image(central, repository, make_image(repository, tag=TAG), source)
    Client(central.url).push(repository, image.content)
    return image
