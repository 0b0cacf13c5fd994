"""A scrub finds what no look at sizes finds, and has it fetched again; a clean one touches nothing."""

from __future__ import annotations

import secrets

import pytest

from edge.app.scrub import ScrubRequest, ScrubState
from tests.rig import shelves
from tests.rig.local_site import LocalSite
from tests.unit.edge.reconcile.scenes import KEPT_BYTES, KINDS, LAYER_BYTES, Play, Scene

pytestmark = [pytest.mark.needs_cosign, pytest.mark.needs_registry]


async def scrubbed(site: LocalSite, *, bytes_per_s: int = 0) -> ScrubState:
    """Let a site scrub, and wait until it has read everything."""
    board, request = site.reconciler.scrubbed, secrets.token_hex(4)
    site.reconciler.scrub(ScrubRequest(request, bytes_per_s))
    await site.until(lambda: (state := board.state) and state.id == request and state.ended, "a scrub")
    assert board.state is not None
    return board.state


async def whole_again(it: Scene, *repositories: str) -> None:
    await it.site.until(lambda: it.is_whole(*repositories), "whole again")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_flipped_bit_is_found_and_only_that_layer_is_fetched_again(play: Play, kind: str) -> None:
    async with play(kind) as it:
        before = it.link.received
        for path in it.files.copies(it.digests[0]):
            shelves.flip(path)
        it.site.reconciler.look()
        state = await scrubbed(it.site)
        assert state.damaged == (it.digests[0],)
        assert [one.name for one in state.lacking] == ["hub/drifting:1"]
        await whole_again(it, "drifting")
        assert LAYER_BYTES <= it.link.received - before < LAYER_BYTES + KEPT_BYTES // 2
        assert (await scrubbed(it.site)).damaged == ()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_sound_site_is_read_once_whatever_its_repositories_share(play: Play, kind: str) -> None:
    async with play(kind, "drifting", "sharing") as it:
        before = it.link.received
        state = await scrubbed(it.site)
        assert (state.damaged, state.lacking, state.reason) == ((), (), "")
        assert LAYER_BYTES + KEPT_BYTES <= state.done_bytes < LAYER_BYTES + KEPT_BYTES + 50_000
        assert state.done_bytes == state.total_bytes
        assert it.link.received == before


@pytest.mark.parametrize("kind", KINDS)
async def test_damage_that_two_repositories_share_is_repaired_in_both_for_one_layer(play: Play, kind: str) -> None:
    async with play(kind, "drifting", "sharing") as it:
        before = it.link.received
        for path in it.files.copies(it.digests[0]):
            shelves.flip(path)
            break  # Zot's are links to one file
        state = await scrubbed(it.site)
        assert len(state.lacking) == 2
        await whole_again(it, "drifting")
        await it.site.until(
            lambda: it.site.pull("sharing", it.digests[0], kind="blobs") == (200, it.layers[0]), "the other one"
        )
        assert it.link.received - before < LAYER_BYTES + KEPT_BYTES // 2


@pytest.mark.parametrize("kind", KINDS)
async def test_with_the_source_away_damage_is_not_served_and_the_rest_is(play: Play, kind: str) -> None:
    async with play(kind) as it:
        for path in it.files.copies(it.digests[0]):
            shelves.flip(path)
        it.link.loses = lambda: True
        it.link.cut()
        await scrubbed(it.site)
        await it.site.until(lambda: bool(it.site.reasons()), "the source is away")
        assert it.site.pull("drifting", it.digests[0], kind="blobs")[0] == 404
        assert it.site.pull("drifting", it.digests[1], kind="blobs") == (200, it.layers[1])
        assert it.site.pull("drifting", "1") == (200, it.image.raw)


@pytest.mark.parametrize("kind", KINDS)
async def test_an_evidence_blob_is_mended_from_the_journal(play: Play, kind: str) -> None:
    async with play(kind) as it:
        (edition,) = it.site.standing.site.published
        dossier = it.site.journal.editions.dossier(edition)
        assert dossier is not None
        before, (bundle, content) = it.link.received, dossier.evidence[0].blobs[-1]
        for path in it.files.copies(bundle.digest):
            shelves.flip(path)
        await scrubbed(it.site)
        await it.site.until(
            lambda: it.site.pull("drifting", bundle.digest, kind="blobs") == (200, content), "the signature is back"
        )
        assert it.link.received == before
