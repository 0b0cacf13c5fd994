"""Whose blob is brought next, by how many threads, and what gives way to what."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from edge.app import workers as workers_module
from edge.app.workers import Task, Workers, Yields
from edge.domain.turns import Load, Urgency, in_order, joined
from fleet.errors import FleetError
from fleet.reference import Digest, digest_of

PATIENCE_S = 20


def digest(name: str) -> Digest:
    return digest_of(name.encode())


@contextmanager
def workers(jobs: int = 1, per_source: int = 1) -> Iterator[Workers]:
    made = Workers(jobs, per_source)
    try:
        yield made
    finally:
        made.close()


class Site:
    """Records what runs; a name in `gates` waits there until it is opened."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.gates: dict[str, threading.Event] = {}
        self.begun: dict[str, threading.Event] = {}

    def task(self, name: str, size_bytes: int = 1, *, blob: str = "") -> Task:
        self.begun[name] = threading.Event()

        def bring(yields: Yields) -> bool:
            self.log.append(name)
            self.begun[name].set()
            gate = self.gates.get(name)
            while gate and not gate.wait(0.005):
                if yields():
                    self.log.append(f"{name} gives way")
                    return False
            return True

        return Task(digest(blob or name), size_bytes, bring)

    def hold(self, name: str) -> threading.Event:
        self.gates[name] = threading.Event()
        return self.gates[name]

    def await_begun(self, name: str) -> None:
        assert self.begun[name].wait(PATIENCE_S)


