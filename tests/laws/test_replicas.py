"""Several Ground Controls on one store: whichever answers, whatever it has not heard, satellites are never led back."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from random import Random

from hypothesis import example, given, settings
from hypothesis import strategies as st

from fleet.position import Position
from tests.laws.replica_world import LoggedStore, Replica
from tests.laws.stream_world import KIND
from tests.laws.wanderer import TRAVEL_S, Wanderer
from tests.rig.virtual_time import VirtualLoop

NAMES = ("ship", "shop", "tram")
SCOPES = ("fleet", "group/a", "group/b", "satellite/ship")
REPLICAS = 2
QUIET_S = 120.0
"""Longer than any wait of either side, once all is well."""

one = st.sampled_from
which = st.integers(0, REPLICAS - 1)
action = st.one_of(
    st.tuples(st.just("put"), which, one(SCOPES), st.integers(0, 3), st.binary(max_size=8)),
    st.tuples(st.just("put"), which, one(SCOPES), st.integers(0, 3), st.binary(max_size=8)),
    st.tuples(st.just("delete"), which, one(SCOPES), st.integers(0, 3)),
    st.tuples(st.just("move"), which, one(NAMES), one("ab"), st.booleans()),
    st.tuples(st.just("precede"), which, one("ab"), st.integers(0, 3)),
    st.tuples(st.just("cut"), one(NAMES)),
    st.tuples(st.just("vanish"), one(NAMES)),
    st.tuples(st.just("kill"), which),
    st.tuples(st.just("start"), which),
    st.tuples(st.just("store"), st.booleans()),
)
scripts = st.lists(st.tuples(st.floats(0, 2), action), min_size=5, max_size=40)


class Story:
    """Replicas and satellites, and what happens to them."""

    def __init__(self, seed: int) -> None:
        self.chance = chance = Random(seed)
        self.store = LoggedStore(NAMES)
        self.replicas = [Replica(self.store, chance) for _ in range(REPLICAS)]
        self.satellites = [Wanderer(name, self.replicas, self.store, chance) for name in NAMES]

    def tell(self, happenings: Coroutine[None, None, None]) -> None:
        """Tell it to its end, until all has been well for a while, and see that it ends well."""
        with asyncio.Runner(loop_factory=VirtualLoop) as runner:
            runner.run(self._live(happenings))
        log = self.store.log
        assert [moved.position for moved in log] == [Position(1, number + 1) for number in range(len(log))]
        for satellite in self.satellites:
            wanted = {b.scope: (b.digest, b.precedence) for b in self.store.bindings(satellite.name)}
            held = {scope: (held.digest, held.precedence) for scope, held in satellite.journal.holding.items()}
            assert held == wanted, satellite.name
            assert satellite.told.held_again == 0, "a resource that was held was sent again"
            assert satellite.told.goodbyes <= {"SUPERSEDED"}

    async def _live(self, happenings: Coroutine[None, None, None]) -> None:
        for replica in self.replicas:
            replica.start()
        async with asyncio.TaskGroup() as tasks:
            living = [tasks.create_task(satellite.run()) for satellite in self.satellites]
            await happenings
            self.store.is_up = True
            for replica in self.replicas:
                if not replica.is_alive:
                    replica.start()
            await asyncio.sleep(QUIET_S)
            for satellite in self.satellites:
                satellite.see_left_behind()
            for task in living:
                task.cancel()
        await asyncio.sleep(QUIET_S)
        open_now = [session for replica in self.replicas for session in replica.own.values()]
        assert not open_now, "who is gone is called online"
        for replica in self.replicas:
            await replica.stop()

    async def follow(self, script: list[tuple[float, tuple[object, ...]]]) -> None:
        """Have things happen as they are written down."""
        for wait_s, happens in script:
            await asyncio.sleep(wait_s)
            self._act(happens)

    async def chase(self, rounds: int) -> None:
        """Have a satellite leave a replica as soon as it has the newest from it, before others have heard of that."""
        ship = self.satellites[0]
        for number in range(rounds):
            self._act(("put", self.chance.randrange(REPLICAS), "fleet", 0, bytes([number])))
            while ship.journal.position != self.store.position:  # noqa: ASYNC110 - it tells nobody what it holds
                await asyncio.sleep(TRAVEL_S)
            ship.cut()

    def _act(self, happens: tuple[object, ...]) -> None:
        match happens:
            case ("cut", str(name)):
                self.satellites[NAMES.index(name)].cut()
            case ("vanish", str(name)):
                self.satellites[NAMES.index(name)].vanish()
            case ("kill", int(number)):
                self.replicas[number].kill()
            case ("start", int(number)) if not self.replicas[number].is_alive:
                self.replicas[number].start()
            case ("store", bool(is_up)):
                self.store.is_up = is_up
            case (_, int(number), *_) if self.store.is_up and self.replicas[number].is_alive:
                self._write(happens)
                for replica in self.replicas:
                    if replica.is_alive:
                        replica.hear(is_own=replica is self.replicas[number])

    def _write(self, change: tuple[object, ...]) -> None:
        match change:
            case ("put", _, str(scope), int(app), bytes(payload)):
                self.store.write(scope, {**self.store.content(scope), (KIND, f"hub/app{app}:1"): payload})
            case ("delete", _, str(scope), int(app)):
                kept = {k: p for k, p in self.store.content(scope).items() if k != (KIND, f"hub/app{app}:1")}
                self.store.write(scope, kept)
            case ("move", _, str(name), str(group), bool(joins)):
                self.store.move(name, group, joins=joins)
            case ("precede", _, str(group), int(precedence)):
                self.store.precede(group, precedence)


@settings(max_examples=200, deadline=None)
@given(scripts, st.integers(0, 1 << 32))
@example(
    [
        (1.75, ("store", False)),
        (0.75, ("vanish", "ship")),
        (1.625, ("cut", "ship")),
        (1.875, ("cut", "ship")),
        (0.75, ("cut", "ship")),
    ],
    1,
)
def test_replicas_that_lag_and_die_lead_every_satellite_to_the_stores_set_and_never_back(
    script: list[tuple[float, tuple[object, ...]]], seed: int
) -> None:
    story = Story(seed)
    story.tell(story.follow(script))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1 << 32))
def test_a_replica_that_has_not_heard_what_a_satellite_has_reads_it_before_it_answers(seed: int) -> None:
    story = Story(seed)
    story.tell(story.chase(rounds=20))
    told = story.satellites[0].told
    assert len(set(told.positions)) == 20
    assert told.streams > 20
