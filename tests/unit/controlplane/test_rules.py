"""The domain's pure rules: standings, sessions, outcomes, differences."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.domain.checks import check_command, check_page, check_reason, check_request_id
from controlplane.domain.commands import Delete, DeletePair, EntityKind, Outcome, Upsert
from controlplane.domain.content import content_hash, etag_of
from controlplane.domain.entities import (
    Artifact,
    Assignment,
    Block,
    Entity,
    Group,
    Lifecycle,
    Membership,
    Operator,
    Policy,
    Role,
    Satellite,
    Signed,
    Source,
    TrustRoot,
)
from controlplane.domain.lifecycle import DUPLICATE_SHOWN, Standing, Verb, is_duplicate, next_standing, observe
from controlplane.domain.rules import check_prefix, decide
from controlplane.domain.sessions import REMEMBERED_BOOTS, Held, take_over
from controlplane.domain.specs import (
    ArtifactSpec,
    Platform,
    ResourceKind,
    SourceSpec,
)
from controlplane.domain.state import difference, sort_key, split_scope
from fleet.errors import FleetError
from fleet.policy import Authority, BlockSpec, KeySet, PolicySpec, TrustRootSpec
from tests.contract.store.words import shut

AT = datetime(2026, 1, 1, tzinfo=UTC)
D = "sha256:" + "d" * 64


def reason_of(error: pytest.ExceptionInfo[FleetError]) -> str:
    return error.value.reason


@pytest.mark.parametrize("standing", list(Standing))
@pytest.mark.parametrize("verb", list(Verb))
def test_only_a_reinstated_satellite_leaves_revoked_and_it_is_pending(standing: Standing, verb: Verb) -> None:
    if (standing, verb) in {
        (Standing.REVOKED, Verb.APPROVE),
        (Standing.PENDING, Verb.REINSTATE),
        (Standing.APPROVED, Verb.REINSTATE),
    }:
        with pytest.raises(FleetError) as caught:
            next_standing(standing, verb, name="s1")
        assert reason_of(caught) in {"SATELLITE_REVOKED", "SATELLITE_NOT_REVOKED"}
        return
    after = next_standing(standing, verb, name="s1")
    if standing is Standing.REVOKED and after is not Standing.REVOKED:
        assert (verb, after) == (Verb.REINSTATE, Standing.PENDING)
    if verb is Verb.REVOKE:
        assert after is Standing.REVOKED


@pytest.mark.parametrize(
    ("standing", "session_open", "lifecycle"),
    [
        (Standing.PENDING, True, Lifecycle.PENDING),
        (Standing.REVOKED, True, Lifecycle.REVOKED),
        (Standing.APPROVED, True, Lifecycle.ONLINE),
        (Standing.APPROVED, False, Lifecycle.STALE),
    ],
)
def test_a_lifecycle_is_what_can_be_observed(standing: Standing, session_open: bool, lifecycle: Lifecycle) -> None:
    assert observe(standing, session_open=session_open) is lifecycle


def test_a_duplicate_is_shown_for_a_while() -> None:
    assert is_duplicate(AT, AT + DUPLICATE_SHOWN - timedelta(seconds=1))
    assert not is_duplicate(AT, AT + DUPLICATE_SHOWN)
    assert not is_duplicate(None, AT)


@given(st.lists(st.integers(0, 30), max_size=60))
def test_processes_that_never_come_back_are_no_duplicates(order: list[int]) -> None:
    """Boot ids that each appear in one unbroken run are restarts, however many there are."""
    held: Held | None = None
    seen: list[int] = []
    for number, boot in enumerate(order, start=1):
        back = boot in seen[-REMEMBERED_BOOTS - 1 : -1] and seen[-1] != boot
        taken = take_over(held, bytes([boot]), number)
        assert taken.duplicate == back
        held = taken.held
        if boot in seen:
            seen.remove(boot)
        seen.append(boot)
        assert len(held.earlier) <= REMEMBERED_BOOTS


@pytest.mark.parametrize("number", [4, 5])
def test_a_stream_with_the_same_or_a_lower_number_is_refused(number: int) -> None:
    held = Held(b"a", 5, ())
    assert take_over(held, b"a", 6).held.number == 6
    assert take_over(held, b"b", number).held.number == number
    with pytest.raises(FleetError) as caught:
        take_over(held, b"a", number)
    assert reason_of(caught) == "SESSION_SUPERSEDED"


KEYS = st.tuples(st.integers(1, 3), st.sampled_from(["a", "é", "z", "\U0001f600"]))
CONTENTS = st.dictionaries(KEYS, st.sampled_from([b"1", b"2"]))


@given(CONTENTS, CONTENTS)
def test_a_difference_is_enough_and_no_more(
    held: dict[tuple[int, str], bytes], wanted: dict[tuple[int, str], bytes]
) -> None:
    step = difference(held, wanted)
    after = {key: version for key, version in held.items() if key not in step.deletes} | dict(step.upserts)
    assert after == wanted
    assert all(held.get(key) != version for key, version in step.upserts)
    keys = [key for key, _ in step.upserts]
    assert keys == sorted(keys, key=sort_key)
    assert list(step.deletes) == sorted(step.deletes, key=sort_key)


def test_an_implied_artifact_gives_way_to_one_that_exists() -> None:
    artifact = Artifact(ArtifactSpec("hub", "a", "1", D), "hub/a:1")
    implied = Upsert(artifact, implied=True)
    assert decide(EntityKind.ARTIFACT, "hub/a:1", implied, held="other", offered="mine") is Outcome.UNCHANGED
    assert decide(EntityKind.ARTIFACT, "hub/a:1", implied, held=None, offered="mine") is Outcome.CREATED


def test_an_etag_of_what_is_not_there_is_a_conflict() -> None:
    with pytest.raises(FleetError) as caught:
        decide(EntityKind.GROUP, "g", Upsert(Group("g", etag="x")), held=None, offered="y")
    assert reason_of(caught) == "ETAG_MISMATCH"


def test_a_free_prefix_may_be_taken() -> None:
    check_prefix("hub", SourceSpec("h"), None, lambda _: None)
    check_prefix("hub", SourceSpec("h", local_prefix="x"), SourceSpec("i", local_prefix="x"), lambda _: "hub")


@pytest.mark.parametrize("scope", ["", "planet", "group/", "satellite", "group/A", "fleet/x", "group/a/b"])
def test_what_is_no_scope_is_refused(scope: str) -> None:
    with pytest.raises(FleetError) as caught:
        split_scope(scope)
    assert reason_of(caught) in {"SCOPE_MALFORMED", "NAME_MALFORMED"}


@pytest.mark.parametrize(
    ("entity", "reason"),
    [
        (Satellite("S"), "NAME_MALFORMED"),
        (Satellite("s", "No"), "NAME_MALFORMED"),
        (Satellite("s", description="x" * 513), "TEXT_TOO_LONG"),
        (Satellite("s", description="a\x07"), "TEXT_MALFORMED"),
        (Group("g", -1), "PRECEDENCE_OUT_OF_RANGE"),
        (Group("g", 1_000_001), "PRECEDENCE_OUT_OF_RANGE"),
        (Source("s", SourceSpec("")), "ADDRESS_MALFORMED"),
        (Source("s", SourceSpec("a/b")), "ADDRESS_MALFORMED"),
        (Source("s", SourceSpec("user@host")), "ADDRESS_MALFORMED"),
        (Source("s", SourceSpec("h", mirrors=("http://x",))), "ADDRESS_MALFORMED"),
        (Source("s", SourceSpec("h", local_prefix="Not")), "REPOSITORY_MALFORMED"),
        (Source("s", SourceSpec("h", ca_pem="no")), "CA_MALFORMED"),
        (Policy("p", PolicySpec(("**",), (Authority("a", KeySet(("no key",))),))), "KEY_MALFORMED"),
        (Artifact(ArtifactSpec("hub", "Bad", "1")), "REPOSITORY_MALFORMED"),
        (Artifact(ArtifactSpec("hub", "a", "b d")), "TAG_MALFORMED"),
        (Artifact(ArtifactSpec("hub", "a", "1", priority=101)), "PRIORITY_OUT_OF_RANGE"),
        (Artifact(ArtifactSpec("hub", "a", "1", platforms=(Platform("", ""),))), "PLATFORM_MALFORMED"),
        (Artifact(ArtifactSpec("", ""), "nonsense"), "ARTIFACT_MALFORMED"),
        (Policy("p", PolicySpec(("**",), (Authority("a"), Authority("a")))), "AUTHORITY_MALFORMED"),
        (Policy("P", shut()), "NAME_MALFORMED"),
        (Policy("p", shut(), ("nowhere",)), "SCOPE_MALFORMED"),
        (TrustRoot("t", TrustRootSpec()), "TRUST_ROOT_EMPTY"),
        (Signed(ResourceKind.POLICY, b"", ()), "SIGNATURES_MALFORMED"),
        (Block("b", BlockSpec(digests=("md5:1",))), "DIGEST_MALFORMED"),
        (Block("b", BlockSpec(signers=("zz",))), "SIGNER_MALFORMED"),
        (Membership("s", "g", "apply/"), "OWNER_MALFORMED"),
        (Assignment(f"hub/a@{D}", "nowhere"), "SCOPE_MALFORMED"),
        (Operator("O", Role.VIEWER), "NAME_MALFORMED"),
    ],
)
def test_what_can_never_be_right_is_refused(entity: Entity, reason: str) -> None:
    with pytest.raises(FleetError) as caught:
        check_command(Upsert(entity))
    assert reason_of(caught) == reason


def test_a_command_is_brought_to_one_form() -> None:
    written = check_command(Upsert(Artifact(ArtifactSpec("", ""), f"hub/a/b:1@{D}")))
    assert written == Upsert(Artifact(ArtifactSpec("hub", "a/b", "1", D), "hub/a/b:1"))
    assert check_command(Upsert(Policy("p", shut()))) == Upsert(Policy("p", shut(), ("fleet",)))
    shown = Policy("p", shut(), ("group/b", "fleet", "group/b"), "e", serial=7, signed_by=(b"k",))
    assert check_command(Upsert(shown)) == Upsert(Policy("p", shut(), ("fleet", "group/b"), "e"))
    assert check_command(Upsert(Membership("s", "g"))) == Upsert(Membership("s", "g", "operator"))
    assert check_command(DeletePair(Assignment(f"hub/a:1@{D}", "fleet"))) == DeletePair(Assignment("hub/a:1", "fleet"))
    secret = Source("s", SourceSpec("h", needs_credential=True), has_credential=True)
    assert check_command(Upsert(secret)) == Upsert(Source("s", SourceSpec("h")))


def test_a_pair_is_not_deleted_by_one_name() -> None:
    with pytest.raises(FleetError) as caught:
        check_command(Delete(EntityKind.MEMBERSHIP, "s1"))
    assert reason_of(caught) == "DELETION_MALFORMED"


def test_a_signer_set_is_never_deleted() -> None:
    with pytest.raises(FleetError) as caught:
        check_command(Delete(EntityKind.SIGNER_SET, "1"))
    assert reason_of(caught) == "DELETION_MALFORMED"


def test_texts_and_pages_have_limits() -> None:
    assert (check_page(0), check_page(7)) == (100, 7)
    assert check_reason("two\nlines") == "two\nlines"
    for text in ("x" * 65, "a\n"):
        with pytest.raises(FleetError):
            check_request_id(text)
    with pytest.raises(FleetError):
        check_page(-1)


def test_hashes_tell_contents_apart() -> None:
    assert content_hash(("a", "bc")) != content_hash(("ab", "c"))
    assert content_hash(Group("a")) != content_hash(Satellite("a"))
    assert etag_of(1, None) != etag_of(1, "")
    assert len(etag_of("x")) == 32
