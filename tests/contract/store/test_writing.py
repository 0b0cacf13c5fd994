from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from controlplane.app.fleet import Fleet
from controlplane.domain.commands import MAX_COMMANDS, Command, Delete, DeletePair, EntityKind, Outcome, Upsert
from controlplane.domain.entities import (
    Artifact,
    Assignment,
    Block,
    Configuration,
    Credential,
    Entity,
    Group,
    Membership,
    Operator,
    Policy,
    Position,
    Role,
    Satellite,
    Source,
)
from controlplane.domain.specs import ArtifactSpec, ConfigurationSpec, SourceSpec
from fleet.link import Link, Window
from fleet.policy import BlockSpec
from tests.contract.store.conftest import Clock, Tags
from tests.contract.store.words import ADA, D1, D2, HUB, do, refused, shop, shut

LINK = Link(
    rate_bytes_per_second=2_000_000,
    windows=(Window("0 22 * * MON-FRI", 6 * 3600),),
    time_zone="Europe/Berlin",
    day_budget_bytes=2_000_000_000,
    exempt_priority=0,
)

pytestmark = pytest.mark.timeout(120)


async def test_many_commands_are_one_revision(fleet: Fleet) -> None:
    applied = await do(fleet, *shop())
    assert applied.position == Position(1, 1)
    assert [result.outcome for result in applied.results] == [Outcome.CREATED] * 5
    page = await fleet.changes()
    assert [record.position for record in page.records] == [Position(1, 1)]
    assert page.records[0].concerned.scopes == {"group/shops"}
    assert page.records[0].concerned.satellites == {"s1"}


async def test_one_bad_command_undoes_all_before_it(fleet: Fleet) -> None:
    with refused("GROUP_UNKNOWN"):
        await do(fleet, Upsert(Satellite("s1")), Upsert(Membership("s1", "nowhere")))
    assert await fleet.position() == Position(1, 0)
    with refused("SATELLITE_UNKNOWN"):
        await fleet.get_satellite("s1")


async def test_writing_the_same_again_changes_nothing(fleet: Fleet) -> None:
    await do(fleet, *shop(), Upsert(Policy("base", shut("**"))), Upsert(Operator("ada", Role.ADMIN)))
    before = await fleet.desired("s1")
    again = await do(fleet, *shop(), Upsert(Policy("base", shut("**"))), Upsert(Operator("ada", Role.ADMIN)))
    assert {result.outcome for result in again.results} == {Outcome.UNCHANGED}
    assert again.position == before.position == await fleet.position()


async def test_a_dry_run_says_what_would_be_and_writes_nothing(fleet: Fleet) -> None:
    would = await fleet.apply(ADA, shop(), dry_run=True)
    assert [result.outcome for result in would.results] == [Outcome.CREATED] * 5
    assert would.position == await fleet.position() == Position(1, 0)
    with refused("GROUP_UNKNOWN"):
        await fleet.apply(
            ADA,
            [Upsert(Satellite("s1")), Upsert(Membership("s1", "x"))],
            dry_run=True,
        )
    assert (await fleet.list_satellites()).items == ()


async def test_a_repeated_request_gets_the_first_answer(fleet: Fleet, clock: Clock) -> None:
    first = await fleet.apply(ADA, shop(), request_id="r1")
    await do(fleet, Upsert(Group("other")))
    assert await fleet.apply(ADA, shop(), request_id="r1") == first
    with refused("REQUEST_ID_REUSED"):
        await fleet.apply(ADA, [Upsert(Group("third"))], request_id="r1")
    await fleet.apply("spiffe://example.org/operator/bob", [Upsert(Group("third"))], request_id="r1")
    clock.advance(timedelta(hours=25))
    assert (await fleet.apply(ADA, [Upsert(Group("fourth"))], request_id="r1")).position == Position(1, 4)


async def test_a_repeated_request_that_would_fail_now_writes_nothing(fleet: Fleet) -> None:
    await do(fleet, *shop(), Upsert(Group("old")), Upsert(Group("trains")))
    request: list[Command] = [Upsert(Membership("s1", "trains")), Delete(EntityKind.GROUP, "old")]
    first = await fleet.apply(ADA, request, request_id="r-1")
    await do(fleet, DeletePair(Membership("s1", "trains")))
    assert await fleet.apply(ADA, request, request_id="r-1") == first
    assert (await fleet.get_satellite("s1")).groups == ("shops",)


async def test_a_repeated_lifecycle_change_is_no_second_change(fleet: Fleet) -> None:
    await do(fleet, Upsert(Satellite("s1")))
    _, first = await fleet.approve(ADA, "s1", request_id="a1")
    await fleet.revoke(ADA, "s1")
    satellite, again = await fleet.approve(ADA, "s1", request_id="a1")
    assert (again, satellite.lifecycle.value) == (first, "revoked")


