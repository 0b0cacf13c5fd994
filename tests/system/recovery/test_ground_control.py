"""Ground Control dies, and comes back, or does not."""

from __future__ import annotations

import os
import shutil
import signal
from contextlib import suppress

import pytest

from tests.rig.ground_control import GroundControl
from tests.rig.satellite import Satellite
from tests.rig.vertical import Vertical, until

pytestmark = [pytest.mark.needs_cosign, pytest.mark.needs_registry]


def kill_all(gc: GroundControl) -> None:
    """Kill every process of a Ground Control with -9, the supervisor first."""
    children = list(gc.facts["processes"].values())
    gc.kill()
    for pid in children:
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


def updates(site: Satellite) -> int:
    """Count the updates with content that a satellite was ever sent."""
    return site.log().count('"state.applied"')


def test_after_a_kill_the_satellite_reconnects_and_is_sent_only_what_is_new(fleet: Vertical, kind: str) -> None:
    first, second = fleet.push("first"), fleet.push("second")
    with fleet.satellite("kiosk-1", kind) as site:
        site.await_link()
        site.await_published(fleet.assign(first, "satellite/kiosk-1"))
        before, session = updates(site), site.status()["link"]["session"]
        kill_all(fleet.gc)
        site.await_that(lambda: site.status()["link"]["state"] != "CONNECTED", "the link is down")
        assert site.pull("first", "1")[0] == 200
        fleet.gc.start()
        site.await_link()
        assert site.status()["link"]["session"] > session
        assert updates(site) == before
        assert site.log().count('"artifact.published"') == 1
        site.await_published(fleet.assign(second, "satellite/kiosk-1"))
        assert updates(site) == before + 1
        until(lambda: fleet.status("kiosk-1").converged, "Ground Control hears that all is well")


def test_without_ground_control_a_killed_satellite_serves_what_it_had(fleet: Vertical, kind: str) -> None:
    image = fleet.push("app")
    with fleet.satellite("kiosk-1", kind) as site:
        site.await_published(fleet.assign(image, "satellite/kiosk-1"))
        manifest = site.pull("app", "1")
        kill_all(fleet.gc)
        site.kill()
        site.start()
        assert site.pull("app", "1") == site.pull("app", image.digest) == manifest == (200, manifest[1])
        assert site.pull_blob("app", image.layers[0])[0] == 200
        assert site.states()[image.at()] == ("published", None)
        assert site.status()["link"]["state"] != "CONNECTED"
        fleet.gc.start()
        site.await_link()


def test_two_satellites_on_a_copied_directory_are_reported(fleet: Vertical, tmp_path_factory: pytest.TempPathFactory) -> None:
    site = fleet.satellite("kiosk-1", "distribution")
    copy = Satellite(tmp_path_factory.mktemp("copy"), registry="distribution")
    shutil.copytree(site.data_dir, copy.data_dir)
    with site, copy:
        until(lambda: fleet.status("kiosk-1").duplicate_identity, "the copy is seen")
