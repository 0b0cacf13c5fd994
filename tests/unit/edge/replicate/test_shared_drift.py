"""Drift in a registry that is not ours, where there is the API alone: gaps are found and filled, damage is told."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge.adapters.journal.journal import Journal
from edge.app.drift import Drift
from edge.app.footprint import Footprint
from edge.app.replicate import Replicator
from edge.app.scrub import Scrubber, ScrubBoard, ScrubRequest
from edge.domain.admission import Admission
from edge.domain.plan import Edition, RuleVersions
from fleet.errors import FleetError
from fleet.reference import Digest
from tests.rig.dossiers import admission, signature
from tests.rig.memory_registry import EXCLUSIVE, REPOSITORY, MemorySite, MemorySource

RULES = RuleVersions(b"p", b"t", b"b")
SCANS_A_DAY = 144


class Shared:
    """One image, published into a registry that others write to as well."""

    def __init__(self, directory: Path) -> None:
        self.source = MemorySource()
        self.site = MemorySite(replace(EXCLUSIVE, sole_writer=False))
        self.journal = Journal.open(directory / "journal.db")
        self.replicator = Replicator(
            self.site, self.journal.intents, self.journal.transfers, staging=self.journal.staging
        )
        self.drift = Drift(lambda: self.site, self.journal.editions, self.replicator)
        self.board, self.stop, self.clock = ScrubBoard(), threading.Event(), 0.0
        self.scrubber = Scrubber(
            lambda: self.site,
            self.journal.editions,
            self.drift,
            board=self.board,
            stop=self.stop,
            clock=lambda: self.clock,
        )
        self.admitted = self._publish()
        self.layer = self.admitted.blobs[-1].digest

    def _publish(self) -> Admission:
        root = self.source.add(os.urandom(3000))
        admitted = admission(self.source, REPOSITORY, root, "v1", evidence=(signature(root),))
        self.edition = Edition("hub/app:1", "hub", REPOSITORY, REPOSITORY, root.digest)
        self.journal.editions.admit(self.edition, admitted, RULES, at=datetime(2026, 6, 1, tzinfo=UTC))
        self.journal.editions.begin(self.edition)
        self.replicator.replicate(admitted, self.source, lambda same: same)
        self.journal.editions.publish(self.edition, "v1")
        return admitted

    def scrub(self) -> set[Edition]:
        request = ScrubRequest("one", 0)
        self.board.begin(request, at=datetime.now(UTC))
        return self.scrubber.run(request)

    def remove(self, digest: Digest) -> None:
        self.site.blobs.discard((REPOSITORY, digest))
        self.site.contents.pop((REPOSITORY, digest))

    def close(self) -> None:
        self.replicator.close()
        self.journal.close()


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Shared]:
    made = Shared(tmp_path)
    yield made
    made.close()


def test_a_missing_manifest_is_found_by_every_scan(shared: Shared) -> None:
    assert shared.drift.lacking() == set()
    shared.site.delete_manifest(REPOSITORY, shared.edition.digest)
    assert shared.drift.lacking() == {shared.edition}


def test_a_missing_blob_is_found_within_a_day_of_scans(shared: Shared) -> None:
    shared.remove(shared.layer)
    found = [shared.drift.lacking() for _ in range(SCANS_A_DAY)]
    assert found.count({shared.edition}) == 1


def test_a_scrub_finds_a_missing_blob_at_once(shared: Shared) -> None:
    assert shared.scrub() == set()
    shared.remove(shared.layer)
    assert shared.scrub() == {shared.edition}
    assert shared.board.state is not None
    assert (shared.board.state.damaged, shared.board.state.reason) == ((), "")


def test_damage_there_is_told_and_left_to_the_owner(shared: Shared) -> None:
    shared.site.contents[REPOSITORY, shared.layer] = b"something else"
    shared.scrub()
    state = shared.board.state
    assert state is not None
    assert (state.damaged, state.reason) == ((shared.layer,), "DAMAGE_STAYS")
    assert shared.site.has_blob(REPOSITORY, shared.layer)


def test_reading_waits_for_the_clock_and_ends_with_the_satellite(shared: Shared) -> None:
    shared.stop.set()
    shared.board.begin(ScrubRequest("slow", 1000), at=datetime.now(UTC))
    with pytest.raises(FleetError) as caught:
        shared.scrubber.run(ScrubRequest("slow", 1000))
    assert caught.value.reason == "SCRUB_STOPPED"


def test_what_came_of_an_image_that_is_withdrawn_is_dropped(shared: Shared) -> None:
    upload = shared.site.append(shared.site.begin(REPOSITORY), memoryview(b"half of a layer"))
    other = shared.site.append(shared.site.begin(REPOSITORY), memoryview(b"half of another's"))
    shared.journal.transfers.upload_opened(REPOSITORY, shared.layer, upload.location)
    shared.journal.transfers.upload_opened("library/other", shared.layer, other.location)
    footprint = shared.replicator.footprint(shared.admitted)
    shared.replicator.withdraw(shared.admitted, lambda: replace(footprint, manifests=frozenset(), tags={}))
    assert set(shared.site.uploads) == {upload.location, other.location}, "another image holds the layer"
    shared.replicator.withdraw(shared.admitted, Footprint)
    assert set(shared.site.uploads) == {other.location}
    assert [one.repository for one in shared.journal.transfers.open_uploads()] == ["library/other"]
