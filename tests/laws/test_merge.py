"""The merge's laws: the same answer whatever the order, and nothing that a scope wants is ever lost."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from fleet.merge import Desired, Scope, merge
from fleet.policy import BlockSpec, PolicySpec
from fleet.reference import Digest
from fleet.resources import (
    ARTIFACT,
    BLOCK,
    POLICY,
    SOURCE,
    Artifact,
    Body,
    Platform,
    Source,
    Unusable,
)

DIGESTS = [Digest("sha256:" + letter * 64) for letter in "abc"]
SOURCES = {
    "hub": Source("hub.example.com", "", (), "", needs_credential=False, plain_http=False),
    "quay": Source("quay.example.com", "", (), "quay", needs_credential=False, plain_http=False),
}
PLATFORMS = [Platform("linux", "amd64"), Platform("linux", "arm64")]

artifacts = st.builds(
    Artifact,
    source=st.sampled_from(sorted(SOURCES)),
    repository=st.sampled_from(["app", "quay/app"]),
    tag=st.sampled_from(["1", "2"]),
    digest=st.sampled_from(DIGESTS),
    platforms=st.frozensets(st.sampled_from(PLATFORMS), max_size=2),
    priority=st.integers(0, 3),
)


@st.composite
def scopes(draw: st.DrawFn) -> list[Scope]:
    names = draw(st.sets(st.sampled_from(["fleet", "group/a", "group/b", "group/c", "satellite/s"]), min_size=1))
    return [_scope(draw, name) for name in sorted(names)]


def _scope(draw: st.DrawFn, name: str) -> Scope:
    readings: dict[tuple[int, str], Body] = {(SOURCE, source): body for source, body in SOURCES.items()}
    for artifact in draw(st.lists(artifacts, max_size=4)):
        readings[ARTIFACT, f"{artifact.source}/{artifact.repository}:{artifact.tag}"] = artifact
    unusable = {}
    if draw(st.integers(0, 6)) == 0:
        unusable[draw(st.sampled_from([(ARTIFACT, "x"), (POLICY, "p"), (99, "new")]))] = Unusable("R", "t", hold=True)
    return Scope(name, draw(st.integers(0, 2)) if name.startswith("group") else 0, readings, unusable)


@given(scopes(), st.randoms())
def test_the_order_of_scopes_does_not_matter(given_scopes: list[Scope], random: Random) -> None:
    shuffled = list(given_scopes)
    random.shuffle(shuffled)
    assert merge(shuffled) == merge(given_scopes)


@given(scopes())
def test_one_local_tag_stands_for_one_digest(given_scopes: list[Scope]) -> None:
    seen: dict[tuple[str, str], str] = {}
    for one in merge(given_scopes).artifacts:
        if one.tag:
            assert seen.setdefault((one.local_repository, one.tag), one.artifact.digest) == one.artifact.digest


@given(scopes())
def test_every_wanted_digest_stays_wanted_and_every_claimed_tag_stands(given_scopes: list[Scope]) -> None:
    wanted = {(k[1], b.digest) for s in given_scopes for k, b in s.readings.items() if isinstance(b, Artifact)}
    merged = merge(given_scopes)
    assert {one.key for one in merged.artifacts} == wanted
    claimed = {(one.local_repository, one.artifact.tag) for one in merged.artifacts}
    assert {(one.local_repository, one.tag) for one in merged.artifacts if one.tag} == claimed


@given(scopes())
def test_whoever_lost_a_tag_says_to_whom(given_scopes: list[Scope]) -> None:
    for one in merge(given_scopes).artifacts:
        assert bool(one.shadowed_by) == (one.artifact.tag != one.tag)


@given(scopes())
def test_a_hold_holds_at_least_its_own_scope(given_scopes: list[Scope]) -> None:
    holding = {s.name for s in given_scopes if s.unusable}
    for one in merge(given_scopes).artifacts:
        if holding & set(one.scopes):
            assert one.held


@given(scopes())
def test_a_rule_that_cannot_be_read_holds_everything(given_scopes: list[Scope]) -> None:
    if any(kind in {POLICY, BLOCK, 99} for s in given_scopes for kind, _ in s.unusable):
        assert all(one.held for one in merge(given_scopes).artifacts)


def _tagged(desired: Desired) -> Digest:
    (found,) = [one.artifact.digest for one in desired.artifacts if one.tag]
    return found


def _wanting(name: str, precedence: int, digest: Digest, platforms: frozenset[Platform] = frozenset()) -> Scope:
    artifact = Artifact("hub", "app", "1", digest, platforms, 0)
    return Scope(name, precedence, {(SOURCE, "hub"): SOURCES["hub"], (ARTIFACT, "hub/app:1"): artifact})


def test_the_satellites_own_scope_wins_then_precedence_then_name_then_the_fleet() -> None:
    fleet, low = _wanting("fleet", 0, DIGESTS[0]), _wanting("group/a", 1, DIGESTS[1])
    high, own = _wanting("group/z", 2, DIGESTS[2]), _wanting("satellite/s", 0, DIGESTS[0])
    assert _tagged(merge([fleet, low])) == DIGESTS[1]
    assert _tagged(merge([fleet, low, high])) == DIGESTS[2]
    assert _tagged(merge([_wanting("group/b", 1, DIGESTS[2]), low])) == DIGESTS[1]
    assert _tagged(merge([fleet, low, high, own])) == DIGESTS[0]


def test_platforms_unite_and_no_filter_means_all() -> None:
    amd, arm = frozenset(PLATFORMS[:1]), frozenset(PLATFORMS[1:])
    (both,) = merge([_wanting("group/a", 0, DIGESTS[0], amd), _wanting("group/b", 0, DIGESTS[0], arm)]).artifacts
    assert both.artifact.platforms == amd | arm
    (everything,) = merge([_wanting("group/a", 0, DIGESTS[0], amd), _wanting("fleet", 0, DIGESTS[0])]).artifacts
    assert everything.artifact.platforms == frozenset()


def test_policies_and_blocks_of_all_scopes_hold() -> None:
    policy, block = PolicySpec(("hub/**",)), BlockSpec(tuple(DIGESTS[:1]), reason="bad")
    merged = merge(
        [
            Scope("fleet", 0, {(POLICY, "base"): policy}),
            Scope("group/a", 0, {(POLICY, "base"): policy, (BLOCK, "b"): block}),
        ]
    )
    assert [row[:2] for row in merged.policies] == [("fleet", "base"), ("group/a", "base")]
    assert [row[:2] for row in merged.blocks] == [("group/a", "b")]


def test_an_artifact_without_its_source_is_reported() -> None:
    artifact = Artifact("nowhere", "app", "1", DIGESTS[0], frozenset(), 0)
    merged = merge([Scope("fleet", 0, {(ARTIFACT, "nowhere/app:1"): artifact})])
    assert merged.artifacts == ()
    assert [problem.reason for problem in merged.problems] == ["SOURCE_UNKNOWN"]
