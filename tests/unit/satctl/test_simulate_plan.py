"""What a simulation cannot be is said before anything is made."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
from typer.testing import CliRunner

from controlplane.satctl.cli import app
from controlplane.satctl.simulate.identities import device_key, load_or_make_secret
from controlplane.satctl.simulate.plan import name_of
from controlplane.satctl.simulate.run import check_share, processes_for
from controlplane.satctl.simulate.tally import Tally, Whole, percentile
from fleet.errors import FleetError


def test_more_satellites_than_open_files_are_refused_with_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    raised: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: raised.append(limits))
    assert (processes_for(500, 0), raised) == (1, [])
    assert (processes_for(7000, 2), raised) == (2, [(3700, 4096)])
    with pytest.raises(FleetError) as refused:
        processes_for(7000, 1)
    assert (refused.value.reason, refused.value.subject) == ("ULIMIT_TOO_LOW", "ulimit -n 4096, needed 7200")


def test_shares_are_parts_of_one_whole() -> None:
    check_share(failing=0.5, refusing=0.5)
    with pytest.raises(FleetError):
        check_share(failing=0.6, refusing=0.5)


def test_identities_of_spire_cannot_be_simulated(tmp_path: Path) -> None:
    options = ["--home", str(tmp_path), "--ground-control", "localhost:1", "--ground-control-id", "spiffe://a/gc/main"]
    done = CliRunner().invoke(app, [*options, "simulate"])
    assert isinstance(done.exception, FleetError)
    assert done.exception.reason == "SIMULATION_BY_TOKEN"


def test_a_device_key_is_always_the_same_and_never_anothers(tmp_path: Path) -> None:
    secret = load_or_make_secret(tmp_path / "profile")
    assert load_or_make_secret(tmp_path / "profile") == secret
    keys = {device_key(secret, name_of(number)).public_der for number in (1, 2, 1)}
    assert len(keys) == 2
    assert device_key(bytes(32), name_of(1)).public_der not in keys


def test_the_tallies_of_processes_are_one() -> None:
    whole, tally = Whole(), Tally()
    tally.counts["deltas"] = 2
    tally.time("handshake", 0.5)
    whole.add(tally.piece())
    tally.counts["deltas"] = 3
    tally.time("handshake", 1.5)
    whole.add(tally.piece())
    whole.add({**Tally().piece(), "pid": 0, "counts": {"deltas": 4}})
    assert whole.sum("counts")["deltas"] == 7
    assert whole.times["handshake"] == [0.5, 1.5]
    assert [percentile(whole.times["handshake"], share) for share in (0.0, 0.99)] == [0.5, 1.5]
    assert percentile([], 0.5) is None
