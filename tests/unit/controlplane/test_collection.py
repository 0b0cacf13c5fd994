"""What is told when somebody does not answer."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from controlplane.adapters.processes import role_of
from controlplane.app.census import Census
from controlplane.app.meter import Sample
from controlplane.http.app import Pages
from controlplane.http.collection import Collection, FleetNumbers
from fleet.errors import FleetError, Kind
from fleet.position import Position


class Database:
    """Answers a census, refuses to, or does neither, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.away = False
        self.hangs = False

    async def reach(self) -> None:
        if self.away:
            raise FleetError(Kind.UNAVAILABLE, "STORE_UNAVAILABLE", "away")

    async def read(self) -> Census:
        self.asked += 1
        if self.hangs:
            await asyncio.Event().wait()
        await self.reach()
        return Census(datetime(2026, 1, 1, tzinfo=UTC), Position(1, 5), ())


async def answers() -> list[Sample]:
    return [Sample("streams", (), 3)]


async def silence() -> None:
    return None


def collection(database: Database, **workers: object) -> Collection:
    return Collection(workers, list, FleetNumbers(database.read), database.reach)  # type: ignore[arg-type] # answers or silence


async def values(collected: Collection) -> dict[str, float]:
    metrics = await collected.metrics()
    return {f"{s.name} {'/'.join(s.labels.values())}".strip(): s.value for m in metrics for s in m.samples}


async def test_a_worker_that_is_gone_leaves_no_number_behind() -> None:
    read = await values(collection(Database(), a=answers, b=silence))
    assert (read["ground_control_worker_up a"], read["ground_control_worker_up b"]) == (1, 0)
    assert "ground_control_streams a" in read
    assert "ground_control_streams b" not in read


async def test_without_the_database_nothing_is_told_of_the_fleet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controlplane.http.collection.LEAST_REST_S", 0)
    monkeypatch.setattr("controlplane.http.collection.REST_FACTOR", 0)
    database = Database()
    collected = collection(database, a=answers)
    assert (await values(collected))["ground_control_fleet_log_revision"] == 5
    database.away = True
    read = await values(collected)
    assert read["ground_control_database_up"] == 0
    assert not [name for name in read if "fleet" in name], "no number from before"
    assert read["ground_control_streams a"] == 3


async def test_a_database_that_is_back_is_asked_soon_however_long_it_was_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("controlplane.http.collection.CENSUS_S", 0.2)
    monkeypatch.setattr("controlplane.http.collection.LEAST_REST_S", 0)
    database = Database()
    database.hangs = True
    collected = collection(database)
    assert (await values(collected))["ground_control_database_up"] == 0
    database.hangs = False
    assert (await values(collected))["ground_control_database_up"] == 1


async def test_scrapers_share_one_census_while_it_is_good() -> None:
    database = Database()
    collected = collection(database, a=answers)
    await asyncio.gather(*(collected.metrics() for _ in range(5)))
    assert database.asked == 1
    await collected.is_ready()
    assert database.asked == 1, "a probe counts no fleet"


@pytest.mark.parametrize("away", [True, False])
@pytest.mark.parametrize("worker", [answers, silence])
async def test_it_is_ready_with_a_worker_and_a_database(worker: object, away: bool) -> None:
    database = Database()
    database.away = away
    assert await collection(database, a=worker, b=silence).is_ready() is (worker is answers and not away)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthz", 200),
        ("HEAD", "/metrics", 200),
        ("GET", "/readyz", 503),
        ("GET", "/", 404),
        ("GET", "/metrics/", 404),
        ("POST", "/metrics", 405),
        ("DELETE", "/healthz", 405),
    ],
)
async def test_three_pages_are_read_and_nothing_else(method: str, path: str, status: int) -> None:
    collected = collection(Database(), a=silence)
    sent: list[dict[str, object]] = []

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    async def receive() -> dict[str, object]:
        raise AssertionError("a body is read by nobody")

    scope = {"type": "http", "method": method, "path": path, "headers": []}
    await Pages(collected.metrics, collected.is_ready)(scope, receive, send)
    assert sent[0]["status"] == status
    assert bool(sent[1]["body"]) is (method != "HEAD")


@pytest.mark.parametrize(
    ("command", "role"),
    [
        ("python -m controlplane.worker worker-2", "worker-2"),
        ("python -m certs.authority --directory /d", "authority"),
        ("python -m controlplane.web worker-1", "web"),
        ("python -m controlplane.cli migrate", ""),
        ("sh -c true", ""),
        ("", ""),
    ],
)
def test_a_child_is_known_by_its_command_line(command: str, role: str) -> None:
    assert role_of(command.split()) == role
