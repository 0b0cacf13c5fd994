"""The program `satellite` on a machine where people err: settings, two at once, and its end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.rig.satellite import Satellite
from tests.rig.vertical import Vertical

pytestmark = [pytest.mark.needs_cosign, pytest.mark.needs_registry]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("listen", "nowhere"),
        ("registry", "harbor"),
        ("log_level", "loud"),
        ("on_revoked", "panic"),
        ("site_plaintext", "perhaps"),
        ("spiffe_endpoint_socket", "tcp://127.0.0.1:1"),
        ("ground_control_id", "spiffe://fleet.test/satellite/kiosk-1"),
    ],
)
def test_a_wrong_setting_is_named_and_ends_with_2(tmp_path: Path, name: str, value: str) -> None:
    done = Satellite(tmp_path, options={name: value}).run("run")
    assert done.returncode == 2
    assert f"SATELLITE_{name.upper()}" in done.stderr
    assert not done.stdout


@pytest.fixture(scope="module")
def joined(fleet: Vertical) -> Iterator[dict[str, Satellite]]:
    """One satellite of each kind, joined when it is first asked for."""
    sites: dict[str, Satellite] = {}
    yield sites
    for site in sites.values():
        site.stop()


@pytest.fixture
def site(fleet: Vertical, kind: str, joined: dict[str, Satellite]) -> Satellite:
    """A running satellite, whatever the test before did to it."""
    if kind not in joined:
        joined[kind] = fleet.satellite(f"process-{kind}", kind)
    if joined[kind].process is None:
        joined[kind].start()
    return joined[kind]


def children(site: Satellite) -> list[psutil.Process]:
    assert site.process is not None
    found = psutil.Process(site.process.pid).children(recursive=True)
    assert found
    return found


def test_a_second_satellite_on_one_directory_is_refused_and_the_first_does_not_feel_it(site: Satellite) -> None:
    second = site.run("run")
    assert (second.returncode, "ALREADY_RUNNING" in second.stderr) == (1, True)
    assert (site.data_dir / "satellite.ready").exists()
    assert site.pull("nothing", "1")[0] == 404
    assert site.run("status").returncode == 0


def test_told_to_stop_it_exits_well_and_leaves_no_process(site: Satellite) -> None:
    started = children(site)
    assert site.stop() == 0
    assert not psutil.wait_procs(started, timeout=5)[1]
    assert not (site.data_dir / "satellite.ready").exists()


def test_killed_it_takes_its_registry_with_it(site: Satellite) -> None:
    started = children(site)
    site.kill()
    assert not psutil.wait_procs(started, timeout=10)[1]
