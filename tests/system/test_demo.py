"""`make demo`'s program, played through as on a machine without a terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

GOOD = {"signed-v2", "signed-v3", "signed-both", "signed-docker"}
REASONS = {"unsigned": "UNSIGNED", "signed-by-stranger": "SIGNATURE_INVALID"}

pytestmark = pytest.mark.needs_registry


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A directory with a short path, as unix sockets want it."""
    with tempfile.TemporaryDirectory(prefix="hst-") as directory:
        yield Path(directory)


def play(scratch: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.demo"],
        env={**os.environ, "JSON": "1", "TMPDIR": str(scratch), **environment},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def outcome(played: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert played.returncode == 0, played.stderr[-2000:]
    summed: dict[str, Any] = json.loads(played.stdout.splitlines()[-1])
    return summed


def assert_nothing_is_left(scratch: Path) -> None:
    assert list(scratch.iterdir()) == []
    left = [p.info["cmdline"] for p in psutil.process_iter(["cmdline"]) if str(scratch) in str(p.info["cmdline"])]
    assert left == []


CASES = [
    pytest.param("distribution", "built-in", id="distribution"),
    pytest.param("zot", "built-in", id="zot", marks=pytest.mark.needs_zot),
    pytest.param("distribution", "spire", id="spire", marks=pytest.mark.needs_spire),
]


@pytest.mark.parametrize(("registry", "identity"), CASES)
def test_the_demo_shows_what_it_promises_and_leaves_nothing_behind(scratch: Path, registry: str, identity: str) -> None:
    summed = outcome(play(scratch, REGISTRY=registry, SPIRE=str(int(identity == "spire"))))
    assert (summed["registry"], summed["identity"]) == (registry, identity)
    images = summed["images"]
    assert {name for name, image in images.items() if image["pullable"]} == GOOD
    assert {name: image["reason"] for name, image in images.items() if not image["pullable"]} == REASONS
    assert all(images[name]["seconds"] > 0 for name in GOOD)
    assert_nothing_is_left(scratch)


def test_a_demo_without_its_registry_says_so_and_fails(scratch: Path) -> None:
    played = play(scratch, REGISTRY="harbor")
    assert played.returncode == 1
    assert "REGISTRY is zot or distribution" in played.stderr
