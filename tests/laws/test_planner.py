"""Laws of the planner, against a site that does what it is told and a judge that is a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from edge.domain.plan import (
    Action,
    Edition,
    Judge,
    Keep,
    Publish,
    Retag,
    RuleVersions,
    Setback,
    Site,
    Wait,
    Wanted,
    Withdraw,
    is_settled,
    plan,
)
from fleet.reference import Digest

START = datetime(2026, 6, 1, tzinfo=UTC)
NAMES = ("hub/a:1", "hub/a:2", "hub/b:1", "hub/c:1")
DIGESTS = tuple(Digest("sha256:" + letter * 64) for letter in "abc")
RULES = tuple(RuleVersions(policy=bytes([number])) for number in range(3))


def edition_of(name: str, digest: Digest, platforms: tuple[str, ...]) -> Edition:
    repository = name.partition("/")[2].partition(":")[0]
    return Edition(name, "hub", repository, repository, digest, platforms)


editions = st.builds(
    edition_of, st.sampled_from(NAMES), st.sampled_from(DIGESTS), st.sampled_from([(), ("linux/amd64",)])
)


@st.composite
def states(draw: st.DrawFn) -> tuple[Wanted, ...]:
    """Desired states as merging makes them: a name once, and one edition per local tag."""
    chosen = draw(st.lists(editions, unique_by=lambda one: one.name, max_size=4))
    return tuple(
        Wanted(
            one,
            tag=one.name.split(":")[1] if draw(st.booleans()) else "",
            priority=draw(st.integers(0, 2)),
            held=draw(st.sampled_from([False, False, False, True])),
        )
        for one in chosen
    )


@dataclass
class World:
    """The executor, done as simply as it can be: everything in sets."""

    refuses: dict[RuleVersions, set[Edition]] = field(default_factory=dict)
    breaks: set[Edition] = field(default_factory=set)
    rules: RuleVersions = RULES[0]
    held: bool = False
    at: datetime = START
    admitted: dict[Edition, RuleVersions] = field(default_factory=dict)
    begun: set[Edition] = field(default_factory=set)
    published: set[Edition] = field(default_factory=set)
    mending: set[Edition] = field(default_factory=set)
    tags: dict[tuple[str, str], Digest] = field(default_factory=dict)
    setbacks: dict[Edition, Setback] = field(default_factory=dict)

    def plan(self, wanted: tuple[Wanted, ...]) -> tuple[Action, ...]:
        return plan(wanted, self.site(), self.rules, are_held=self.held, at=self.at)

    def is_settled(self, wanted: tuple[Wanted, ...]) -> bool:
        return is_settled(wanted, self.site(), self.rules, are_held=self.held)

    def site(self) -> Site:
        return Site(
            dict(self.admitted),
            frozenset(self.begun),
            frozenset(self.published),
            dict(self.tags),
            dict(self.setbacks),
            mending=frozenset(self.mending),
        )

    def do(self, action: Action) -> None:
        match action:
            case Judge(edition=edition):
                self._judge(edition)
            case Publish(edition=edition, tag=tag):
                assert self.admitted[edition] == self.rules, "published without an admission under the rules"
                self.begun.add(edition)
                if edition in self.breaks:
                    self._set_back(edition, None)
                    return
                self.published.add(edition)
                self.mending.discard(edition)
                if tag:
                    self.tags[edition.local_repository, tag] = edition.digest
            case Retag(repository=repository, tag=tag, digest=None):
                self.tags.pop((repository, tag), None)
            case Retag(repository=repository, tag=tag, digest=digest) if digest is not None:
                assert any((o.local_repository, o.digest) == (repository, digest) for o in self.published)
                self.tags[repository, tag] = digest
            case Withdraw(edition=edition):
                self._withdraw(edition)
            case _:
                pass

    def _judge(self, edition: Edition) -> None:
        assert not self.held, "judged while the rules cannot be understood"
        if edition in self.refuses.get(self.rules, set()):
            self.admitted.pop(edition, None)
            self._set_back(edition, self.rules)
        else:
            self.setbacks.pop(edition, None)
            self.admitted[edition] = self.rules

    def _set_back(self, edition: Edition, rules: RuleVersions | None) -> None:
        self.setbacks[edition] = Setback("R", "", self.at + timedelta(minutes=5), rules)

    def _withdraw(self, edition: Edition) -> None:
        self.begun.discard(edition)
        self.published.discard(edition)
        self.mending.discard(edition)
        self.admitted.pop(edition, None)
        key = (edition.local_repository, edition.digest)
        if key not in {(one.local_repository, one.digest) for one in self.begun}:
            self.tags = {tag: digest for tag, digest in self.tags.items() if (tag[0], digest) != key}

    def miss(self, editions: set[Edition]) -> None:
        """Let something of what is published go missing."""
        self.mending |= self.published & editions
        self.published -= editions

    def settle(
        self, wanted: tuple[Wanted, ...], choose: Callable[[st.SearchStrategy[Action]], Action] | None = None
    ) -> tuple[Action, ...]:
        """Plan and execute until nothing is left to do, the actions in any order that is drawn."""
        for _ in range(40):
            actions = [one for one in self.plan(wanted) if not isinstance(one, Keep | Wait)]
            if not actions:
                return self.plan(wanted)
            self.do(choose(st.sampled_from(actions)) if choose else actions[0])
        raise AssertionError(f"it never settles: {self.plan(wanted)}")


@st.composite
def worlds(draw: st.DrawFn) -> tuple[World, tuple[Wanted, ...]]:
    """A world with a history: states that came and went, rules that changed, content that drifted."""
    world = World()
    for rules in RULES:
        world.refuses[rules] = draw(st.sets(editions, max_size=3))
    for _ in range(draw(st.integers(0, 3))):
        world.rules = draw(st.sampled_from(RULES))
        world.held = draw(st.sampled_from([False, False, True]))
        world.breaks = draw(st.sets(editions, max_size=2))
        wanted = draw(states())
        for _ in range(draw(st.integers(0, 6))):
            actions = world.plan(wanted)
            if actions:
                world.do(draw(st.sampled_from(actions)))
        world.miss(draw(st.sets(editions, max_size=1)))
        world.at += timedelta(minutes=draw(st.sampled_from([0, 10])))
    world.breaks, world.held, world.rules = set(), False, draw(st.sampled_from(RULES))
    world.at += timedelta(hours=1)
    return world, draw(states())


@settings(max_examples=100, deadline=None)
@given(worlds(), st.data())
def test_any_order_of_execution_settles_on_what_is_wanted_and_admitted(
    made: tuple[World, tuple[Wanted, ...]], data: st.DataObject
) -> None:
    world, wanted = made
    there = set(world.published)
    world.settle(wanted, data.draw)
    refused = world.refuses[world.rules]
    for one in wanted:
        if one.edition in refused:
            assert one.edition not in world.begun
        elif one.held:
            assert one.edition not in there or one.edition in world.published
        else:
            assert one.edition in world.published
            if one.tag:
                assert world.tags[one.edition.local_repository, one.tag] == one.edition.digest
    assert not world.begun & refused
    assert {one.name for one in world.begun} <= {one.edition.name for one in wanted}


@settings(max_examples=60, deadline=None)
@given(worlds())
def test_planning_after_executing_leaves_nothing_to_do(made: tuple[World, tuple[Wanted, ...]]) -> None:
    world, wanted = made
    assert all(isinstance(action, Keep | Wait) for action in world.settle(wanted))
    assert all(isinstance(action, Keep | Wait) for action in world.plan(wanted))


@settings(max_examples=100, deadline=None)
@given(worlds())
def test_a_site_is_not_settled_while_something_is_there_that_is_to_go_or_to_be_judged(
    made: tuple[World, tuple[Wanted, ...]],
) -> None:
    world, wanted = made
    open_ones = {one.edition for one in world.plan(wanted) if isinstance(one, Judge | Withdraw)}
    assert not (open_ones & world.begun and world.is_settled(wanted))
    world.settle(wanted)
    assert world.is_settled(wanted) or any(one.held and one.edition in world.begun for one in wanted)


@settings(max_examples=100, deadline=None)
@given(worlds())
def test_what_is_wanted_and_admitted_is_never_withdrawn(made: tuple[World, tuple[Wanted, ...]]) -> None:
    world, wanted = made
    good = {one.edition for one in wanted} - world.refuses[world.rules]
    withdrawn = {action.edition for action in world.plan(wanted) if isinstance(action, Withdraw)}
    stale = {edition for edition, setback in world.setbacks.items() if setback.rules == world.rules}
    assert not withdrawn & (good - stale)


@settings(max_examples=60, deadline=None)
@given(worlds(), editions)
def test_one_artifact_that_cannot_be_published_holds_up_no_other(
    made: tuple[World, tuple[Wanted, ...]], broken: Edition
) -> None:
    world, wanted = made
    world.breaks = {broken}
    world.settle(wanted)
    for one in wanted:
        if one.edition.name != broken.name and not one.held and one.edition not in world.refuses[world.rules]:
            assert one.edition in world.published


@settings(max_examples=60, deadline=None)
@given(worlds())
def test_while_rules_are_not_understood_nothing_comes_and_what_is_wanted_stays(
    made: tuple[World, tuple[Wanted, ...]],
) -> None:
    world, wanted = made
    world.setbacks.clear()
    world.held, before = True, set(world.published)
    world.settle(wanted)
    assert world.published <= before
    assert {one.edition for one in wanted} & before <= world.published


def test_the_old_image_keeps_its_tag_until_the_new_one_is_whole() -> None:
    old, new = (edition_of("hub/a:1", digest, ()) for digest in DIGESTS[:2])
    world = World(refuses={RULES[0]: {new}})
    world.settle((Wanted(old, "1"),))
    world.settle((Wanted(new, "1"),))
    assert world.published == {old}
    assert world.tags == {("a", "1"): old.digest}
    world.refuses = {}
    world.rules = RULES[1]
    world.settle((Wanted(new, "1"),))
    assert world.published == {new}
    assert world.tags == {("a", "1"): new.digest}


def test_the_old_image_stays_for_its_successor_while_something_of_it_is_missing() -> None:
    old, new = (edition_of("hub/a:1", digest, ()) for digest in DIGESTS[:2])
    world = World(breaks={new})
    world.settle((Wanted(old, "1"),))
    world.miss({old})
    world.settle((Wanted(new, "1"),))
    assert old in world.begun
    assert world.tags == {("a", "1"): old.digest}
    world.breaks, world.at = set(), world.at + timedelta(hours=1)
    world.settle((Wanted(new, "1"),))
    assert world.begun == {new}


def test_an_old_image_that_new_rules_refuse_goes_even_before_its_successor_comes() -> None:
    old, new = (edition_of("hub/a:1", digest, ()) for digest in DIGESTS[:2])
    world = World(breaks={new}, refuses={RULES[1]: {old}})
    world.settle((Wanted(old, "1"),))
    world.rules = RULES[1]
    world.settle((Wanted(new, "1"),))
    assert world.published == set()
    assert world.tags == {}


def test_what_is_there_and_no_longer_refused_is_judged_by_what_is_stored() -> None:
    one = edition_of("hub/a:1", DIGESTS[0], ())
    world = World(refuses={RULES[1]: {one}})
    world.settle((Wanted(one, "1"),))
    world.rules = RULES[1]
    world.do(world.plan((Wanted(one, "1"),))[0])
    assert world.plan((Wanted(one, "1"),))[0] == Withdraw(one, "REFUSED")
    world.rules = RULES[0]
    assert world.plan((Wanted(one, "1"),)) == (Judge(one, "1", again=True, reason="RULES_CHANGED"),)
    assert world.settle((Wanted(one, "1"),)) == (Keep(one, "PUBLISHED"),)


def test_a_refused_image_is_not_judged_again_before_its_time_unless_the_rules_change() -> None:
    one = edition_of("hub/a:1", DIGESTS[0], ())
    world = World(refuses={RULES[0]: {one}})
    assert isinstance(world.settle((Wanted(one, "1"),))[0], Wait)
    world.at += timedelta(minutes=6)
    assert isinstance(world.plan((Wanted(one, "1"),))[0], Judge)
    world.at -= timedelta(minutes=6)
    world.rules = replace(RULES[1])
    assert isinstance(world.plan((Wanted(one, "1"),))[0], Judge)


def test_higher_priority_goes_first() -> None:
    low, high = edition_of("hub/a:1", DIGESTS[0], ()), edition_of("hub/b:1", DIGESTS[1], ())
    actions = World().plan((Wanted(low, priority=1), Wanted(high, priority=9)))
    assert [action.edition for action in actions if isinstance(action, Judge)] == [high, low]
