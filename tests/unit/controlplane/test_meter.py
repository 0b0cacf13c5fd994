"""Counting, and what becomes of it on the way to Prometheus: its own parser reads what we write."""

from __future__ import annotations

import asyncio
import socket
import stat
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open
from prometheus_client.parser import text_string_to_metric_families as parse_plain

from controlplane.adapters.meter_socket import ask, telling
from controlplane.app.catalog import OWN, WORKERS
from controlplane.app.meter import Family, Kind, Meter
from controlplane.http.exposition import render, write_own, write_workers
from fleet.errors import FleetError

CALLS = Family("calls", Kind.COUNTER, "Calls.", ("method", "code"))
KINDS = Family("kinds", Kind.COUNTER, "Kinds.", ("kind",), known=(("a",), ("b",)))
PLAIN = Family("plain", Kind.COUNTER, "No labels.")
LEVEL = Family("level", Kind.GAUGE, "A level.")
TOOK = Family("took_seconds", Kind.HISTOGRAM, "How long.", ("way",), bounds=(0.1, 1.0))
FAMILIES = (CALLS, KINDS, PLAIN, LEVEL, TOOK)


def counted() -> Meter:
    meter = Meter()
    meter.counts(CALLS)['say "hi"\n', "OK"] += 2
    meter.counts(KINDS)["a",] += 1
    meter.counts(PLAIN)
    meter.watch(LEVEL, lambda: 7)
    for value in (0.05, 0.1, 0.5, 60.0):
        meter.histogram(TOOK, "read").observe(value)
    return meter


def parsed(text: bytes, *, open_metrics: bool = False) -> dict[tuple[str, ...], float]:
    families = (parse_open if open_metrics else parse_plain)(text.decode())
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
def test_prometheus_reads_what_was_counted(accept: str) -> None:
    content_type, text = render(write_workers(FAMILIES, {"worker-1": counted().samples()}), accept)
    assert content_type.startswith(accept.partition(";")[0])
    read = parsed(text, open_metrics=bool(accept))
    assert read["ground_control_calls_total", "OK", 'say "hi"\n', "worker-1"] == 2
    assert read["ground_control_kinds_total", "b", "worker-1"] == 0, "what has not happened yet is 0, not absent"
    assert read["ground_control_plain_total", "worker-1"] == 0
    assert read["ground_control_level", "worker-1"] == 7
    buckets = [read["ground_control_took_seconds_bucket", le, "read", "worker-1"] for le in ("0.1", "1.0", "+Inf")]
    assert buckets == [2, 3, 4], "a bound belongs to its bucket, and buckets add up"
    assert read["ground_control_took_seconds_count", "read", "worker-1"] == 4
    assert read["ground_control_took_seconds_sum", "read", "worker-1"] == pytest.approx(60.65)


def test_each_worker_has_series_of_its_own() -> None:
    told = {name: counted().samples() for name in ("worker-1", "worker-2")}
    _, text = render(write_workers(FAMILIES, told), "")
    read = parsed(text)
    assert {key[-1] for key in read} == {"worker-1", "worker-2"}


async def test_who_asks_a_worker_gets_everything_as_it_is_then(tmp_path: Path) -> None:
    meter, path = counted(), tmp_path / "metrics" / "w.sock"
    async with telling(meter, path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        first, second = await asyncio.gather(ask(path), ask(path))
        assert first == second == meter.samples()
        meter.counts(PLAIN)[()] += 1
        assert await ask(path) == meter.samples() != first
    assert await ask(path) is None


async def test_a_worker_takes_the_place_of_one_that_was_killed(tmp_path: Path) -> None:
    path = tmp_path / "metrics" / "w.sock"
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    assert await ask(path) is None
    async with telling(counted(), path):
        assert await ask(path)


async def test_a_worker_that_hangs_or_talks_nonsense_counts_as_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controlplane.adapters.meter_socket.ASK_S", 0.05)
    answers = {"hang": None, "nonsense": b"\xff{", "other": b'{"a": 1}', "number": b"1", "empty": b""}
    for name, answer in answers.items():

        async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, said: bytes | None = answer) -> None:
            if said is None:
                await reader.read()  # until the other end gives up
            else:
                writer.write(said)
            writer.close()

        async with await asyncio.start_unix_server(tell, tmp_path / name):
            assert await ask(tmp_path / name) is None
            await asyncio.sleep(0)


async def test_numbers_are_not_told_where_others_can_listen(tmp_path: Path) -> None:
    (tmp_path / "metrics").mkdir(mode=0o755)
    with pytest.raises(FleetError) as refused:
        async with telling(Meter(), tmp_path / "metrics" / "w.sock"):
            pass
    assert refused.value.reason == "PRIVATE_PATH_EXPOSED"


@pytest.mark.parametrize("family", [*WORKERS, *OWN], ids=lambda family: family.name)
def test_every_metric_is_named_and_explained_as_prometheus_asks(family: Family) -> None:
    assert family.help.endswith("."), "a sentence"
    assert not family.name.endswith(("_total", "_count", "_sum", "_bucket", "_milliseconds", "_ms"))
    assert bool(family.bounds) is (family.kind is Kind.HISTOGRAM)
    assert family.kind is not Kind.HISTOGRAM or family.name.endswith("_seconds")
    assert all(len(known) == len(family.labels) for known in family.known)
    assert "worker" not in family.labels or family in OWN


def test_no_metric_is_there_twice() -> None:
    names = [family.name for family in (*WORKERS, *OWN)]
    assert len(set(names)) == len(names)
    _, text = render([*write_own(OWN, []), *write_workers(WORKERS, {})], "")
    assert text.count(b"# HELP") == text.count(b"# TYPE") >= len(names)