async def test_an_etag_makes_a_write_conditional(fleet: Fleet) -> None:
    made = await do(fleet, Upsert(Group("shops", 1)))
    await do(fleet, Upsert(Group("shops", 2)))
    with refused("ETAG_MISMATCH"):
        await do(fleet, Upsert(Group("shops", 3, etag=made.results[0].etag)))
    with refused("ETAG_MISMATCH"):
        await do(fleet, Delete(EntityKind.GROUP, "shops", etag=made.results[0].etag))
    held = await fleet.get_group("shops")
    assert held.precedence == 2
    await do(fleet, Delete(EntityKind.GROUP, "shops", etag=held.etag))


async def test_every_etag_read_is_one_that_a_write_accepts(fleet: Fleet) -> None:
    policy = Policy("base", shut("hub/**"))
    block = Block("bad", BlockSpec(digests=(D2,), reason="worm"), ("group/shops",))
    settings = Configuration("group/shops", ConfigurationSpec(4, LINK))
    await do(fleet, *shop(), Upsert(policy), Upsert(block), Upsert(settings), Upsert(Operator("eve", Role.VIEWER)))
    read: list[Entity] = [
        await fleet.get_satellite("s1"),
        await fleet.get_group("shops"),
        await fleet.get_source("hub"),
        await fleet.get_artifact("hub/library/nginx:1"),
        await fleet.get_policy("base"),
        await fleet.get_block("bad"),
        await fleet.get_configuration("group/shops"),
        await fleet.get_operator("eve"),
    ]
    applied = await do(fleet, *(Upsert(entity, must_exist=True) for entity in read))
    assert {result.outcome for result in applied.results} == {Outcome.UNCHANGED}


async def test_must_create_and_must_exist(fleet: Fleet) -> None:
    with refused("GROUP_UNKNOWN"):
        await do(fleet, Upsert(Group("shops"), must_exist=True))
    await do(fleet, Upsert(Group("shops"), must_create=True))
    same = await do(fleet, Upsert(Group("shops"), must_create=True))
    assert same.results[0].outcome is Outcome.UNCHANGED
    with refused("GROUP_EXISTS"):
        await do(fleet, Upsert(Group("shops", 7), must_create=True))


async def test_too_many_commands_are_refused(fleet: Fleet) -> None:
    with refused("LIMIT_EXCEEDED"):
        await fleet.apply(ADA, [Upsert(Group("g"))] * (MAX_COMMANDS + 1))


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (Upsert(Assignment(f"hub/a:1@{D1}", "group/nowhere")), "GROUP_UNKNOWN"),
        (Upsert(Assignment(f"hub/a:1@{D1}", "satellite/nowhere")), "SATELLITE_UNKNOWN"),
        (Upsert(Assignment(f"nowhere/a:1@{D1}", "fleet")), "SOURCE_UNKNOWN"),
        (Upsert(Assignment("hub/a:1@sha256:12", "fleet")), "DIGEST_MALFORMED"),
        (Upsert(Assignment(f"hub/a:1@{D1}", "planet")), "SCOPE_MALFORMED"),
        (Upsert(Assignment(f"hub/a:1@{D1}", "fleet", owner="me")), "OWNER_MALFORMED"),
        (Upsert(Artifact(ArtifactSpec("hub", "a"))), "ARTIFACT_MALFORMED"),
        (Upsert(Artifact(ArtifactSpec("hub", "a", digest="sha256:zz"))), "DIGEST_MALFORMED"),
        (Upsert(Group("Not a name")), "NAME_MALFORMED"),
        (Upsert(Source("x", SourceSpec("http://x"))), "ADDRESS_MALFORMED"),
        (Upsert(Policy("p", shut(), ("group/nowhere",))), "GROUP_UNKNOWN"),
        (Upsert(Configuration("shops", ConfigurationSpec())), "SCOPE_MALFORMED"),
        (Upsert(Configuration("group/nowhere", ConfigurationSpec())), "GROUP_UNKNOWN"),
        (Upsert(Configuration("fleet", ConfigurationSpec(17))), "CONCURRENCY_OUT_OF_RANGE"),
        (Upsert(Configuration("fleet", ConfigurationSpec(link=Link(time_zone="Mars/Olympus")))), "LINK_MALFORMED"),
        (Delete(EntityKind.CONFIGURATION, "fleet"), "CONFIGURATION_UNKNOWN"),
        (Delete(EntityKind.GROUP, "nowhere"), "GROUP_UNKNOWN"),
        (Delete(EntityKind.POLICY, "nowhere"), "POLICY_UNKNOWN"),
        (Delete(EntityKind.ARTIFACT, "hub/a:1"), "ARTIFACT_UNKNOWN"),
        (DeletePair(Membership("nobody", "shops")), "SATELLITE_UNKNOWN"),
    ],
)
async def test_a_bad_command_says_why(fleet: Fleet, command: Command, reason: str) -> None:
    await do(fleet, *shop())
    with refused(reason):
        await do(fleet, command)


