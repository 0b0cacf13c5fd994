"""`python -m tests.rig.tools demo|test|all [name...]`: install the programs that Go can build.

Once per version and user, two at a time, with progress; what is there already is left alone.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tests.rig.programs import PROGRAMS, Program, ProgramMissingError, find

GROUPS = {
    "demo": ("registry",),
    "bench": (
        *("registry", "crane", "regctl", "regsync", "toxiproxy"),
        *("cosign", "fulcio", "rekor", "timestamp-server"),
    ),
    "test": ("cosign", "registry", "grpcurl", "crane", "toxiproxy", "fulcio", "rekor", "timestamp-server"),
    "all": tuple(name for name, program in PROGRAMS.items() if program.package),
}
"""What each use wants installed."""
FOUND_ONLY = {
    "demo": ("zot",),
    "bench": ("zot", "skopeo"),
    "test": ("zot", "spire-server", "spire-agent", "postgres", "containerd", "skopeo", "faketime"),
    "all": ("zot", "spire-server", "spire-agent", "postgres", "containerd", "skopeo", "faketime"),
}
"""What each use runs when it is at hand, and is never installed silently."""
_AT_ONCE = 2
_BUILD_TIMEOUT_S = 1800


class InstallFailedError(Exception):
    """A program could not be built; the text says why."""


@contextmanager
def _locked(program: Program) -> Iterator[None]:
    """Keep two runs from building the same thing: the second waits and finds it there."""
    lock = program.home.parent.parent.with_suffix(program.home.parent.parent.suffix + ".lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _build(program: Program, go: Path, directory: Path) -> Path:
    environment = {**os.environ, "CGO_ENABLED": "0", "GOBIN": str(directory)}
    command = [str(go), "install", "-trimpath", f"{program.package}@v{program.version}"]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=_BUILD_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise InstallFailedError(f"the build did not end within {_BUILD_TIMEOUT_S // 60} minutes") from error
    if done.returncode:
        raise InstallFailedError("\n".join(done.stderr.strip().splitlines()[-6:]))
    return directory / program.built_as


def install(program: Program) -> Path:
    """Build a program into the cache, or find that another run just did.

    Raises:
        InstallFailedError: with the compiler's last words.
        ProgramMissingError: there is no Go to build it with.
    """
    go = find("go")
    if go is None:
        raise ProgramMissingError(PROGRAMS["go"].sentence)
    with _locked(program):
        if program.home.exists():
            return program.home
        program.home.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=program.home.parent.parent) as scratch:
            _build(program, go, Path(scratch)).replace(program.home)
    return program.home


def _install_one(program: Program, progress: Progress, console: Console) -> str:
    """Install and tell; return the failure's text, or nothing."""
    label = f"{program.name} {program.version}"
    if not console.is_terminal:
        console.print(f"==> building {label} (about {program.seconds} s, once)")
    task = progress.add_task(f"{label} [dim]about {program.seconds} s, once[/dim]", total=None)
    begun = time.monotonic()
    try:
        install(program)
    except (InstallFailedError, ProgramMissingError) as error:
        progress.update(task, description=f"[red]{label} failed[/red]")
        return f"{program.sentence}\n{error}"
    progress.update(task, description=f"[green]{label}[/green]", total=1, completed=1)
    if not console.is_terminal:
        console.print(f"    {label} ready after {time.monotonic() - begun:.0f} s")
    return ""


def install_all(programs: Sequence[Program], console: Console) -> list[str]:
    """Install programs, two at a time; return what failed, as sentences."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with (
        Progress(*columns, console=console, disable=not console.is_terminal) as progress,
        ThreadPoolExecutor(_AT_ONCE) as pool,
    ):
        answers = pool.map(lambda program: _install_one(program, progress, console), programs)
        return [answer for answer in answers if answer]


def _missing(names: Sequence[str]) -> list[Program]:
    return [PROGRAMS[name] for name in names if find(name) is None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Install a group or the programs named; return the exit code."""
    parser = argparse.ArgumentParser(prog="tests.rig.tools", description=__doc__)
    parser.add_argument("group", choices=sorted(GROUPS))
    parser.add_argument("names", nargs="*", help="these programs only", metavar="name")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - set(PROGRAMS))
    if unknown:
        parser.error(f"unknown program: {', '.join(unknown)}")
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    missing = _missing(options.names or GROUPS[options.group])
    failures = install_all([program for program in missing if program.package], console)
    absent = [program for program in missing if not program.package]
    failures += [program.sentence for program in absent]
    for failure in failures:
        console.print(failure, style="red", markup=False)
    for program in _missing(FOUND_ONLY[options.group] if not options.names else ()):
        console.print(f"not here, and done without: {program.sentence}", style="dim", markup=False)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
