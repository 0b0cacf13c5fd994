"""docs/grpcurl.md, run as it stands: the real grpcurl, the real satctl, a real Ground Control."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.rig.ground_control import GroundControl
from tests.rig.programs import find
from tests.rig.satctl import Satctl

DOCUMENT = Path(__file__).parents[2] / "docs" / "grpcurl.md"
ADDRESS = "localhost:8443"
_BLOCK = re.compile(r"^```(?P<kind>sh|sh refused|text|json)\n(?P<content>.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMAND_S = 60.0
_VARIES = {"created_at", "etag"}

pytestmark = pytest.mark.needs_grpcurl


@dataclass(frozen=True)
class Step:
    """Commands of the document, and the answer that it shows for them."""

    commands: str
    refused: bool
    answer_kind: str = ""
    answer: str = ""


def steps() -> list[Step]:
    found: list[Step] = []
    for block in _BLOCK.finditer(DOCUMENT.read_text()):
        kind, content = block["kind"], block["content"]
        if kind.startswith("sh"):
            found.append(Step(content, refused=kind == "sh refused"))
        else:
            found[-1] = Step(found[-1].commands, found[-1].refused, kind, content)
    return found


def settled(answer: str) -> Any:
    """Read an answer without what differs from run to run."""
    return json.loads(answer, object_hook=lambda fields: {k: v for k, v in fields.items() if k not in _VARIES})


@pytest.fixture
def ground_control(tmp_path: Path) -> Iterator[GroundControl]:
    with GroundControl(tmp_path) as running:
        yield running


def environment(admin: Satctl) -> dict[str, str]:
    grpcurl = find("grpcurl")
    assert grpcurl is not None
    places = (str(Path(sys.executable).parent), str(Path(grpcurl).parent), admin.environment.get("PATH", os.defpath))
    return admin.environment | {"PATH": os.pathsep.join(places)}


def test_the_document_is_true(ground_control: GroundControl, tmp_path: Path) -> None:
    admin = Satctl(tmp_path / "admin")
    admin.ok("login", ground_control.operator_string())
    address = f"localhost:{ground_control.address.rpartition(':')[2]}"
    here, settings = tmp_path / "here", ""
    here.mkdir()
    ran = 0
    for step in steps():
        commands = step.commands.replace(f"GC={ADDRESS}", f"GC={address}")
        done = subprocess.run(
            ["bash", "-eu", "-c", settings + commands],
            cwd=here,
            env=environment(admin),
            capture_output=True,
            text=True,
            timeout=_COMMAND_S,
            check=False,
        )
        assert (done.returncode != 0) == step.refused, f"{commands}\n{done.stdout}\n{done.stderr}"
        # Variables that the document sets hold for what comes after, as in the reader's shell.
        settings += "".join(f"{line}\n" for line in commands.splitlines() if re.match(r"[A-Z]+=", line))
        check_answer(step, done.stderr if step.refused else done.stdout, address)
        ran += 1
    assert ran >= 10


def check_answer(step: Step, answer: str, address: str) -> None:
    if step.answer_kind == "text":
        assert answer.replace(address, ADDRESS) == step.answer
    elif step.answer_kind == "json":
        assert settled(answer) == settled(step.answer), step.commands
