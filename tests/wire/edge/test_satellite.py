"""`satellite run` against a real Ground Control, a real source and real signatures."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from edge.app.ports import Credential
from tests.rig.cosign import KeyPair
from tests.rig.ground_control import GroundControl
from tests.rig.registries import Central, running_central
from tests.wire.edge.conftest import Fleet, prepared

pytestmark = [pytest.mark.needs_cosign, pytest.mark.needs_registry]


def events(log: str, event: str) -> list[dict[str, object]]:
    """Pick one kind of line from a log."""
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


def test_an_assigned_image_becomes_pullable_and_an_unsigned_one_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    digest, bare = fleet.push("app", "1"), fleet.push("bare", "1", signed=False)
    with fleet.satellite(tmp_path, "plain") as site:
        site.await_link()
        fleet.assign("hub/app:1", "plain")
        fleet.assign("hub/bare:1", "plain")
        site.await_published("hub/app:1")
        site.await_refused("hub/bare:1", "UNSIGNED")
        assert site.pull("app", "1")[0] == 200
        assert site.pull("app", digest)[0] == 200
        assert site.pull("bare", bare)[0] == 404
        shown = site.run("status")
        assert shown.returncode == 0
        assert "UNSIGNED" in shown.stdout
        site.await_that(lambda: fleet.status("plain").converged, "Ground Control knows")
        told = fleet.status("plain").report
        assert (told.published, told.refused, told.exceptions[0].reason) == (1, 1, "UNSIGNED")
        fleet.unassign("hub/app:1", "plain")
        site.await_that(lambda: "hub/app:1" not in site.states(), "withdrawn")
        site.await_that(lambda: site.pull("app", digest)[0] == 404, "gone")


def test_svids_of_seconds_rotate_with_a_stream_always_open_and_nothing_resent(fleet: Fleet, tmp_path: Path) -> None:
    fleet.push("rotating", "1")
    with fleet.satellite(tmp_path, "rotating") as site:
        fleet.assign("hub/rotating:1", "rotating")
        site.await_published("hub/rotating:1")
        applied = len(events(site.log(), "state.applied"))
        before = site.status()["link"]["session"]
        site.await_that(lambda: site.status()["link"]["session"] >= before + 4, "four more sessions")
        assert len(events(site.log(), "state.applied")) == applied
        assert not events(site.log(), "stream.ended")
        assert site.status()["link"]["state"] == "CONNECTED"


def test_a_revoked_satellite_stops_serving_where_its_site_says_so(fleet: Fleet, tmp_path: Path) -> None:
    fleet.push("revoked", "1")
    keeps, stops = (
        fleet.satellite(tmp_path, "keeps"),
        fleet.satellite(tmp_path, "stops", on_revoked="stop"),
    )
    with keeps, stops:
        for site, name in ((keeps, "keeps"), (stops, "stops")):
            fleet.assign("hub/revoked:1", name)
            site.await_published("hub/revoked:1")
        fleet.revoke("keeps")
        fleet.revoke("stops")
        keeps.await_link("REVOKED")
        assert keeps.pull("revoked", "1")[0] == 200
        stops.await_that(lambda: bool(events(stops.log(), "satellite.revoked")), "it is told")
        assert not (stops.data_dir / "satellite.ready").exists()


def test_a_second_process_on_the_same_directory_is_refused(fleet: Fleet, tmp_path: Path) -> None:
    with fleet.satellite(tmp_path, "twice") as site:
        second = site.run("run")
        assert second.returncode == 1
        assert "ALREADY_RUNNING" in second.stderr


def test_killed_it_serves_again_without_ground_control_and_goes_on_when_it_is_back(
    tmp_path: Path, central: Central, key: KeyPair
) -> None:
    with GroundControl(tmp_path) as gc:
        fleet = prepared(gc, central, key)
        first, second = fleet.push("lasting", "1"), fleet.push("later", "1")
        site = fleet.satellite(tmp_path, "lone")
        with site:
            fleet.assign("hub/lasting:1", "lone")
            site.await_published("hub/lasting:1")
            gc.kill()
            site.kill()
            site.start()
            assert site.pull("lasting", first)[0] == 200
            assert site.states()["hub/lasting:1"][0] == "published"
            gc.start()
            site.await_link()
            assert not events(site.log(), "state.applied")[2:], "nothing held is sent again"
            fleet.assign("hub/later:1", "lone")
            site.await_published("hub/later:1")
            assert site.pull("later", second)[0] == 200


def test_killed_in_the_middle_of_a_layer_it_completes_the_image(fleet: Fleet, tmp_path: Path) -> None:
    digest = fleet.push("large", "1", size_bytes=96 << 20)
    with fleet.satellite(tmp_path, "torn") as site:
        site.await_link()
        fleet.assign("hub/large:1", "torn")
        site.await_that(lambda: bool(events(site.log(), "artifact.admitted")), "admitted")
        assert site.process is not None
        os.kill(site.process.pid, signal.SIGKILL)
        site.kill()
        assert not events(site.log(), "artifact.published")
        site.start()
        site.await_published("hub/large:1")
        assert site.pull("large", digest)[0] == 200


@pytest.mark.parametrize(
    ("variable", "value", "word"),
    [
        ("registry", "harbor", "SATELLITE_REGISTRY"),
        ("listen", "here", "SATELLITE_LISTEN"),
        ("on_revoked", "dance", "SATELLITE_ON_REVOKED"),
        ("ground_control_id", "spiffe://x/operator/me", "SATELLITE_GROUND_CONTROL_ID"),
    ],
)
def test_a_wrong_setting_names_its_variable(fleet: Fleet, tmp_path: Path, variable: str, value: str, word: str) -> None:
    site = fleet.satellite(tmp_path, "wrong")
    site.options = {variable: value}
    done = site.run("run")
    assert done.returncode == 2
    assert word in done.stderr


def test_what_never_joined_says_how(tmp_path: Path, fleet: Fleet) -> None:
    site = fleet.satellite(tmp_path, "lost")
    (site.data_dir / "ground-control").unlink()
    done = site.run("run")
    assert done.returncode == 1
    assert "satellite join" in done.stderr


def test_a_source_with_a_login_is_pulled_from_again_after_a_restart_and_the_secret_is_nowhere_on_disk(
    fleet: Fleet, tmp_path: Path
) -> None:
    login = Credential("puller", "a-secret-of-the-test")
    with running_central(tmp_path / "private", login=login) as private:
        fleet.guard("vault", private.host, login)
        made = [private.push_image("locked", tag).digest for tag in ("1", "2")]
        for digest in made:
            fleet.sign_at(private, f"locked@{digest}")
        with fleet.satellite(tmp_path, "keyed", allow_plain_http=private.host) as site:
            fleet.assign(f"vault/locked:1@{made[0]}", "keyed")
            site.await_that(lambda: site.pull("vault/locked", made[0])[0] == 200, "pulled with the credential")
            site.kill()
            site.start()
            fleet.assign(f"vault/locked:2@{made[1]}", "keyed")
            site.await_that(lambda: site.pull("vault/locked", made[1])[0] == 200, "and again after a restart")
            for path in site.directory.rglob("*"):
                if path.is_file():
                    assert login.password.encode() not in path.read_bytes(), path
