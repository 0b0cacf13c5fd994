"""A sync window closes in mid-layer, and opens again: by the clock, and by an operator's word."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from tests.system.link.conftest import Metered

pytestmark = [pytest.mark.needs_cosign, pytest.mark.needs_registry]

MIB = 1 << 20
STOPS_WITHIN_S = 2.0
STANDS_FOR_S = 2.0


def _window_until(end: datetime) -> str:
    """A daily window that began some minutes ago and ends then."""
    begin = (end - timedelta(minutes=3)).replace(second=0, microsecond=0)
    return f"{begin.minute} {begin.hour} * * * {round((end - begin).total_seconds())}s"


def test_a_window_that_closes_in_mid_layer_stops_the_wire_and_one_that_opens_goes_on(metered: Metered) -> None:
    image = metered.image(10 * MIB)
    end = (datetime.now(UTC) + timedelta(seconds=7)).replace(microsecond=0)
    before = metered.proxy.received
    metered.set("--rate", "1MB/s", "--window", _window_until(end))
    metered.want(image)
    metered.samples(lambda: metered.proxy.received - before > MIB)
    closes = time.monotonic() + (end - datetime.now(UTC)).total_seconds()
    seen = metered.samples(lambda: time.monotonic() > closes + STOPS_WITHIN_S + STANDS_FOR_S)
    assert closes - 2 < seen[-1][0] <= closes + STOPS_WITHIN_S
    assert seen[-1][1] - before < 9 * MIB, "the layer was under way"
    metered.site.await_that(lambda: metered.waits_for(image) == "LINK_WINDOW_CLOSED", "it says so")
    metered.set("--rate", "none", "--window", "none")
    metered.site.await_published(image.name)
    again = metered.proxy.received - before - sum(image.sizes)
    assert again < 0.01 * sum(image.sizes)
    metered.retire(image)


def test_what_waits_for_a_window_comes_when_the_clock_opens_it(metered: Metered) -> None:
    image = metered.image(MIB)
    opens = (datetime.now(UTC) + timedelta(seconds=65)).replace(second=0, microsecond=0)
    metered.set("--window", f"{opens.minute} {opens.hour} * * * 1h")
    metered.want(image)
    metered.site.await_that(lambda: metered.waits_for(image) == "LINK_WINDOW_CLOSED", "it waits")
    fetching = metered.site.status()["fetching"]
    assert not fetching["open"]
    assert datetime.fromisoformat(fetching["until"]) == opens
    begins = time.monotonic() + (opens - datetime.now(UTC)).total_seconds()
    seen = metered.samples(lambda: metered.is_published(image), within_s=90)
    assert seen[1][0] >= begins, "nothing crosses the link before"
    assert seen[1][0] < begins + 5
    metered.retire(image)


def test_a_rate_that_an_operator_changes_holds_for_a_layer_under_way(metered: Metered) -> None:
    image = metered.image(12 * MIB)
    metered.set("--rate", "200kB/s")
    before = metered.proxy.received
    metered.want(image)
    metered.samples(lambda: metered.proxy.received - before > 500_000)
    metered.set("--rate", "4MB/s")
    metered.site.await_published(image.name)
    assert metered.proxy.received - before - sum(image.sizes) < 0.01 * sum(image.sizes)
    metered.retire(image)
