"""No satellite is online that has no stream: whenever a stream breaks, and whatever the database does meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest

from controlplane.adapters.opening import open_fleet
from controlplane.adapters.sql.migrate import migrate
from fleet.v1 import attestation_pb2, fleet_pb2
from tests.rig.held_presence import nobody_writes_presence
from tests.rig.identity import Realm
from tests.rig.postgres import running_postgres
from tests.wire.controlplane.site import Site, opened, serving

ONLINE, STALE = attestation_pb2.LIFECYCLE_ONLINE, attestation_pb2.LIFECYCLE_STALE


@asynccontextmanager
async def ground_control(url: str, private: Path) -> AsyncIterator[Site]:
    realm = Realm()
    await asyncio.to_thread(migrate, url)
    async with (
        open_fleet(url, private=private, trust_domain=realm.root.trust_domain) as fleet,
        serving(realm, fleet, url=url, private=private) as running,
    ):
        await running.fleet.init("admin")
        await running.satellite("kiosk-1")
        yield running


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.needs_postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with ExitStack() as stack:
        is_sqlite = request.param == "sqlite"
        yield (
            f"sqlite:///{tmp_path / 'gc.db'}" if is_sqlite else stack.enter_context(running_postgres()).make_database()
        )


async def status_of(site: Site) -> fleet_pb2.SatelliteStatus:
    return (await site.operators().GetSatelliteStatus(fleet_pb2.GetSatelliteStatusRequest(name="kiosk-1"))).status


async def until_stale(site: Site) -> None:
    """Wait until its session was seen to be opened, and is closed."""

    async def is_over() -> bool:
        status = await status_of(site)
        return status.HasField("last_seen_at") and status.lifecycle == STALE

    async with asyncio.timeout(10):
        while not await is_over():  # noqa: ASYNC110 - what it waits for has no event
            await asyncio.sleep(0.05)


async def test_a_satellite_that_is_cut_while_its_session_opens_is_not_online(
    url: str, tmp_path: Path, boot_id: bytes
) -> None:
    async with ground_control(url, tmp_path / "private") as site:
        with nobody_writes_presence(url):
            stream = await opened(site, "kiosk-1", boot_id)
            await asyncio.sleep(0.5)  # it has come, and waits
            stream.call.cancel()
            await asyncio.sleep(0.2)
        await until_stale(site)


@pytest.mark.needs_postgres
async def test_a_satellite_that_leaves_while_the_database_is_away_is_not_online_once_it_is_back(
    tmp_path: Path, boot_id: bytes
) -> None:
    with running_postgres(durable=True) as server:
        async with ground_control(server.make_database(), tmp_path / "private") as site:
            stream = await opened(site, "kiosk-1", boot_id)
            await stream.update()
            assert (await status_of(site)).lifecycle == ONLINE
            await asyncio.to_thread(server.stop)
            stream.call.cancel()
            await asyncio.sleep(1)
            await asyncio.to_thread(server.start)
            await until_stale(site)
