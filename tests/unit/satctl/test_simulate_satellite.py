"""When a simulated satellite comes back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

import pytest

from controlplane.satctl.simulate.plan import Plan
from controlplane.satctl.simulate.satellite import Satellite
from controlplane.satctl.simulate.site import World
from controlplane.satctl.simulate.tally import Tally
from fleet.v1 import state_pb2


@pytest.mark.parametrize("wait_s", [0.0, 0.25, 7.5])
def test_it_comes_back_when_the_goodbye_says_spread_over_the_window(wait_s: float) -> None:
    tally = Tally()
    site = Satellite("sim-1", World(cast("Any", None), Plan(), cast("Any", None), tally))
    goodbye = state_pb2.Goodbye(reason=state_pb2.GOODBYE_REASON_DRAINING)
    goodbye.retry_after.FromTimedelta(timedelta(seconds=wait_s))
    waits = [site.left_s(goodbye) for _ in range(100)]
    assert wait_s <= min(waits) < max(waits) <= wait_s + site.window_s
    assert tally.errors == {"GOODBYE_REASON_DRAINING": 100}
