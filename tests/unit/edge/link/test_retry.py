"""What waits for the link is tried when that opens: no sooner, and hardly later."""

from __future__ import annotations

from datetime import timedelta

import pytest

from edge.domain.link import WAITS
from edge.domain.retry import pause
from fleet.errors import FleetError, Kind


@pytest.mark.parametrize("reason", sorted(WAITS))
@pytest.mark.parametrize("failures", [0, 9])
@pytest.mark.parametrize("chance", [0.0, 0.99])
def test_the_wait_is_the_links_own(reason: str, failures: int, chance: float) -> None:
    for wait in (timedelta(seconds=3), timedelta(hours=9)):
        error = FleetError(Kind.EXHAUSTED, reason, "it is closed", retry_after=wait)
        assert wait <= pause(error, failures=failures, chance=chance) < wait + timedelta(seconds=2)
