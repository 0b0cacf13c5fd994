"""The house itself: what the project promises of its own files."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "--", *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    return [path for line in listed.stdout.splitlines() if (path := ROOT / line).exists()]


def test_no_file_of_ours_has_grown_past_400_lines() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for path in tracked("*.py")
        if "fleet/v1" not in str(path) and (count := len(path.read_text().splitlines())) > 400
    }
    assert long == {}


def test_the_lock_file_pins_hashes_and_names_no_index() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    pins = re.findall(r"^[a-z0-9._-]+==\S+.*\\$", lock, re.MULTILINE)
    assert len(pins) > 50
    assert lock.count("--hash=sha256:") > len(pins)


def test_every_direct_dependency_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["dev"]
    names = {re.split(r"[\[><=]", requirement)[0].lower() for requirement in wanted}
    locked = set(re.findall(r"^([a-z0-9._-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    assert names - locked == set()


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "docs/architecture.md"])
def test_what_a_document_points_to_is_there(document: str) -> None:
    text = (ROOT / document).read_text()
    paths = re.findall(r"`((?:docs|proto|fleet|certs|spire|controlplane|edge|tests)/[\w./-]*)`", text)
    assert paths, "a document that points nowhere"
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_make_target_in_the_documents_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for path in tracked("*.md"):
        named = set(re.findall(r"(?:^    |`)make ([a-z-]+)", path.read_text(), re.MULTILINE))
        assert named <= targets, path.name


def test_no_file_carries_the_path_of_one_machine() -> None:
    found = subprocess.run(["git", "grep", "-lF", f"{ROOT}/"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.stdout == ""