async def test_a_local_prefix_is_fixed_and_unique(fleet: Fleet) -> None:
    await do(fleet, Upsert(HUB), Upsert(Source("quay", SourceSpec("quay.example", local_prefix="quay"))))
    with refused("PREFIX_FIXED"):
        await do(fleet, Upsert(Source("hub", SourceSpec("hub.example:5000", local_prefix="hub"))))
    with refused("PREFIX_TAKEN"):
        await do(fleet, Upsert(Source("ghcr", SourceSpec("ghcr.example"))))
    with refused("PREFIX_TAKEN"):
        await do(fleet, Upsert(Source("ghcr", SourceSpec("ghcr.example", local_prefix="quay"))))
    moved = await do(fleet, Upsert(Source("quay", SourceSpec("quay2.example", local_prefix="quay"))))
    assert moved.results[0].outcome is Outcome.UPDATED


async def test_a_source_in_use_stays(fleet: Fleet) -> None:
    await do(fleet, *shop())
    with refused("SOURCE_IN_USE"):
        await do(fleet, Delete(EntityKind.SOURCE, "hub"))
    await do(fleet, Delete(EntityKind.ARTIFACT, "hub/library/nginx:1"), Delete(EntityKind.SOURCE, "hub"))
    assert (await fleet.list_sources()).items == ()


async def test_deleting_a_group_drops_what_hangs_on_it(fleet: Fleet) -> None:
    await do(fleet, *shop(), Upsert(Policy("p", shut(), ("group/shops",))))
    await do(fleet, Delete(EntityKind.GROUP, "shops"))
    assert (await fleet.get_satellite("s1")).groups == ()
    assert (await fleet.get_artifact("hub/library/nginx:1")).scopes == ()
    await do(fleet, Upsert(Group("shops")))
    assert (await fleet.get_group("shops")).satellites == 0


async def test_settings_are_their_scopes_alone_and_go_with_it(fleet: Fleet) -> None:
    group, whole = (
        Configuration("group/shops", ConfigurationSpec(link=LINK)),
        Configuration("fleet", ConfigurationSpec(2)),
    )
    await do(fleet, *shop())
    await do(fleet, Upsert(group), Upsert(whole))
    assert (await fleet.changes()).records[-1].concerned.scopes == {"fleet", "group/shops"}
    assert [one.spec for one in (await fleet.list_configurations()).items] == [whole.spec, group.spec]
    await do(fleet, Delete(EntityKind.CONFIGURATION, "fleet"), Delete(EntityKind.GROUP, "shops"))
    assert not (await fleet.list_configurations()).items
    await do(fleet, Upsert(Group("shops")))
    with refused("CONFIGURATION_UNKNOWN"):
        await fleet.get_configuration("group/shops")


async def test_each_owner_withdraws_only_its_own(fleet: Fleet) -> None:
    name = f"hub/library/nginx:1@{D1}"
    await do(
        fleet,
        *shop(),
        Upsert(Assignment(name, "group/shops", "harbor/main")),
        Upsert(Membership("s1", "shops", "apply/site")),
    )
    before = await fleet.desired("s1")
    await do(
        fleet,
        DeletePair(Assignment(name, "group/shops", "harbor/main")),
        DeletePair(Membership("s1", "shops", "apply/site")),
    )
    assert (await fleet.get_artifact("hub/library/nginx:1")).scopes == ("group/shops",)
    assert (await fleet.get_satellite("s1")).groups == ("shops",)
    assert (await fleet.desired("s1")).state_digest == before.state_digest
    gone = await do(fleet, DeletePair(Assignment(name, "group/shops")), DeletePair(Membership("s1", "shops")))
    assert {result.outcome for result in gone.results} == {Outcome.DELETED}
    assert (await fleet.get_artifact("hub/library/nginx:1")).scopes == ()
    again = await do(fleet, DeletePair(Membership("s1", "shops")))
    assert again.results[0].outcome is Outcome.UNCHANGED


async def test_a_tag_is_resolved_once_when_it_is_assigned(fleet: Fleet, tags: Tags) -> None:
    tags.digests["library/nginx:1"] = D1
    await do(fleet, *shop(artifact="hub/library/nginx:1"))
    artifact = await fleet.get_artifact("hub/library/nginx:1")
    assert (artifact.spec.digest, artifact.spec.size_bytes) == (D1, 1234)
    tags.digests["library/nginx:1"] = D2
    await do(fleet, Upsert(Assignment("hub/library/nginx:1", "fleet")))
    assert (await fleet.get_artifact("hub/library/nginx:1")).spec.digest == D1
    await do(fleet, Upsert(Artifact(ArtifactSpec("hub", "library/nginx", "1"))))
    assert (await fleet.get_artifact("hub/library/nginx:1")).spec.digest == D2
    assert len(tags.asked) == 2


