"""Workers are replaced while everybody works: satellites go over to the new ones, and miss nothing.

HOLLOW_SITES=5000 pytest tests/system/replicas/test_reload.py --timeout 1800 --log-cli-level=info    the same at scale
"""

from __future__ import annotations

import asyncio

import pytest

from tests.rig.ground_control import GroundControl
from tests.rig.hollow import hollow
from tests.rig.satctl import Satctl

pytestmark = pytest.mark.needs_postgres


async def test_a_rolling_restart_under_changes_loses_nothing_and_sends_nothing_twice(
    ground_control: GroundControl, admin: Satctl
) -> None:
    before = ground_control.workers()
    async with hollow(admin) as fleet:
        async with fleet.changing():
            await asyncio.to_thread(ground_control.reload)
        await fleet.settled()
        assert fleet.each_came_once(), fleet
        assert await fleet.log_is_whole()
        assert not set(before.values()) & set(ground_control.workers().values())
        assert fleet.counts()["streams"] >= 2 * fleet.sites, "every stream went over"
        ended = fleet.goodbyes()
        assert ended.pop("GOODBYE_REASON_DRAINING") >= fleet.sites
        # A connection that is closed while its satellite speaks is reset, and what was said last is lost with it. On a
        # machine that is behind, a few are still arriving when the next listener closes.
        assert set(ended) <= {"LINK_LOST", "CANCELLED", "GC_UNREACHABLE"}, str(fleet)
        assert ended.total() <= fleet.sites // 50, str(fleet)
