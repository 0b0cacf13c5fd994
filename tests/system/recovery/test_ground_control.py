"""Ground Control dies, and comes back, or does not."""

from __future__ import annotations

import os
import shutil
import signal
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

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


def is_cut_off(site: Satellite) -> bool:
    return bool(site.status()["link"]["state"] != "CONNECTED")


def updates(site: Satellite) -> int:
    """Count the updates with content that a satellite was ever sent."""
    return site.log().count('"state.applied"')


def test_after_a_kill_satellites_reconnect_and_are_sent_only_what_is_new(
    fleet: Vertical, kinds: tuple[str, ...]
) -> None:
    first, second = fleet.push("first"), fleet.push("second")
    with ExitStack() as stack:
        sites = {f"killed-{kind}": fleet.satellite(f"killed-{kind}", kind) for kind in kinds}
        for name, site in sites.items():
            stack.enter_context(site)
            site.await_published(fleet.assign(first, f"satellite/{name}"))
        before = {name: (updates(site), site.status()["link"]["session"]) for name, site in sites.items()}
        kill_all(fleet.gc)
        for site in sites.values():
            site.await_that(partial(is_cut_off, site), "the link is down")
            assert site.pull("first", "1")[0] == 200
        fleet.gc.start()
        for name, site in sites.items():
            site.await_link()
            sent, session = before[name]
            assert site.status()["link"]["session"] > session
            assert (updates(site), site.log().count('"artifact.published"')) == (sent, 1)
            site.await_published(fleet.assign(second, f"satellite/{name}"))
            assert updates(site) == sent + 1
            until(partial(fleet.is_converged, name), "Ground Control hears that all is well")


def test_without_ground_control_killed_satellites_serve_what_they_had(fleet: Vertical, kinds: tuple[str, ...]) -> None:
    image = fleet.push("app")
    with ExitStack() as stack:
        sites = {f"alone-{kind}": fleet.satellite(f"alone-{kind}", kind) for kind in kinds}
        for name, site in sites.items():
            stack.enter_context(site)
            site.await_published(fleet.assign(image, f"satellite/{name}"))
        kill_all(fleet.gc)
        for site in sites.values():
            manifest = site.pull("app", "1")
            site.kill()
            site.start()
            assert [site.pull("app", at) for at in ("1", image.digest)] == [manifest] * 2
            assert manifest[0] == site.pull_blob("app", image.layers[0])[0] == 200
            assert site.states()[image.at()][0] == "published"
            assert is_cut_off(site)
        fleet.gc.start()
        for site in sites.values():
            site.await_link()


def test_two_satellites_on_a_copied_directory_are_reported(fleet: Vertical, tmp_path: Path) -> None:
    site = fleet.satellite("twin", "distribution")
    copy = Satellite(tmp_path, registry="distribution")
    shutil.copytree(site.data_dir, copy.data_dir)
    with site, copy:
        until(lambda: fleet.status("twin").duplicate_identity, "the copy is seen")
