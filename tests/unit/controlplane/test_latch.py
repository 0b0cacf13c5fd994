"""A latch: what one task waits for."""

from __future__ import annotations

import asyncio

import pytest

from controlplane.rpc.latch import Latch


async def test_whoever_waits_goes_on_when_it_is_set() -> None:
    latch = Latch()
    waiting = asyncio.create_task(latch.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    latch.set()
    await waiting


async def test_a_set_latch_holds_up_nobody_until_it_is_cleared() -> None:
    latch = Latch()
    latch.set()
    await latch.wait()
    await latch.wait()
    latch.clear()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await latch.wait()


async def test_a_waiter_that_gave_up_leaves_it_to_the_next() -> None:
    latch = Latch()
    first = asyncio.create_task(latch.wait())
    await asyncio.sleep(0)
    first.cancel()
    latch.set()  # in the same turn: the future is cancelled already, its task not yet
    with pytest.raises(asyncio.CancelledError):
        await first
    latch.clear()
    second = asyncio.create_task(latch.wait())
    await asyncio.sleep(0)
    latch.set()
    await second


async def test_a_second_waiter_is_a_defect() -> None:
    latch = Latch()
    waiting = asyncio.create_task(latch.wait())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="one waiter"):
        await latch.wait()
    latch.set()
    await waiting
