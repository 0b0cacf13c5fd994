from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.rig.programs import PROGRAMS, Program, ProgramMissingError, find, require

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    find.cache_clear()
    yield
    find.cache_clear()


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine with nothing on PATH and an empty cache."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for program in PROGRAMS.values():
        monkeypatch.delenv(program.variable, raising=False)
    return tmp_path


def _program(path: Path, says: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


def test_a_variable_wins_over_path(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _program(bare / "bin" / "zot")
    monkeypatch.setenv("ZOT_BIN", str(_program(bare / "mine")))
    assert find("zot") == bare / "mine"


def test_a_variable_that_names_nothing_is_an_error(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIRE_SERVER_BIN", str(bare / "absent"))
    with pytest.raises(ProgramMissingError, match="SPIRE_SERVER_BIN"):
        find("spire-server")


def test_path_wins_over_the_cache(bare: Path) -> None:
    cached = _program(PROGRAMS["cosign"].home)
    assert find("cosign") == cached
    find.cache_clear()
    on_path = _program(bare / "bin" / "cosign")
    assert find("cosign") == on_path


def test_another_program_called_registry_is_not_distributions(bare: Path) -> None:
    _program(bare / "bin" / "registry", "some other registry 1.0")
    assert find("registry") is None
    find.cache_clear()
    _program(bare / "bin" / "registry", "registry github.com/distribution/distribution/v3 v3.1.2")
    assert find("registry") == bare / "bin" / "registry"


def test_what_is_missing_is_one_sentence_with_its_remedy(bare: Path) -> None:
    with pytest.raises(ProgramMissingError, match=r"^zot .*install Zot .*ZOT_BIN\.$"):
        require("zot")
    with pytest.raises(ProgramMissingError, match=r"make tools.*Go 1\.26.*COSIGN_BIN"):
        require("cosign")


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_every_program_is_pinned_or_says_how_to_get_it(program: Program) -> None:
    assert bool(program.package) is bool(program.version) is not bool(program.remedy)
    assert program.sentence.endswith(".")


def _tools(bare: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.rig.tools", *arguments]
    return subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=False)


def test_a_program_that_only_its_makers_ship_is_told_and_never_installed(bare: Path) -> None:
    done = _tools(bare, "test", "zot")
    assert done.returncode == 1
    assert "https://zotregistry.dev" in done.stderr


def test_tools_leave_alone_what_is_there(bare: Path) -> None:
    _program(bare / "bin" / "registry", "registry github.com/distribution/distribution/v3 v3.1.2")
    done = _tools(bare, "demo")
    assert done.returncode == 0, done.stderr
    assert "building" not in done.stderr
    assert not list((bare / "cache").rglob("bin"))