def in_background(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def wait_until(is_so: Callable[[], bool]) -> None:
    for _ in range(PATIENCE_S * 200):
        if is_so():
            return
        threading.Event().wait(0.005)
    raise AssertionError("it never came to be so")


def test_of_one_image_the_largest_blob_goes_first() -> None:
    site = Site()
    with workers() as made:
        made.run(Urgency(), "hub", [site.task("small", 1), site.task("large", 9), site.task("middle", 5)])
    assert site.log == ["large", "middle", "small"]


def test_what_waits_goes_by_priority_then_by_what_is_done_soonest() -> None:
    site = Site()
    gate = site.hold("first")
    with workers() as made:
        running = [in_background(lambda: made.run(Urgency(5), "hub", [site.task("first")]))]
        wait_until(lambda: site.log == ["first"])
        for name, size, priority in (("large", 9, 0), ("small", 1, 0), ("urgent", 5, 5)):
            task, count = site.task(name, size), len(made._batches)
            running.append(in_background(lambda task=task, at=priority: made.run(Urgency(at), "hub", [task])))  # type: ignore[misc] # bound here
            wait_until(lambda count=count: len(made._batches) > count)  # type: ignore[misc] # bound here
        gate.set()
        for thread in running:
            thread.join(PATIENCE_S)
    assert site.log == ["first", "urgent", "small", "large"]


def test_a_blob_on_its_way_gives_way_to_a_more_urgent_one_and_goes_on_later() -> None:
    site = Site()
    gate = site.hold("slow")
    with workers() as made:
        slow = in_background(lambda: made.run(Urgency(0), "hub", [site.task("slow")]))
        wait_until(lambda: site.log == ["slow"])
        made.run(Urgency(10), "hub", [site.task("urgent")])
        gate.set()
        slow.join(PATIENCE_S)
    assert site.log == ["slow", "slow gives way", "urgent", "slow"]


def test_nothing_gives_way_to_what_could_not_run_all_the_same() -> None:
    site = Site()
    gate = site.hold("other source")
    with workers(jobs=2, per_source=1) as made:
        busy = in_background(lambda: made.run(Urgency(10), "full", [site.task("full")]))
        busy.join(PATIENCE_S)
        full = site.hold("fills it")
        first = in_background(lambda: made.run(Urgency(10), "full", [site.task("fills it"), site.task("waits", 0)]))
        wait_until(lambda: "fills it" in site.log)
        second = in_background(lambda: made.run(Urgency(0), "hub", [site.task("other source")]))
        wait_until(lambda: "other source" in site.log)
        for _ in range(20):
            assert not made._is_outranked(next(one for one in made._batches if one.source == "hub"))
        full.set()
        gate.set()
        first.join(PATIENCE_S)
        second.join(PATIENCE_S)
    assert "other source gives way" not in site.log


def test_a_source_that_stands_still_leaves_threads_to_the_others() -> None:
    site = Site()
    gates = [site.hold(f"stuck {number}") for number in range(4)]
    with workers(jobs=3, per_source=2) as made:
        stuck = in_background(
            lambda: made.run(Urgency(), "stuck", [site.task(f"stuck {number}") for number in range(4)])
        )
        wait_until(lambda: len(site.log) == 2)
        made.run(Urgency(), "well", [site.task("well")])
        assert sorted(site.log)[:2] == ["stuck 2", "stuck 3"]
        assert len(site.log) == 3
        for gate in gates:
            gate.set()
        stuck.join(PATIENCE_S)


def test_a_blob_of_two_images_is_brought_by_one_thread_at_a_time() -> None:
    site = Site()
    gate = site.hold("first")
    with workers(jobs=2, per_source=2) as made:
        first = in_background(lambda: made.run(Urgency(), "hub", [site.task("first", blob="shared")]))
        wait_until(lambda: site.log == ["first"])
        second = in_background(
            lambda: made.run(Urgency(), "hub", [site.task("second", blob="shared"), site.task("own", 0)])
        )
        wait_until(lambda: "own" in site.log)
        assert site.log == ["first", "own"]
        gate.set()
        first.join(PATIENCE_S)
        second.join(PATIENCE_S)
    assert site.log == ["first", "own", "second"]


def test_a_failure_ends_its_image_and_no_other() -> None:
    site = Site()
    failure = FleetError.__new__(FleetError)

    def fail(_: Yields) -> bool:
        raise failure

    with workers() as made:
        with pytest.raises(FleetError) as caught:
            made.run(Urgency(), "hub", [Task(digest("bad"), 9, fail), site.task("never", 1)])
        made.run(Urgency(), "hub", [site.task("other")])
    assert caught.value is failure
    assert site.log == ["other"]


def test_who_is_stopped_begins_nothing_and_leaves_nobody_waiting() -> None:
    site = Site()
    gate = site.hold("running")
    errors: list[FleetError] = []

    def run() -> None:
        try:
            made.run(Urgency(), "hub", [site.task("running", 2), site.task("waiting", 1)])
        except FleetError as error:
            errors.append(error)

    with workers() as made:
        running = in_background(run)
        wait_until(lambda: site.log == ["running"])
        made.stop()
        gate.set()
        running.join(PATIENCE_S)
        with pytest.raises(FleetError, match="TRANSFER_STOPPED"):
            made.run(Urgency(), "hub", [site.task("later")])
    assert [error.reason for error in errors] == ["TRANSFER_STOPPED"]
    assert site.log == ["running"]


def test_an_image_of_which_nothing_is_missing_waits_for_nobody() -> None:
    with workers() as made:
        made.run(Urgency(), "hub", [])
        assert made._threads == []


def test_threads_that_have_nothing_to_do_end_and_others_come_when_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers_module, "KEPT_S", 0.01)
    site = Site()
    with workers(jobs=2, per_source=2) as made:
        made.run(Urgency(), "hub", [site.task("one"), site.task("two")])
        wait_until(lambda: made._threads == [])
        assert made._idle == 0
        made.run(Urgency(), "hub", [site.task("three")])
    assert sorted(site.log) == ["one", "three", "two"]


def load(group: str, *, priority: int = 0, left: int = 1, arrived: int = 0, source: str = "hub") -> Load:
    return Load(Urgency(priority, group), source, left, arrived)


def test_the_group_that_has_had_less_goes_first() -> None:
    small_of_a, large_of_b = load("a", left=1), load("b", left=9)
    assert in_order([small_of_a, large_of_b], {"a": 5, "b": 4}, {}, per_source=1) == [large_of_b, small_of_a]


def test_priority_outranks_fairness() -> None:
    urgent, hungry = load("a", priority=1, left=9), load("b")
    assert in_order([hungry, urgent], {"a": 5}, {}, per_source=1) == [urgent, hungry]


def test_an_image_of_a_source_at_its_bound_has_no_turn() -> None:
    assert in_order([load("a"), load("a", source="other")], {}, {"hub": 1}, per_source=1) == [load("a", source="other")]


def test_a_group_that_was_idle_does_not_make_up_for_it() -> None:
    assert joined({"a": 100, "b": 90}, "c", ["a", "b"]) == 90
    assert joined({"a": 100, "c": 95}, "c", ["a", "c"]) == 100
    assert joined({"c": 7}, "c", []) == 7
