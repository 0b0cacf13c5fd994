"""For how long satellites have been behind, seen from one census to the next."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from controlplane.app.census import WORST, Census, Observer, Stand
from controlplane.app.meter import Sample
from controlplane.domain.entities import Lifecycle
from fleet.position import Position

T0 = datetime(2026, 1, 1, tzinfo=UTC)
NEW, OLD, OLDER = b"n" * 32, b"o" * 32, b"p" * 32


def stand(name: str = "s1", *, enforced: bytes = OLD, desired: bytes = NEW, online: bool = True) -> Stand:
    return Stand(name, Lifecycle.ONLINE if online else Lifecycle.STALE, desired, enforced, T0)


def at(seconds: float, *stands: Stand) -> Census:
    return Census(T0 + timedelta(seconds=seconds), Position(2, 9), stands)


def value(samples: list[Sample], name: str, *labels: str) -> float:
    return next(sample.value for sample in samples if sample.name == name and sample.labels == labels)


def oldest(samples: list[Sample], lifecycle: str = "online") -> float:
    return value(samples, "fleet_behind_oldest_seconds", lifecycle)


def test_who_does_not_move_grows_older() -> None:
    observer = Observer()
    assert [oldest(observer.observe(at(seconds, stand()))) for seconds in (10, 20, 400)] == [10, 20, 400]


def test_who_has_what_it_should_have_is_not_behind() -> None:
    samples = Observer().observe(at(10, stand(enforced=NEW)))
    assert oldest(samples) == 0
    assert value(samples, "fleet_satellites_behind", "online") == 0
    assert value(samples, "fleet_satellites", "online") == 1


def test_who_moves_is_on_its_way_however_often_the_goal_does() -> None:
    observer = Observer()
    observer.observe(at(100, stand(enforced=OLDER, desired=OLD)))
    moved = Stand("s1", Lifecycle.ONLINE, NEW, OLD, T0 + timedelta(seconds=195))
    assert oldest(observer.observe(at(200, moved))) == 5


def test_new_changes_do_not_hide_who_is_stuck() -> None:
    observer = Observer()
    for seconds in range(0, 300, 10):
        samples = observer.observe(at(seconds, stand(desired=bytes([seconds // 10]) * 32)))
    assert oldest(samples) == 290


def test_who_comes_back_begins_anew() -> None:
    observer = Observer()
    assert oldest(observer.observe(at(5000, stand(online=False))), "stale") == 5000
    back = Stand("s1", Lifecycle.ONLINE, NEW, OLD, T0 + timedelta(seconds=5008))
    samples = observer.observe(at(5010, back))
    assert (oldest(samples), oldest(samples, "stale")) == (2, 0)


def test_names_are_told_of_the_worst_alone() -> None:
    stands = [Stand(f"s{n}", Lifecycle.ONLINE, NEW, OLD, T0 + timedelta(seconds=n)) for n in range(50)]
    samples = Observer().observe(at(100, *stands))
    named = [sample for sample in samples if sample.name == "fleet_behind_worst_seconds"]
    assert {sample.labels[0] for sample in named} == {f"s{number}" for number in range(WORST)}
    assert value(samples, "fleet_satellites_behind", "online") == 50
