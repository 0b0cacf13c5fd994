"""What an operator and a person at the site see of an image that takes its time: bytes, rate, time left, and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fleet.v1 import fleet_pb2
from tests.rig.estate import Estate, Image
from tests.rig.satctl import Satctl, Watching
from tests.rig.slow_source import LAYER_BYTES, SlowSource, slow_source

pytestmark = [pytest.mark.needs_cosign, pytest.mark.needs_registry]


@pytest.fixture(scope="module")
def slow(estate: Estate, kind: str) -> Iterator[SlowSource]:
    with slow_source(estate, kind) as running:
        yield running


@pytest.fixture(scope="module")
def satctl(estate: Estate, tmp_path_factory: pytest.TempPathFactory) -> Satctl:
    satctl = Satctl(tmp_path_factory.mktemp("watcher"))
    satctl.ok("login", estate.ground_control.operator_string("watcher"))
    return satctl


def told(event: dict[str, Any], name: str) -> dict[str, Any]:
    """What an event of a watch says of an artifact; empty where it does not mention it."""
    report = (event.get("status") or {}).get("report") or {}
    found = [one for one in report.get("exceptions", ()) if one["name"] == name]
    return found[0] if found else {}


def published(event: dict[str, Any], slow: SlowSource, image: Image) -> bool:
    """The site's report has nothing to say of the image any more, and that it is there."""
    status = event.get("status") or {}
    is_site = status.get("satellite") == slow.site.directory.name
    return is_site and bool(status["converged"]) and not told(event, image.name)


def revision(slow: SlowSource) -> int:
    async def ask() -> int:
        async with slow.estate.admin.fleet() as fleet:
            return (await fleet.GetFleetStatus(fleet_pb2.GetFleetStatusRequest())).position.revision

    return slow.estate.loop.call(ask())


def test_bytes_and_rate_are_seen_live_until_the_image_is_published(slow: SlowSource, satctl: Satctl) -> None:
    with Watching(satctl) as watching:
        watching.until(lambda event: event["event"] == "caught_up")
        image = slow.admitted()
        before = revision(slow)
        seen: list[int] = []
        while len(set(seen)) < 3:
            event = watching.until(lambda event: told(event, image.name).get("reason") == "TRANSFERRING")
            row = told(event, image.name)
            assert row["total_bytes"] > LAYER_BYTES
            seen.append(row["done_bytes"])
        assert row["rate_bytes_per_s"] > 0
        here = slow.row(image)
        assert (here["state"], here["reason"]) == ("waiting", "TRANSFERRING")
        assert here["left_bytes"] == here["total_bytes"] - here["done_bytes"] > 0
        assert here["rate_bytes_per_s"] > 0
        assert here["eta_s"] > 0
        shown = satctl.ok("status", slow.site.directory.name)
        assert f" of {LAYER_BYTES / (1 << 20):.1f} MiB" in shown
        assert "/s, " in shown
        slow.proxy.bytes_per_s = 0
        watching.until(lambda event: published(event, slow, image))
        counts = [found["done_bytes"] for event in watching.seen if (found := told(event, image.name))]
        assert counts == sorted(counts)
        assert revision(slow) == before, "progress is no change"


def test_what_broke_off_says_until_when_it_waits_and_keeps_its_bytes(slow: SlowSource, satctl: Satctl) -> None:
    with Watching(satctl) as watching:
        image = slow.admitted()
        slow.proxy.loses = lambda: True
        try:
            event = watching.until(lambda event: told(event, image.name).get("state") == "failed")
        finally:
            slow.proxy.loses = lambda: False
        row = told(event, image.name)
        assert row["reason"] in {"SOURCE_CUT", "SOURCE_UNREACHABLE"}
        assert row["retry_at"] > row["since"]
        assert 0 < row["done_bytes"] < row["total_bytes"]
        assert row["rate_bytes_per_s"] == 0
        slow.proxy.bytes_per_s = 0
        watching.until(lambda event: published(event, slow, image))
