"""`satctl simulate` against a real Ground Control: hollow satellites are satellites to it, and can be removed again."""

from __future__ import annotations

import os
import signal
from typing import Any

import psutil

from controlplane.satctl.simulate.tally import Whole
from tests.rig.ground_control import GroundControl
from tests.rig.satctl import Satctl
from tests.rig.simulation import Simulating, simulation, until

SITES = 20


def artifact(number: int) -> str:
    return f"hub/app@sha256:{number:064x}"


def fleet_of(admin: Satctl) -> dict[str, Any]:
    return dict(admin.json("status")["fleet"])


def prepare(admin: Satctl) -> None:
    admin.ok("group", "create", "shops")
    admin.ok("source", "create", "hub", "--address", "127.0.0.1:1")
    admin.ok("assign", artifact(1), "--to", "group/shops")


def test_a_change_reaches_every_simulated_satellite_once(ground_control: GroundControl, admin: Satctl) -> None:
    prepare(admin)
    with Simulating(admin, ("--satellites", str(SITES), "--group", "shops")) as fleet:
        fleet.until_status(online=SITES, converged=SITES)
        admin.ok("assign", artifact(2), "--to", "group/shops")
        fleet.until_status(converged=SITES)
    assert fleet.summary["connected"] == fleet.summary["converged"] == SITES
    assert fleet.summary["handshakes"] == SITES
    assert fleet.summary["deltas"] == SITES
    assert fleet.summary["received_ms"]["count"] == SITES
    assert not fleet.summary["failures"]


async def test_satellites_that_are_cut_come_back_and_are_sent_nothing_again(
    ground_control: GroundControl, admin: Satctl
) -> None:
    prepare(admin)
    async with simulation(admin, SITES, groups=("shops",), processes=2) as fleet, fleet.running():
        await fleet.begin()
        await until(lambda: fleet.whole.sum("gauges")["converged"] == SITES, "not all have converged")
        await fleet.cut(0.5)
        await until(lambda: len(fleet.whole.times.get("back", ())) == SITES, "not all are back")
    counts = fleet.whole.sum("counts")
    assert (counts["streams"], counts["updates"], counts["deltas"]) == (2 * SITES, SITES, 0)
    assert len(fleet.whole.processes) == 2


async def test_an_authority_that_dies_while_they_join_ends_nothing(
    ground_control: GroundControl, admin: Satctl
) -> None:
    prepare(admin)
    authority = ground_control.facts["processes"]["authority"]

    def kill(what: str, _whole: Whole) -> None:
        if what == "minted 100 of 100 join tokens":
            os.kill(authority, signal.SIGKILL)

    async with simulation(admin, 100, groups=("shops",)) as fleet:
        fleet.progress = kill
        async with fleet.running():
            await fleet.begin()
            await until(lambda: fleet.whole.sum("gauges")["converged"] == 100, "not all have converged")
    assert not psutil.pid_exists(authority)


def test_faults_are_reported_as_sites_report_them(ground_control: GroundControl, admin: Satctl) -> None:
    prepare(admin)
    arguments = ("--satellites", str(SITES), "--group", "shops", "--refusing", "0.5", "--failing", "0.5")
    with Simulating(admin, arguments) as fleet:
        status = fleet.until_status(online=SITES, with_exceptions=SITES)
    assert {site["report"].get("refused", 0) + site["report"].get("failed", 0) for site in status["satellites"]} == {1}


def test_what_a_simulation_made_is_removed_and_nothing_else(ground_control: GroundControl, admin: Satctl) -> None:
    admin.ok("satellite", "create", "sim-real", "--region", "north")
    with Simulating(admin, ("--satellites", "3")) as fleet:
        fleet.until_status(online=3)
    admin.ok("simulate", "--clean", "--yes")
    assert [site["name"] for site in admin.json("satellite", "list")] == ["sim-real"]
    with Simulating(admin, ("--satellites", "3")) as fleet:
        fleet.until_status(online=3)


def test_only_an_admin_simulates(ground_control: GroundControl, admin: Satctl, tmp_path_factory: Any) -> None:
    admin.ok("operator", "set", "ed", "--role", "editor")
    editor = Satctl(tmp_path_factory.mktemp("editor"))
    editor.ok("login", admin.ok("token", "create", "--operator", "ed").strip())
    code, said = editor.refused("simulate", "--satellites", "1", "--duration", "1s")
    assert code == 3
    assert "ROLE" in said
