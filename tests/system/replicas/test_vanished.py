"""The database's host vanishes without a word, as in a failover: nobody waits for the kernel's two hours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

pytestmark = [pytest.mark.needs_postgres, pytest.mark.needs_netns, pytest.mark.needs_iptables]


def test_a_database_that_vanished_without_a_word_is_given_up_and_asked_again() -> None:
    command = f"ip link set lo up && exec {sys.executable} -m tests.rig.vanished_database"
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", command], capture_output=True, text=True, timeout=180, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])  # after log lines
    assert said == {"asking": "STORE_UNAVAILABLE", "waiting": "STORE_UNAVAILABLE", "again": ""}
