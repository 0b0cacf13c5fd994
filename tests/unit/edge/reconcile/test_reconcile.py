"""The loop on real parts: desired state given locally, judged, published into a real Distribution, pulled."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import pytest
import urllib3

from edge.app.execute import Executor
from edge.app.progress import ProgressBoard
from edge.app.status import Desk
from edge.domain.content import Image, read_manifest
from edge.domain.plan import Edition
from edge.domain.report import State
from fleet import resources
from fleet.errors import FleetError, Kind
from tests.rig.cosign import KeyPair
from tests.rig.local_site import artifact, block, local_site, policy, resource, source
from tests.rig.registries import Central
from tests.unit.edge.reconcile.conftest import Push

pytestmark = [pytest.mark.needs_cosign, pytest.mark.needs_registry]


async def test_a_signed_image_becomes_pullable_by_tag_and_digest(
    central: Central, key: KeyPair, push: Push, directory: Path
) -> None:
    image = push("library/app", "1")
    async with local_site(directory, plain_hosts=[central.host]) as site:
        site.want(source("hub", central.host), policy("base", key), artifact("hub", "library/app", image.digest, "1"))
        await site.published("hub/library/app:1")
        assert site.pull("library/app", "1") == (200, image.raw)
        assert site.pull("library/app", image.digest) == (200, image.raw)


async def test_what_is_unsigned_or_a_strangers_is_refused_and_holds_up_nobody(
    central: Central, key: KeyPair, stranger: KeyPair, push: Push, directory: Path
) -> None:
    good, bare = push("ok", "1"), push("bare", "1", signer=None)
    foreign = push("foreign", "1", signer=stranger)
    async with local_site(directory, plain_hosts=[central.host]) as site:
        site.want(
            source("hub", central.host),
            policy("base", key),
            *(artifact("hub", name, image.digest, "1") for name, image in
              {"ok": good, "bare": bare, "foreign": foreign}.items()),
        )  # fmt: skip
        await site.published("hub/ok:1")
        await site.until(lambda: len(site.reasons()) == 2, "two refusals")
        assert site.reasons() == {"hub/bare:1": "UNSIGNED", "hub/foreign:1": "SIGNATURE_INVALID"}
        for name, image in {"bare": bare, "foreign": foreign}.items():
            assert site.pull(name, "1")[0] == 404
            assert site.pull(name, image.digest)[0] == 404


async def test_what_is_no_longer_wanted_is_withdrawn_whole(
    central: Central, key: KeyPair, push: Push, directory: Path
) -> None:
    image = push("gone", "1")
    async with local_site(directory, plain_hosts=[central.host]) as site:
        base = (source("hub", central.host), policy("base", key))
        site.want(*base, artifact("hub", "gone", image.digest, "1"))
        await site.published("hub/gone:1")
        site.want(*base)
        await site.published()
        assert site.pull("gone", "1")[0] == 404
        assert site.pull("gone", image.digest)[0] == 404
        assert not site.journal.intents.ours().get("gone")


async def test_a_tag_moves_when_the_new_image_is_whole_and_stays_when_it_is_refused(
    central: Central, key: KeyPair, stranger: KeyPair, push: Push, directory: Path
) -> None:
    first, second = push("moving", "1"), push("moving", "1")
    bad = push("moving", "1", signer=stranger)
    async with local_site(directory, plain_hosts=[central.host]) as site:
        base = (source("hub", central.host), policy("base", key))
        site.want(*base, artifact("hub", "moving", first.digest, "1"))
        await site.published("hub/moving:1")
        site.want(*base, artifact("hub", "moving", bad.digest, "1"))
        await site.until(lambda: site.reasons() == {"hub/moving:1": "SIGNATURE_INVALID"}, "refused")
        assert site.pull("moving", "1") == (200, first.raw)
        site.want(*base, artifact("hub", "moving", second.digest, "1"))
        await site.until(lambda: site.pull("moving", "1") == (200, second.raw), "moved")
        await site.until(lambda: site.pull("moving", first.digest)[0] == 404, "the old one withdrawn")


async def test_new_rules_withdraw_what_they_refuse_and_keep_what_they_admit(
    central: Central, key: KeyPair, stranger: KeyPair, push: Push, directory: Path
) -> None:
    kept, blocked = push("kept", "1"), push("blocked", "1")
    wanted = (artifact("hub", "kept", kept.digest, "1"), artifact("hub", "blocked", blocked.digest, "1"))
    async with local_site(directory, plain_hosts=[central.host]) as site:
        base = (source("hub", central.host), policy("base", key))
        site.want(*base, *wanted)
        await site.published("hub/kept:1", "hub/blocked:1")
        site.want(*base, *wanted, block("bad", blocked.digest))
        await site.published("hub/kept:1")
        assert site.pull("blocked", blocked.digest)[0] == 404
        assert site.pull("kept", "1") == (200, kept.raw)
        assert site.reasons() == {"hub/blocked:1": "BLOCKED"}
        site.want(source("hub", central.host), policy("base", stranger), *wanted)
        await site.published()


async def test_an_unreadable_policy_keeps_what_is_served_and_admits_nothing_new(
    central: Central, key: KeyPair, push: Push, directory: Path
) -> None:
    old, new = push("old", "1"), push("new", "1")
    async with local_site(directory, plain_hosts=[central.host]) as site:
        base = (source("hub", central.host), policy("base", key))
        site.want(*base, artifact("hub", "old", old.digest, "1"))
        await site.published("hub/old:1")
        unknown = resource(resources.POLICY, "next", b"\x08\x02\xf8\x3f\x01")
        site.want(*base, unknown, *(artifact("hub", n, i.digest, "1") for n, i in {"old": old, "new": new}.items()))
        await site.until(lambda: site.standing.enforced.are_held, "held")
        site.reconciler.poke()
        assert site.pull("old", "1") == (200, old.raw)
        assert {edition.name for edition in site.standing.site.published} == {"hub/old:1"}
        site.want(*base, *(artifact("hub", n, i.digest, "1") for n, i in {"old": old, "new": new}.items()))
        await site.published("hub/old:1", "hub/new:1")


async def test_a_restart_without_the_source_serves_what_it_had(
    tmp_path: Path, central: Central, key: KeyPair, push: Push, directory: Path
) -> None:
    image = push("lasting", "1")
    async with local_site(directory, plain_hosts=[central.host]) as site:
        site.want(source("hub", central.host), policy("base", key), artifact("hub", "lasting", image.digest, "1"))
        await site.published("hub/lasting:1")
    async with local_site(directory) as again:
        assert again.pull("lasting", "1") == (200, image.raw)
        assert again.standing.enforced.wanted
        await again.published("hub/lasting:1")


async def test_foreign_content_on_the_disk_is_gone_before_the_registry_opens(
    central: Central, key: KeyPair, push: Push, directory: Path
) -> None:
    image, foreign = push("mine", "1"), push("theirs", "1")
    async with local_site(directory, plain_hosts=[central.host]) as site:
        site.want(source("hub", central.host), policy("base", key), artifact("hub", "mine", image.digest, "1"))
        await site.published("hub/mine:1")
        writer = site.registry.site
        read = read_manifest(foreign.raw, foreign.media_type)
        assert isinstance(read, Image)
        http = urllib3.PoolManager()
        for part in (read.config, *read.layers):
            writer.put_blob(
                "theirs", part.digest, http.request("GET", f"{central.url}/v2/theirs/blobs/{part.digest}").data
            )
        http.clear()
        writer.put_manifest("theirs", "1", foreign)
        assert site.pull("theirs", "1")[0] == 200
    async with local_site(directory) as again:
        assert again.pull("theirs", "1")[0] == 404
        assert again.pull("theirs", foreign.digest)[0] == 404
        assert again.pull("mine", "1") == (200, image.raw)
        assert again.standing.foreign_withdrawn >= 1


async def test_a_block_counts_as_enforced_once_what_it_names_is_gone(
    central: Central, key: KeyPair, push: Push, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(executor: Executor, edition: Edition) -> NoReturn:
        raise FleetError(Kind.UNAVAILABLE, "REGISTRY_UNREACHABLE", "away", subject=edition.name)

    image = push("stuck", "1")
    async with local_site(directory, plain_hosts=[central.host]) as site:
        desk = Desk(
            site.reconciler.standing,
            site.journal.state,
            site.registry,
            ProgressBoard(),
            allowed=lambda: pytest.fail("of no interest to a report"),
        )
        wanted = (source("hub", central.host), policy("base", key), artifact("hub", "stuck", image.digest, "1"))
        site.want(*wanted)
        await site.published("hub/stuck:1")
        assert (report := desk.report()).enforced_digest == report.held_digest
        with monkeypatch.context() as patch:
            patch.setattr(Executor, "withdraw", away)
            site.want(*wanted, block("bad", image.digest))
            await site.until(lambda: site.reasons() == {"hub/stuck:1": "BLOCKED"}, "refused")
            stuck = desk.report()
        assert site.pull("stuck", "1")[0] == 200
        assert stuck.enforced_digest != stuck.held_digest
        assert [(row.state, row.serving_digest) for row in stuck.exceptions] == [(State.REFUSED, image.digest)]
        await site.published()
        assert (report := desk.report()).enforced_digest == report.held_digest
