from __future__ import annotations

from pathlib import Path

import pytest

from edge.adapters.registry.choose import External, choose_registry, find_program
from edge.adapters.registry.listener import Listener, parse_listener
from fleet.errors import FleetError, Kind


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def machine(tmp_path: Path) -> dict[str, str]:
    """An environment in which nothing is installed."""
    return {"PATH": str(tmp_path / "bin"), "XDG_CACHE_HOME": str(tmp_path / "cache")}


def test_zot_is_run_where_it_is_found(tmp_path: Path, machine: dict[str, str]) -> None:
    program(tmp_path / "bin/zot")
    program(tmp_path / "bin/registry")
    chosen = choose_registry(tmp_path, Listener(), environment=machine)
    assert chosen.kind == "zot"
    assert "was found at" in chosen.why


def test_distribution_is_run_where_there_is_no_zot(tmp_path: Path, machine: dict[str, str]) -> None:
    program(tmp_path / "cache/harbor-satellite/tools/registry-3.1.2/bin/registry")
    chosen = choose_registry(tmp_path, Listener(), environment=machine)
    assert chosen.kind == "distribution"
    assert "no zot program was found" in chosen.why


def test_distribution_can_be_forced(tmp_path: Path, machine: dict[str, str]) -> None:
    program(tmp_path / "bin/zot")
    machine["REGISTRY_BIN"] = str(program(tmp_path / "elsewhere/registry"))
    assert choose_registry(tmp_path, Listener(), wanted="distribution", environment=machine).kind == "distribution"


@pytest.mark.parametrize(("wanted", "word"), [("", "REGISTRY_BIN"), ("zot", "ZOT_BIN")])
def test_a_missing_program_is_a_sentence_with_the_remedy(
    tmp_path: Path, machine: dict[str, str], wanted: str, word: str
) -> None:
    with pytest.raises(FleetError) as caught:
        choose_registry(tmp_path, Listener(), wanted=wanted, environment=machine)
    assert (caught.value.kind, caught.value.reason) == (Kind.PRECONDITION, "PROGRAM_ABSENT")
    assert word in caught.value.text


def test_a_variable_that_names_no_program_is_an_error(machine: dict[str, str]) -> None:
    with pytest.raises(FleetError) as caught:
        find_program("zot", machine | {"ZOT_BIN": "/nonexistent"})
    assert "ZOT_BIN" in caught.value.text


def test_a_url_is_a_registry_of_the_user_s_own(tmp_path: Path, machine: dict[str, str]) -> None:
    chosen = choose_registry(tmp_path, Listener(), wanted="https://registry.example", environment=machine)
    assert chosen.kind == "external"
    with pytest.raises(FleetError):
        choose_registry(tmp_path, Listener(), wanted="http://registry.example", environment=machine)
    choose_registry(tmp_path, Listener(), wanted="http://r.example", external=External(plaintext=True))


def test_another_word_is_no_registry(tmp_path: Path) -> None:
    with pytest.raises(FleetError) as caught:
        choose_registry(tmp_path, Listener(), wanted="harbor")
    assert caught.value.reason == "REGISTRY_UNKNOWN"


def test_a_listener_beyond_loopback_needs_leave() -> None:
    assert parse_listener("127.0.0.1:5000") == Listener("127.0.0.1", 5000)
    assert parse_listener("[::1]:0").authority == "[::1]:0"
    with pytest.raises(FleetError) as caught:
        parse_listener("0.0.0.0:5000")
    assert caught.value.reason == "SITE_PLAINTEXT_REFUSED"
    assert parse_listener("0.0.0.0:5000", plaintext=True).local_url == "http://127.0.0.1:5000"


@pytest.mark.parametrize("text", ["", "5000", "host:5000", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1"])
def test_what_is_no_listener_is_refused(text: str) -> None:
    with pytest.raises(FleetError) as caught:
        parse_listener(text)
    assert caught.value.reason == "LISTENER_MALFORMED"