async def test_a_source_is_asked_with_its_credential(fleet: Fleet, tags: Tags) -> None:
    tags.digests["library/nginx:1"] = D1
    await do(fleet, Upsert(HUB))
    await fleet.set_source_credential(ADA, "hub", "robot", "secret")
    await do(fleet, Upsert(Artifact(ArtifactSpec("hub", "library/nginx", "1"))))
    assert tags.asked == [("hub.example:5000", "library/nginx:1", Credential("robot", "secret"))]


async def test_a_tag_that_is_not_there_writes_nothing(fleet: Fleet) -> None:
    with refused("TAG_UNRESOLVED"):
        await do(fleet, *shop(artifact="hub/library/nginx:9"))
    assert await fleet.position() == Position(1, 0)


async def test_a_repeated_request_asks_no_source_again(fleet: Fleet, tags: Tags) -> None:
    tags.digests["library/nginx:1"] = D1
    first = await fleet.apply(ADA, shop(artifact="hub/library/nginx:1"), request_id="r")
    tags.digests["library/nginx:1"] = D2
    assert await fleet.apply(ADA, shop(artifact="hub/library/nginx:1"), request_id="r") == first
    assert len(tags.asked) == 1


async def test_an_assignment_that_contradicts_an_artifact_is_refused(fleet: Fleet) -> None:
    await do(fleet, *shop())
    with refused("ARTIFACT_DIFFERS"):
        await do(fleet, Upsert(Assignment(f"hub/library/nginx:1@{D2}", "fleet")))


async def test_the_last_admin_stays(fleet: Fleet) -> None:
    await fleet.init("ada")
    with refused("LAST_ADMIN"):
        await do(fleet, Delete(EntityKind.OPERATOR, "ada"))
    with refused("LAST_ADMIN"):
        await do(fleet, Upsert(Operator("ada", Role.VIEWER)))
    await do(fleet, Upsert(Operator("bob", Role.ADMIN)), Delete(EntityKind.OPERATOR, "ada"))
    assert [each.name for each in (await fleet.list_operators()).items] == ["bob"]


async def test_a_region_is_fixed(fleet: Fleet) -> None:
    await do(fleet, Upsert(Satellite("s1", "north")))
    await do(fleet, Upsert(Satellite("s1", description="the first")))
    assert (await fleet.get_satellite("s1")).spiffe_id == "spiffe://example.org/satellite/region/north/s1"
    with refused("REGION_FIXED"):
        await do(fleet, Upsert(Satellite("s1", "south")))


async def test_lists_come_in_pages_by_name(fleet: Fleet) -> None:
    names = ["a", "a.b", "a-c", "b", "c"]
    await do(fleet, *(Upsert(Group(name)) for name in names))
    seen: list[str] = []
    token = ""
    while True:
        page = await fleet.list_groups(2, token)
        seen += [group.name for group in page.items]
        token = page.next_page_token
        if not token:
            break
    assert seen == sorted(names)
    with refused("PAGE_TOKEN_MALFORMED"):
        await fleet.list_groups(2, "!")
    with refused("PAGE_SIZE_OUT_OF_RANGE"):
        await fleet.list_groups(1001)


async def test_lists_narrow_to_a_group_and_a_scope(fleet: Fleet) -> None:
    await do(fleet, *shop(), Upsert(Satellite("s2")), Upsert(Artifact(ArtifactSpec("hub", "b", digest=D2))))
    assert [each.name for each in (await fleet.list_satellites(group="shops")).items] == ["s1"]
    artifacts = await fleet.list_artifacts(scope="group/shops")
    assert [each.name for each in artifacts.items] == ["hub/library/nginx:1"]


async def test_the_log_resumes_from_a_position(fleet: Fleet) -> None:
    for name in "abcde":
        await do(fleet, Upsert(Group(name)))
    first = await fleet.changes(None, 2)
    assert first.more
    assert first.position == Position(1, 5)
    rest = await fleet.changes(first.records[-1].position, 10)
    assert [record.position.revision for record in rest.records] == [3, 4, 5]
    assert not rest.more


async def test_the_log_says_when_a_change_was_written_not_when_it_was_asked_for(
    fleet: Fleet, tags: Tags, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await do(fleet, Upsert(HUB))
    tags.digests["redis:7"] = D1
    resolve = tags.resolve

    async def slowly(*asked: Any) -> Any:
        clock.advance(timedelta(seconds=9))
        return await resolve(*asked)

    monkeypatch.setattr(tags, "resolve", slowly)
    await do(fleet, Upsert(Assignment("hub/redis:7", "fleet")))
    assert (await fleet.changes(None, 100)).records[-1].at == clock()
