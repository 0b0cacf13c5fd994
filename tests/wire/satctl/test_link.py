"""`satctl link` against a real Ground Control: what it writes, what it leaves, what it refuses."""

from __future__ import annotations

import pytest

from tests.rig.satctl import Satctl


@pytest.fixture(scope="module")
def group(admin: Satctl) -> str:
    admin.ok("group", "create", "ships")
    return "ships"


def test_a_link_is_set_changed_in_part_shown_and_cleared(admin: Satctl, group: str) -> None:
    windows = ("--window", "0 22 * * MON-FRI 6h", "--window", "0 0 * * 0 1d", "--time-zone", "Europe/Berlin")
    limits = ("--rate", "2MB/s", "--budget-day", "2GB", "--exempt-priority", "80")
    said = admin.json("link", "set", "--group", group, *windows, *limits)
    link = said["spec"]["link"]
    assert said["name"] == "group/ships"
    assert link["rate_bytes_per_second"] == 2_000_000
    assert [one["cron"] for one in link["windows"]] == ["0 22 * * MON-FRI", "0 0 * * 0"]
    assert (link["time_zone"], link["day_budget_bytes"], link["exempt_priority"]) == ("Europe/Berlin", 2 * 10**9, 80)
    changed = admin.json(
        "link", "set", "--group", group, "--rate", "8Mbit/s", "--window", "none", "--budget-month", "1TB"
    )
    link = changed["spec"]["link"]
    assert (link["rate_bytes_per_second"], link["day_budget_bytes"]) == (1_000_000, 2 * 10**9)
    assert (link["windows"], link["month_budget_bytes"]) == ([], 10**12)
    assert admin.json("link", "show") == [changed] == [admin.json("link", "show", "--group", group)]
    assert "1MB/s" in admin.ok("link", "show")
    admin.ok("link", "clear", "--group", group)
    code, text = admin.refused("link", "show", "--group", group)
    assert code == 1
    assert "CONFIGURATION_UNKNOWN" in text
    assert admin.json("link", "show") == []


def test_a_link_without_limits_is_said_too(admin: Satctl) -> None:
    said = admin.json("link", "set", "--fleet")
    assert "link" in said["spec"]
    admin.ok("link", "clear", "--fleet")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--window", "0 25 * * * 6h"), "LINK_MALFORMED"),
        (("--window", "0 0 31 2 * 6h"), "LINK_MALFORMED"),
        (("--window", "0 22 * * * 30s"), "LINK_MALFORMED"),
        (("--window", "22:00 6h"), "LINK_MALFORMED"),
        (("--window", "0 22 * * *"), "DURATION_MALFORMED"),
        (("--time-zone", "Europe/Atlantis"), "LINK_MALFORMED"),
        (("--rate", "fast"), "SIZE_MALFORMED"),
        (("--rate", "10B/s"), "LINK_MALFORMED"),
        (("--budget-day", "1kB"), "LINK_MALFORMED"),
        (("--exempt-priority", "101"), "LINK_MALFORMED"),
        (("--exempt-priority", "high"), "PRIORITY_OUT_OF_RANGE"),
        (("--fleet",), "SCOPE_MALFORMED"),
    ],
)
def test_what_no_satellite_could_obey_is_refused_by_name(
    admin: Satctl, group: str, options: tuple[str, ...], reason: str
) -> None:
    _, said = admin.refused("link", "set", "--group", group, *options)
    assert reason in said
    assert admin.json("link", "show") == []
