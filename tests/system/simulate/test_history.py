"""A Ground Control that keeps ten seconds of the past: whatever happens to its fleet, its tables come to rest."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from controlplane.satctl.client import connect
from controlplane.satctl.simulate.plan import Plan
from controlplane.satctl.simulate.session import delays
from fleet.v1 import state_pb2
from tests.rig.daily_life import ARTIFACTS, GROUP, DailyLife, Sample, prepared, sample
from tests.rig.ground_control import GroundControl
from tests.rig.postgres import running_postgres
from tests.rig.simulation import simulated, until
from tests.system.simulate.conftest import DATABASES

SITES = 20
CHANGES = 80
FILES = 8
"""A process may hold some more than before: connections of its pool, and ours."""


@pytest.fixture(params=DATABASES)
def forgetful(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[GroundControl]:
    options = {"history": "10s", "svid_ttl": "20s", "health_interval": "1s", "log_level": "warning"}
    with ExitStack() as stack:
        if request.param == "postgres":
            options |= {"database_url": stack.enter_context(running_postgres()).make_database(), "workers": "2"}
        yield stack.enter_context(GroundControl(tmp_path, options))


def rests(found: Sample) -> bool:
    """Say whether nothing of the past is left but what a scope's latest generation takes."""
    rows = found.rows
    pasts = rows["change"] == 1, rows["scope_generation"] == rows["scope"], rows["resource_body"] == ARTIFACTS + 1
    return all(pasts) and rows["join_token"] <= SITES + 1  # the operator's


async def test_what_a_busy_day_leaves_goes_and_streams_go_on(forgetful: GroundControl) -> None:
    options = await asyncio.to_thread(prepared, forgetful)
    life = DailyLife(options, SITES)
    await life.begin()
    async with connect(options) as client:
        fleet = simulated(client, options, SITES, groups=(GROUP,), plan=Plan(disconnects_per_minute=30.0))
        async with fleet.running():
            await fleet.begin()
            await until(lambda: fleet.whole.sum("gauges")["converged"] == SITES, "not all have converged")
            before = sample(forgetful)
            await life.go_on(0.05, most=CHANGES)
            await until(lambda: rests(sample(forgetful)), "the past does not go", within_s=120.0)
            await until(lambda: fleet.whole.sum("gauges")["converged"] == SITES, "not all have converged again")
            await until(lambda: sample(forgetful).rows["takeover"] == 0, "sessions taken over are not taken note of")
            after = sample(forgetful)
            counts, errors = fleet.whole.sum("counts"), fleet.whole.sum("errors")
            async with connect(options) as renewed:
                received = await delays(renewed, fleet.whole, state_pb2.Position(epoch=1, revision=1))
    assert {name: count for name, count in after.files.items() if count > before.files[name] + FILES} == {}
    assert len(received) <= SITES, "all but one change is forgotten"
    assert counts["streams"] > SITES, "identities were renewed, and connections cut"
    # Cut here, or expired within seconds: it heals. No delta starts from what is not held.
    assert set(errors) <= {"LINK_LOST", "GC_EXPIRED"}
