"""The stream's laws: whatever happens, satellites come to hold exactly the server's set, at the least cost."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge.domain import session as client
from edge.domain.holding import HeldScope
from fleet.protocol import Farewell
from tests.laws.stream_world import KIND, Content, Satellite, World

NAMES = ("ship", "shop")
SCOPES = ("fleet", "group/a", "group/b", "satellite/ship", "satellite/shop")
KEYS = tuple((KIND, f"hub/app{number}:1") for number in range(4))

one = st.sampled_from
actions = st.lists(
    st.one_of(
        st.tuples(st.just("put"), one(SCOPES), one(KEYS), st.binary(max_size=80)),
        st.tuples(st.just("delete"), one(SCOPES), one(KEYS)),
        st.tuples(st.just("join"), one(NAMES), one("ab")),
        st.tuples(st.just("leave"), one(NAMES), one("ab")),
        st.tuples(st.just("precede"), one(("group/a", "group/b")), st.integers(0, 3)),
        st.tuples(st.just("connect"), one(NAMES)),
        st.tuples(st.just("cut"), one(NAMES)),
        st.tuples(st.just("deliver"), one(NAMES), st.integers(1, 8)),
        st.tuples(st.just("compact"), one(SCOPES)),
        st.tuples(st.just("forget"), one(NAMES)),
        st.tuples(st.just("approve"), one(NAMES)),
        st.just(("settle",)),
        st.just(("settle",)),
    ),
    min_size=5,
    max_size=40,
)


def act(world: World, action: tuple[object, ...]) -> None:  # noqa: C901, PLR0912 - one case an action
    store = world.store
    match action:
        case ("put", str(scope), tuple(key), bytes(payload)):
            store.write(scope, {**store.content(scope), key: payload})
        case ("delete", str(scope), tuple(key)):
            store.write(scope, {k: p for k, p in store.content(scope).items() if k != key})
        case ("join", str(name), str(group)):
            store.groups.setdefault(name, set()).add(group)
            store.revision += 1
        case ("leave", str(name), str(group)):
            store.groups.setdefault(name, set()).discard(group)
            store.revision += 1
        case ("precede", str(scope), int(value)):
            store.precedence[scope] = value
            store.revision += 1
        case ("connect", str(name)):
            world.satellites[name].connect()
        case ("cut", str(name)):
            world.satellites[name].cut()
        case ("deliver", str(name), int(count)):
            world.satellites[name].deliver(count)
        case ("compact", str(scope)):
            store.compact(scope)
        case ("forget", str(name)):
            store.approved.discard(name)
            store.revision += 1
        case ("approve", str(name)):
            store.approved.add(name)
            store.revision += 1
        case ("settle",):
            world.settle()
        case other:
            raise AssertionError(other)
    world.woken()


def wanted(world: World, name: str) -> dict[str, Content]:
    return {binding.scope: world.store.content(binding.scope) for binding in world.store.bindings(name)}


def precedences(satellite: Satellite) -> dict[str, int]:
    return {scope: held.precedence for scope, held in satellite.journal.holding.items()}


def converge(world: World) -> None:
    world.store.approved |= set(NAMES)
    world.store.revision += 1
    world.woken()
    world.settle()


@settings(max_examples=300, deadline=None)
@given(actions)
@example(
    [
        ("put", "fleet", KEYS[0], b""),
        ("settle",),
        ("connect", "ship"),
        ("delete", "fleet", KEYS[0]),
        ("put", "fleet", KEYS[0], b""),
    ]
)
@example(
    [
        ("put", "group/b", KEYS[0], b""),
        ("join", "ship", "b"),
        ("settle",),
        ("leave", "ship", "b"),
        ("join", "ship", "b"),
    ]
)
def test_any_interleaving_converges_to_the_servers_set(script: list[tuple[object, ...]]) -> None:
    world = World(NAMES)
    for action in script:
        act(world, action)
    converge(world)
    for name, satellite in world.satellites.items():
        assert satellite.content() == wanted(world, name)
        assert precedences(satellite) == {b.scope: b.precedence for b in world.store.bindings(name)}
        assert satellite.counts.held_again == 0, "a resource that was held was sent again"
        assert satellite.counts.bytes_again == 0, "staged bytes were sent again"


@settings(max_examples=100, deadline=None)
@given(actions)
def test_whoever_holds_all_is_told_so_in_one_message(script: list[tuple[object, ...]]) -> None:
    world = World(NAMES)
    for action in script:
        act(world, action)
    converge(world)
    for satellite in world.satellites.values():
        before = satellite.counts.messages, satellite.counts.resources
        satellite.connect()
        satellite.deliver_all()
        world.woken()
        satellite.deliver_all()
        assert (satellite.counts.messages, satellite.counts.resources) == (before[0] + 1, before[1])


@settings(max_examples=100, deadline=None)
@given(actions)
def test_a_change_elsewhere_costs_a_satellite_nothing(script: list[tuple[object, ...]]) -> None:
    world = World(NAMES)
    for action in script:
        act(world, action)
    converge(world)
    shop = world.satellites["shop"]
    before = shop.counts.messages
    act(world, ("put", "satellite/ship", KEYS[0], b"only the ship's"))
    world.settle()
    assert shop.counts.messages == before


@settings(max_examples=150, deadline=None)
@given(actions, actions, actions)
def test_a_restored_store_stalls_visibly_and_loses_nothing(
    before: list[tuple[object, ...]], lost: list[tuple[object, ...]], after: list[tuple[object, ...]]
) -> None:
    world = World(NAMES)
    for action in before:
        act(world, action)
    world.take_backup()
    for action in lost:
        act(world, action)
    act(world, ("put", "fleet", (KIND, "hub/lost:1"), b"what the backup does not know"))
    converge(world)
    world.restore()
    for name, satellite in world.satellites.items():
        held = satellite.content()
        satellite.connect()
        satellite.deliver_all()
        assert satellite.left is not None
        assert satellite.left.goodbye is not None
        assert satellite.left.goodbye.why is Farewell.STORE_BEHIND
        assert satellite.content() == held, name
    world.recover()
    for action in after:
        act(world, action)
    converge(world)
    for name, satellite in world.satellites.items():
        assert satellite.content() == wanted(world, name)


@settings(max_examples=100, deadline=None)
@given(actions, one(KEYS))
def test_a_holding_that_rotted_is_mended_by_its_exact_difference(
    script: list[tuple[object, ...]], key: tuple[int, str]
) -> None:
    world = World(NAMES)
    for action in script:
        act(world, action)
    converge(world)
    ship = world.satellites["ship"]
    fleet = ship.journal.holding["fleet"]
    rotten = {k: r for k, r in fleet.resources.items() if k != key}
    # The digest still claims the whole: only the next update shows that something is amiss.
    ship.journal.holding["fleet"] = HeldScope(fleet.digest, fleet.generation, fleet.precedence, rotten)
    act(world, ("put", "fleet", (KIND, "hub/new:1"), b"new"))
    world.settle()
    assert ship.content() == wanted(world, "ship")


def test_what_was_removed_while_away_is_gone_after_reconnecting() -> None:
    world = World(NAMES)
    act(world, ("put", "fleet", KEYS[0], b"one"))
    world.settle()
    world.satellites["ship"].cut()
    act(world, ("delete", "fleet", KEYS[0]))
    world.settle()
    assert world.satellites["ship"].content()["fleet"] == {}


def test_a_satellite_that_the_store_forgot_keeps_what_it_has_until_it_is_approved() -> None:
    world = World(NAMES)
    act(world, ("put", "fleet", KEYS[0], b"one"))
    world.settle()
    act(world, ("forget", "ship"))
    world.satellites["ship"].connect()
    world.satellites["ship"].deliver_all()
    assert world.satellites["ship"].content()["fleet"] == {KEYS[0]: b"one"}


def test_bytes_received_before_a_cut_are_not_sent_again() -> None:
    world = World(NAMES)
    ship = world.satellites["ship"]
    for number, key in enumerate(KEYS):
        act(world, ("put", "fleet", key, bytes([number]) * 80))
    ship.connect()
    ship.deliver(6)  # the Subscribe, the bindings and four parts
    received = ship.journal.staged["fleet"][0].received_bytes
    assert received > 0
    sent = ship.counts.chunk_bytes
    ship.connect()
    ship.deliver_all()
    assert ship.content()["fleet"] == world.store.content("fleet")
    assert ship.counts.chunk_bytes == sent + (sent - received)


def test_a_link_that_was_away_for_seconds_is_not_waited_for_longer_than_the_window() -> None:
    left, window = client.Leave(None, "the stream broke"), timedelta(seconds=5)
    waits = [client.retry(left, failures=failures, window=window, chance=0.99) for failures in range(20)]
    assert waits == sorted(waits)
    assert max(waits[:6]) <= timedelta(seconds=5.05)
    assert timedelta(seconds=50) < waits[-1] <= timedelta(seconds=61), "and one that stays away is tried seldom"
