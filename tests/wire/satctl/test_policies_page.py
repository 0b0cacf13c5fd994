"""docs/policies.md on a real Ground Control: its command lines, then all of its files at once."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

from tests.rig.policies_page import commands, examples, write_files
from tests.rig.satctl import Satctl


def run(admin: Satctl, line: str, directory: Path) -> None:
    program, *arguments = shlex.split(line)
    assert program == "satctl"
    done = subprocess.run(
        admin.command(*arguments), env=admin.environment, cwd=directory, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{line}\n{done.stderr}"


def clear(admin: Satctl) -> None:
    for kind in ("policy", "trust", "block"):
        for thing in admin.json(kind, "list"):
            admin.ok(kind, "delete", thing["name"])


def test_what_the_page_says_to_type_works(admin: Satctl, tmp_path: Path) -> None:
    write_files(tmp_path)
    clear(admin)  # of what other tests have left at this Ground Control
    admin.ok("source", "create", "ghcr", "--address", "ghcr.io")
    admin.ok("group", "create", "shops")
    for line in commands():
        run(admin, line, tmp_path)
    assert [policy["name"] for policy in admin.json("policy", "list")] == ["imported"]
    clear(admin)
    (tmp_path / "all.yaml").write_text("---\n".join(examples("yaml")))
    run(admin, "satctl policy apply -f all.yaml --dry-run", tmp_path)
    run(admin, "satctl policy apply -f all.yaml", tmp_path)
    assert len(admin.json("policy", "list")) > 10
    clear(admin)
