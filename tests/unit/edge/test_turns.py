"""The order in which images are begun."""

from __future__ import annotations

from edge.domain.plan import Edition, Wanted, in_turns
from fleet.reference import digest_of


def wanted(name: str, *, priority: int = 0, group: str = "", size_bytes: int = 0) -> Wanted:
    edition = Edition(name, "hub", name, name, digest_of(name.encode()))
    return Wanted(edition, "1", priority, group=group, size_bytes=size_bytes)


def names(*ones: Wanted) -> list[str]:
    return [one.edition.name for one in in_turns(ones)]


def test_the_urgent_go_first_and_then_the_small() -> None:
    assert names(wanted("large", size_bytes=9), wanted("small", size_bytes=1), wanted("urgent", priority=1)) == [
        "urgent",
        "small",
        "large",
    ]


def test_groups_take_turns_however_many_images_one_has() -> None:
    many = [wanted(f"a{number}", group="group/a", size_bytes=number) for number in range(3)]
    few = [wanted("b0", group="group/b", size_bytes=100)]
    assert names(*many, *few) == ["a0", "b0", "a1", "a2"]
