"""Health is written together, the newest of each satellite, and also at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from controlplane.domain.status import Health
from controlplane.rpc import healths
from controlplane.rpc.healths import Healths
from fleet.errors import FleetError, Kind


class Store:
    """Keeps what was written, and can be away."""

    def __init__(self) -> None:
        self.written: list[dict[str, Health]] = []
        self.is_away = False
        self.called = asyncio.Event()

    async def record_healths(self, told: Mapping[str, Health]) -> None:
        self.called.set()
        if self.is_away:
            raise FleetError(Kind.UNAVAILABLE, "STORE_UNAVAILABLE", "away")
        self.written.append(dict(told))


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(healths, "COLLECT_S", 0.0)


async def test_what_comes_together_is_one_write_of_the_newest() -> None:
    store = Store()
    writer = Healths(store)
    writer.put("s1", Health(cpu_fraction=0.1))
    writer.put("s2", Health(cpu_fraction=0.2))
    writer.put("s1", Health(cpu_fraction=0.3))
    running = asyncio.create_task(writer.run())
    await store.called.wait()
    running.cancel()
    assert store.written[0] == {"s1": Health(cpu_fraction=0.3), "s2": Health(cpu_fraction=0.2)}


async def test_a_store_that_is_away_ends_nothing() -> None:
    store = Store()
    store.is_away = True
    writer = Healths(store)
    running = asyncio.create_task(writer.run())
    writer.put("s1", Health())
    await store.called.wait()
    store.called.clear()
    store.is_away = False
    writer.put("s1", Health(cpu_fraction=0.5))
    await store.called.wait()
    running.cancel()
    assert store.written == [{"s1": Health(cpu_fraction=0.5)}]


async def test_what_waits_is_written_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(healths, "COLLECT_S", 3600.0)
    store = Store()
    writer = Healths(store)
    writer.put("s1", Health())
    running = asyncio.create_task(writer.run())
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert store.written == [{"s1": Health()}]
