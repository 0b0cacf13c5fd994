"""Where SPIRE's programs are, and how to run one for its answer."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fleet.errors import FleetError, Kind

_ANSWER_TIMEOUT_S = 20.0
_REMEDY = (
    "this program of SPIRE is not on PATH: install SPIRE 1.15 or newer as its documentation says "
    "(https://spiffe.io/docs/latest/deploying/install-server/), or name it by its environment variable"
)


@dataclass(frozen=True, slots=True)
class SpirePrograms:
    """The two programs."""

    server: Path
    agent: Path


def find_programs() -> SpirePrograms:
    """Find both programs, by `SPIRE_SERVER_BIN` and `SPIRE_AGENT_BIN` or on PATH.

    Raises:
        FleetError: PRECONDITION `SPIRE_MISSING`, with the sentence how to get it.
    """
    return SpirePrograms(find_program("spire-server"), find_program("spire-agent"))


def find_program(name: str) -> Path:
    """Find one of the programs.

    Raises:
        FleetError: PRECONDITION `SPIRE_MISSING`, with the sentence how to get it.
    """
    variable = name.upper().replace("-", "_") + "_BIN"
    found = shutil.which(os.environ.get(variable) or name)
    if found is None:
        raise FleetError(Kind.PRECONDITION, "SPIRE_MISSING", _REMEDY, subject=f"{name}, {variable}")
    return Path(found)


async def ask(program: Path, arguments: Sequence[str]) -> str:
    """Run a program for its answer on stdout.

    Raises:
        FleetError: UNAVAILABLE `SPIRE_UNREACHABLE` where the server's socket does not answer, or not in time;
            PRECONDITION `SPIRE_REFUSED` for any other failure; both with what the program said.
    """
    process = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_ANSWER_TIMEOUT_S):
            stdout, stderr = await process.communicate()
    except TimeoutError as error:
        text = "SPIRE did not answer in time"
        raise FleetError(Kind.UNAVAILABLE, "SPIRE_UNREACHABLE", text, subject=program.name) from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise _failure(program, arguments, stderr.decode(errors="replace").strip())
    return stdout.decode()


def _failure(program: Path, arguments: Sequence[str], said: str) -> FleetError:
    detail = f"{' '.join(arguments)}: {said}"
    if "code = Unavailable" in said:
        text = "spire-server does not answer on its socket"
        return FleetError(Kind.UNAVAILABLE, "SPIRE_UNREACHABLE", text, subject=said[-200:], detail=detail)
    kind = Kind.UNKNOWN if "code = NotFound" in said else Kind.PRECONDITION
    text = "SPIRE refused this"
    return FleetError(kind, "SPIRE_REFUSED", text, subject=f"{program.name}: {said[-200:]}", detail=detail)


async def ask_json(program: Path, arguments: Sequence[str]) -> dict[str, object]:
    """Run a program for an answer in JSON.

    Raises:
        FleetError: as `ask`; INTERNAL `SPIRE_ANSWER_MALFORMED` where the answer is no JSON object.
    """
    answer = await ask(program, [*arguments, "-output", "json"])
    try:
        read = json.loads(answer)
    except json.JSONDecodeError as error:
        raise malformed_answer(answer) from error
    if not isinstance(read, dict):
        raise malformed_answer(answer)
    return read


def malformed_answer(answer: object) -> FleetError:
    """Make the error for an answer that is not as SPIRE's API has it."""
    text = "SPIRE's answer is not what its API promises"
    return FleetError(Kind.INTERNAL, "SPIRE_ANSWER_MALFORMED", text, detail=repr(answer)[:500])
