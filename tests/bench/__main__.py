"""`python -m tests.bench`: measure, print a table, write build/bench.json.

`ONLY=name[,name]` picks groups of figures by the beginning of their names, `QUICK=1` takes fewer runs,
`--write-docs` keeps the result of a whole run in docs/performance.md. A figure that misses what is expected of it
does not change the exit code: how fast a machine is does not say that the program is wrong.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial

from rich.console import Console

from tests.bench import assignment, bad_links, copying, idling, machine, repeating, report, verifying
from tests.bench.cases import CASES
from tests.bench.figures import Figure

Measure = Callable[[bool, Console], list[Figure]]


GROUPS: dict[str, Measure] = {
    "assignment-to-pullable": lambda quick, console: assignment.measure(10 if quick else 50, console),
    "idle-satellite": lambda quick, console: idling.measure(10.0 if quick else 30.0, console),
    repeating.NAME: repeating.measure,
    **{name: partial(verifying.measure, name) for name in verifying.KINDS},
    **{name: partial(copying.measure, name) for name in CASES},
    **{name: partial(bad_links.measure, name) for name in bad_links.CASES},
}


def picked(only: str) -> list[str]:
    """List the groups that `ONLY` names.

    Raises:
        SystemExit: with code 2 where it names none.
    """
    wanted = [word for word in only.replace(",", " ").split() if word]
    for word in wanted:
        if not any(name.startswith(word) for name in GROUPS):
            print(f"ONLY={word} is none of: {', '.join(GROUPS)}", file=sys.stderr)
            raise SystemExit(2)
    return [name for name in GROUPS if not wanted or any(name.startswith(word) for word in wanted)]


def measured(names: Sequence[str], *, quick: bool, talk: Console) -> tuple[list[Figure], list[str]]:
    """Measure groups: `→ figures, names of the groups that could not be measured`."""
    figures: list[Figure] = []
    failed: list[str] = []
    for name in names:
        try:
            figures += GROUPS[name](quick, talk)
        except Exception:  # noqa: BLE001 what one group met is no reason to lose the others' minutes
            talk.print_exception(max_frames=4)
            failed.append(name)
    return figures, failed


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what is asked for; return the exit code."""
    parser = argparse.ArgumentParser(prog="tests.bench", description=__doc__)
    parser.add_argument("--write-docs", action="store_true", help="keep the result in docs/performance.md")
    options = parser.parse_args(arguments)
    quick, only = bool(os.environ.get("QUICK")), os.environ.get("ONLY", "")
    if options.write_docs and (quick or only):
        parser.error("--write-docs wants a whole run: neither ONLY nor QUICK")
    # Our programs compile their modules once, as installed ones do, whatever the shell says.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    talk, load = Console(stderr=True, highlight=False), machine.load()
    figures, failed = measured(picked(only), quick=quick, talk=talk)
    report.write_json(figures)
    out = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    out.print(report.table(figures))
    if options.write_docs and not failed:
        report.write_docs(figures, machine.description(), (load, machine.load()))
    missed = [
        f"{figure.name} ({figure.peer})" if figure.peer else figure.name for figure in figures if figure.met is False
    ]
    out.print(f"missed: {', '.join(missed)}" if missed else "all that was measured is as expected")
    if failed:
        out.print(f"not measured: {', '.join(failed)}")
    if load > (os.cpu_count() or 1):
        talk.print(f"the machine was busy (load {load:.1f}): compare ratios, not seconds")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
