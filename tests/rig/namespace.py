"""A module of ours in a network namespace of its own, where loopback is all there is (root)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[2]


def answer_of(module: str, *, question: object = None, timeout_s: float) -> Any:
    """Run `python -m MODULE`, with a question on its standard input: the last line that it prints, both JSON."""
    command = f"ip link set lo up && exec {sys.executable} -m {module}"
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", command],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        cwd=_ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])  # after log lines
