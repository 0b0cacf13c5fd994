"""Many small writes in few commits."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from itertools import chain

import pytest
from sqlmodel import Session

from controlplane.adapters.sql.engine import Database, database_url, make_engine
from controlplane.adapters.sql.grouping import LARGEST, BulkWriter


class Batches:
    """Work that remembers what came together."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []

    def __call__(self, session: Session, items: Sequence[int]) -> list[int]:
        session.connection()
        self.seen.append(list(items))
        return [-item for item in items]


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    made = Database(make_engine(database_url(url)))
    yield made
    made.close()


async def _put(writer: BulkWriter[int, int], count: int, apart_s: float) -> list[int]:
    writes = []
    for item in range(count):
        writes.append(asyncio.create_task(writer.put(f"s{item}", item)))
        await asyncio.sleep(apart_s)
    return await asyncio.gather(*writes)


async def test_writes_that_follow_each_other_closely_share_commits(database: Database) -> None:
    batches = Batches()
    assert await _put(BulkWriter(database, batches), 60, 0.002) == [-item for item in range(60)]
    assert [*chain(*batches.seen)] == list(range(60))
    assert len(batches.seen) < 30


async def test_writes_that_come_at_once_are_cut_into_commits_of_a_bounded_size(database: Database) -> None:
    batches = Batches()
    count = 2 * LARGEST + 1
    assert await _put(BulkWriter(database, batches), count, 0) == [-item for item in range(count)]
    assert [*chain(*batches.seen)] == list(range(count))
    assert max(map(len, batches.seen)) <= LARGEST


async def test_a_write_that_nobody_shares_is_committed_alone(database: Database) -> None:
    batches = Batches()
    writer = BulkWriter(database, batches)
    for item in range(3):
        assert await writer.put("s1", item) == -item
    assert batches.seen == [[0], [1], [2]]
