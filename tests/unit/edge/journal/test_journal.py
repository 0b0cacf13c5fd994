"""The journal: whole updates, last good readings, intents and editions, over restarts, crashes and damage."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge.adapters.journal.dossiers import read_dossier, write_dossier
from edge.adapters.journal.journal import Journal
from edge.adapters.journal.logs import KEPT_QUARTERS
from edge.domain.admission import Child, Dossier, Evidence
from edge.domain.content import OCI_MANIFEST, Descriptor, Platform, raw_manifest
from edge.domain.desired import enforce
from edge.domain.holding import Binding
from edge.domain.plan import Edition, RuleVersions
from edge.domain.session import Staged
from fleet import resources
from fleet.errors import FleetError
from fleet.position import Position
from fleet.reference import Digest, digest_of
from fleet.v1 import resource_pb2 as pb
from tests.rig.local_site import artifact, holding, resource, source

DIGEST = Digest("sha256:" + "a" * 64)
NOW = datetime(2026, 6, 1, tzinfo=UTC)
RULES = RuleVersions(b"p", b"t", b"b")
EDITION = Edition("hub/app:1", "hub", "app", "app", DIGEST, ("linux/amd64",))


def dossier() -> Dossier:
    payload = b"signed"
    blob = Descriptor("text/plain", digest_of(payload), len(payload), annotations={"k": "v"})
    layer = Descriptor("application/layer", DIGEST, 7, Platform("linux", "arm", "v7"), "kind")
    root = raw_manifest(b'{"odd" :  1}\n', OCI_MANIFEST)
    child = Child(raw_manifest(b"{}", OCI_MANIFEST), wanted=False)
    evidence = Evidence((raw_manifest(b"[]", OCI_MANIFEST),), ((blob, payload),), "sha256-a.sig")
    return Dossier("hub/app:1", "hub", "app", "app", (), root, (child,), (layer,), (evidence,))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def test_a_dossier_comes_back_as_it_was() -> None:
    assert read_dossier(write_dossier(dossier())) == dossier()


def test_the_site_is_read_again_after_a_write_and_only_then(path: Path) -> None:
    editions = Journal.open(path).editions
    editions.admit(EDITION, dossier(), RULES, at=NOW)
    before = editions.site()
    assert editions.site() is before
    editions.publish(EDITION, "1")
    assert not before.published
    assert editions.site().published == {EDITION}


@pytest.mark.parametrize("cut", [0, 1, 10, -1])
def test_a_damaged_dossier_is_an_error_of_ours(cut: int) -> None:
    with pytest.raises(FleetError, match="DOSSIER_CORRUPT"):
        read_dossier(write_dossier(dossier())[:cut])


def test_what_is_held_survives_a_restart_and_what_was_staged_is_used_up(path: Path) -> None:
    held = holding(source("hub", "host"), artifact("hub", "app", DIGEST, "1"))
    staged = Staged(Binding("fleet", 2, b"d", 3), b"from", b"delta", 8, 4)
    journal = Journal.open(path)
    journal.state.stage(staged, b"half", restart=True)
    assert journal.state.staged() == {"fleet": staged}
    assert journal.state.staged_bytes("fleet") == b"half"
    journal.state.hold({}, held, enforce(held, {})[1], Position(1, 7))
    journal.close()
    again = Journal.open(path)
    assert again.state.holding() == held
    assert again.state.position() == Position(1, 7)
    assert not again.state.staged()
    again.close()


def test_an_unreadable_resource_keeps_its_last_good_reading_over_a_restart(path: Path) -> None:
    good = holding(source("hub", "old-host"), artifact("hub", "app", DIGEST, "1"))
    odd = holding(resource(resources.SOURCE, "hub", b"\xff"), artifact("hub", "app", DIGEST, "1"))
    journal = Journal.open(path)
    for before, after in (({}, good), (good, odd)):
        journal.state.hold(before, after, enforce(after, journal.state.good())[1], Position(1, 1))
    journal.close()
    again = Journal.open(path)
    enforced, _ = enforce(again.state.holding(), again.state.good())
    assert enforced.sources["hub"].address == "old-host"
    assert [problem.reason for problem in enforced.problems] == ["PAYLOAD_MALFORMED"]
    again.close()


def test_the_revocation_epoch_never_falls(path: Path) -> None:
    journal, reached = Journal.open(path), []
    for serial in (3, 7, 0, 5):  # all blocks are lifted, then another comes
        journal.state.reach_revocation_epoch(serial)
        reached.append(journal.state.revocation_epoch())
    assert reached == [3, 7, 7, 7]
    journal.close()
    again = Journal.open(path)
    assert again.state.revocation_epoch() == 7
    again.close()


def test_an_edition_goes_through_its_life(path: Path) -> None:
    journal = Journal.open(path)
    editions = journal.editions
    editions.admit(EDITION, dossier(), RULES, at=NOW)
    assert editions.site().admitted == {EDITION: RULES}
    editions.begin(EDITION)
    editions.publish(EDITION, "1")
    assert editions.site().published == {EDITION}
    assert editions.site().tags == {("app", "1"): DIGEST}
    editions.refuse(EDITION)
    assert editions.site().begun == {EDITION}
    assert not editions.site().admitted
    assert editions.dossier(EDITION) == dossier()
    editions.forget(EDITION, ["1"])
    assert editions.site().begun == frozenset()
    assert not editions.site().tags
    journal.close()


def test_what_was_whole_is_told_from_what_never_was_and_from_what_goes(path: Path) -> None:
    editions = Journal.open(path).editions
    editions.admit(EDITION, dossier(), RULES, at=NOW)
    editions.begin(EDITION)
    editions.miss(EDITION)
    assert not editions.site().mending
    editions.publish(EDITION, "1")
    for _ in range(2):
        editions.miss(EDITION)
        assert not editions.site().published
        assert editions.site().mending == {EDITION}
    editions.publish(EDITION, "1")
    assert editions.site().published == {EDITION}
    assert not editions.site().mending
    editions.miss(EDITION)
    editions.withdraw(EDITION)
    assert not editions.site().published | editions.site().mending
    assert editions.site().begun == {EDITION}


def test_a_refused_edition_that_never_began_leaves_nothing(path: Path) -> None:
    journal = Journal.open(path)
    journal.editions.admit(EDITION, dossier(), RULES, at=NOW)
    journal.editions.refuse(EDITION)
    assert journal.editions.dossier(EDITION) is None
    journal.close()


def test_intents_are_ours_until_they_are_known_to_be_gone(path: Path) -> None:
    journal = Journal.open(path)
    journal.intents.intend_put("app", {DIGEST: DIGEST, "1": DIGEST})
    journal.intents.put_done("app", [DIGEST, "1"])
    journal.intents.intend_delete("app", ["1"])
    journal.close()
    again = Journal.open(path)
    assert again.intents.is_ours("app", "1")
    again.intents.delete_done("app", ["1"])
    assert again.intents.ours() == {"app": [DIGEST]}
    again.close()


def test_transfers_remember_uploads_and_where_blobs_are(path: Path) -> None:
    journal = Journal.open(path)
    log = journal.transfers
    log.upload_opened("app", DIGEST, "/upload/1")
    assert log.upload("app", DIGEST) == "/upload/1"
    log.upload_closed("app", DIGEST)
    assert not log.upload("app", DIGEST)
    log.blobs_stored("app", [DIGEST])
    assert log.blob_origin(DIGEST) == "app"
    log.blob_gone("app", DIGEST)
    assert not log.blob_origin(DIGEST)
    journal.close()


def test_a_damaged_journal_is_set_aside_and_never_used_in_silence(path: Path) -> None:
    path.write_bytes(b"this is no database" * 1000)
    journal = Journal.open(path)
    assert journal.set_aside_to is not None
    assert journal.set_aside_to.read_bytes().startswith(b"this is no database")
    assert not journal.state.holding()
    journal.close()


def test_a_journal_of_a_newer_satellite_is_left_alone(path: Path) -> None:
    Journal.open(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(FleetError, match="JOURNAL_NEWER"):
        Journal.open(path)
    assert path.exists()


def test_a_journal_of_the_first_schema_is_brought_up_to_date_and_keeps_what_it_had(path: Path) -> None:
    journal = Journal.open(path)
    journal.intents.intend_put("app", {"1": DIGEST})
    journal.close()
    connection = sqlite3.connect(path)
    connection.executescript(
        "DROP TABLE traffic; ALTER TABLE edition DROP COLUMN admitted_at; ALTER TABLE edition DROP COLUMN warnings;"
        "ALTER TABLE edition DROP COLUMN mending;"
        "ALTER TABLE last_good DROP COLUMN signatures;"
        "PRAGMA user_version=1;"
    )
    connection.close()
    journal = Journal.open(path)
    assert journal.set_aside_to is None
    assert journal.intents.is_ours("app", "1")
    journal.traffic.count(7, 100)
    journal.close()


def test_traffic_adds_up_by_quarters_over_restarts(path: Path) -> None:
    journal = Journal.open(path)
    for quarter, size in ((100, 5), (101, 7), (101, 3), (102, -1)):
        journal.traffic.count(quarter, size)
    journal.close()
    journal = Journal.open(path)
    assert journal.traffic.traffic(100, 101) == 15
    assert journal.traffic.traffic(101, 102) == 9
    journal.close()


def test_traffic_is_forgotten_when_no_month_asks_for_it(path: Path) -> None:
    journal = Journal.open(path)
    quarters = range(100, 100 + KEPT_QUARTERS + 1)
    journal.database.write("INSERT INTO traffic VALUES (?, 1)", [(quarter,) for quarter in quarters])
    journal.close()
    journal = Journal.open(path)
    assert journal.traffic.traffic(0, quarters[0]) == 0
    assert journal.traffic.traffic(0, quarters[-1]) == KEPT_QUARTERS
    journal.close()


def test_what_was_counted_while_the_clock_was_ahead_makes_no_start_forget_the_present_month(path: Path) -> None:
    journal = Journal.open(path)
    journal.traffic.count(100, 5)
    journal.traffic.count(100_000, 1)
    journal.close()
    journal = Journal.open(path)
    assert journal.traffic.traffic(0, 200) == 5
    journal.close()


def test_what_was_committed_survives_a_kill_in_the_middle_of_the_next_write(path: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from edge.adapters.journal.journal import Journal\n"
        "journal = Journal.open(Path(sys.argv[1]))\n"
        "journal.intents.intend_put('app', {'first': 'sha256:1'})\n"
        "with journal.database.transaction() as connection:\n"
        "    connection.execute(\"INSERT INTO intent VALUES ('app', 'second', '', 'put')\")\n"
        "    print('now', flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"now\n"
        os.kill(process.pid, signal.SIGKILL)
    journal = Journal.open(path)
    assert journal.set_aside_to is None
    assert journal.intents.ours() == {"app": ["first"]}
    journal.close()


def test_no_secret_has_a_place_in_it(path: Path) -> None:
    journal = Journal.open(path)
    columns = {row[0] for row in journal.database.rows("SELECT name FROM pragma_table_list WHERE schema = 'main'")}
    assert not {name for name in columns if "credential" in name or "secret" in name}
    assert path.stat().st_mode & 0o077 == 0
    journal.close()


def test_an_unknown_policy_field_holds_all_and_a_readable_one_does_not() -> None:
    policy = pb.ResourcePayload(if_unknown=pb.IF_UNKNOWN_HOLD, policy=pb.PolicySpec(images=["**"]))
    readable = resource(resources.POLICY, "base", policy)
    newer = resource(resources.POLICY, "base", policy.SerializeToString() + b"\xf8\x3f\x01")
    assert not enforce(holding(readable), {})[0].are_held
    enforced, _ = enforce(holding(newer), {})
    assert enforced.are_held
    assert enforced.rules.unreadable == ("base",)
