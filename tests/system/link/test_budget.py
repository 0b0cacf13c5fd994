"""A byte budget holds on the wire, over a kill -9 too, and what waits for the next one comes when it may."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.rig.estate import Estate
from tests.rig.satctl import Satctl
from tests.system.link.conftest import KINDS, Metered, metered_site

pytestmark = [pytest.mark.needs_cosign, pytest.mark.needs_registry]

MIB = 1 << 20
BUDGET, RATE = 4_000_000, 1_500_000
LOST_S = 0.4
"""What a kill may cost: the ranges under way and the last ones that came, a tenth of a second each, of both blobs."""


@pytest.fixture(params=KINDS)
def metered(request: pytest.FixtureRequest, estate: Estate, satctl: Satctl) -> Iterator[Metered]:
    """Give each test a site of its own: what came before a budget was set counts."""
    with metered_site(estate, satctl, str(request.param)) as site:
        yield site


def _zone_at_noon() -> str:
    """A time zone in which no day ends while a test runs."""
    behind = datetime.now(UTC).hour - 12
    return f"Etc/GMT{behind:+d}" if behind else "Etc/GMT"


def test_the_wire_sees_the_budget_within_two_percent_over_a_kill(metered: Metered) -> None:
    image = metered.image(6 * MIB, 2 * MIB)
    metered.set("--rate", f"{RATE}B/s", "--budget-day", f"{BUDGET}B", "--time-zone", _zone_at_noon())
    before = metered.proxy.received
    metered.want(image)
    metered.samples(lambda: metered.proxy.received - before > BUDGET // 3)
    metered.site.kill()
    metered.site.start()
    metered.samples(lambda: metered.waits_for(image) == "LINK_BUDGET_SPENT")
    came = metered.proxy.received - before
    assert 0.98 * BUDGET <= came <= 1.02 * BUDGET
    metered.set("--rate", "none", "--budget-day", "none")
    metered.site.await_published(image.name)
    again = metered.proxy.received - before - sum(image.sizes)
    assert again < 0.01 * sum(image.sizes) + LOST_S * RATE
    metered.retire(image)


def test_a_budget_counts_what_came_before_it_was_set(metered: Metered) -> None:
    image = metered.image(MIB)
    metered.want(image)
    metered.site.await_published(image.name)
    other = metered.image(MIB)
    metered.set("--budget-month", "100kB", "--time-zone", _zone_at_noon())
    before = metered.proxy.received
    metered.want(other)
    metered.samples(lambda: metered.waits_for(other) == "LINK_BUDGET_SPENT")
    assert metered.proxy.received == before
    metered.retire(other)
    metered.estate.unassign(metered.site, image)


def test_an_exempt_priority_ignores_a_budget_that_is_spent(metered: Metered) -> None:
    image, urgent = metered.image(MIB), metered.image(MIB)
    metered.set("--budget-day", "10kB", "--exempt-priority", "80", "--time-zone", _zone_at_noon())
    metered.want(image)
    metered.samples(lambda: metered.waits_for(image) == "LINK_BUDGET_SPENT")
    metered.want(urgent, priority=80)
    metered.site.await_published(urgent.name)
    assert metered.waits_for(image) == "LINK_BUDGET_SPENT"
    metered.retire(image)
    metered.estate.unassign(metered.site, urgent)
