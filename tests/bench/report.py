"""Figures for people and programs: a table, `build/bench.json`, and docs/performance.md."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table

from tests.bench.figures import Figure, Measured

ROOT = Path(__file__).parent.parent.parent
JSON_FILE = ROOT / "build" / "bench.json"
DOCS_FILE = ROOT / "docs" / "performance.md"
_HEADINGS = ("figure", "ours", "peer", "ratio", "expected", "")
_GENERATED = re.compile(r"(<!-- figures -->\n).*(<!-- end of figures -->)", re.DOTALL)


def _number(measured: Measured, unit: str) -> str:
    """Write `median (least … most) unit`."""
    value, low, high = (f"{number:.3g}" for number in (measured.value, measured.low, measured.high))
    spread = f" ({low} … {high})" if low != high else ""
    return f"{value}{spread} {unit}"


def _cells(figure: Figure) -> tuple[str, ...]:
    theirs = f"{figure.peer} {_number(figure.theirs, figure.unit)}" if figure.theirs else ""
    theirs += f", {figure.in_vain}" if figure.in_vain else ""
    ratio = f"{figure.ratio:.2f}" if figure.ratio is not None else ""
    verdict = {True: "met", False: "missed", None: ""}[figure.met]
    return figure.name, _number(figure.ours, figure.unit), theirs, ratio, figure.expected or "", verdict


def table(figures: Sequence[Figure]) -> Table:
    """Lay the figures out for a terminal."""
    made = Table(title="medians of several runs (least … most)", title_justify="left")
    for heading in _HEADINGS:
        made.add_column(heading, justify="right" if heading == "ratio" else "left", overflow="fold")
    group = ""
    for figure in figures:
        begins, group = figure.name.rpartition("/")[0] != group, figure.name.rpartition("/")[0]
        if begins:
            made.add_section()
        style = {True: "green", False: "red", None: ""}[figure.met]
        made.add_row(*_cells(figure), style=style)
    return made


def write_json(figures: Sequence[Figure], path: Path = JSON_FILE) -> None:
    """Write the figures for programs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([figure.row() for figure in figures], indent=1, ensure_ascii=False) + "\n")


def markdown(figures: Sequence[Figure], machine: Sequence[str], load: tuple[float, float], at: datetime) -> str:
    """Write date, machine and table."""
    before, after = load
    lines = [f"Measured {at:%Y-%m-%d}; load average {before:.1f} before, {after:.1f} after.", ""]
    lines += [f"- {sentence}" for sentence in machine]
    lines += ["", f"| {' | '.join(_HEADINGS)} |", f"|{'---|' * len(_HEADINGS)}"]
    lines += [f"| {' | '.join(_cells(figure))} |" for figure in figures]
    return "\n".join(lines) + "\n"


def write_docs(
    figures: Sequence[Figure], machine: Sequence[str], load: tuple[float, float], path: Path = DOCS_FILE
) -> None:
    """Put the figures between the markers of the page; what stands around them is written by people."""
    made = markdown(figures, machine, load, datetime.now(UTC))
    text = path.read_text()
    if not _GENERATED.search(text):
        raise ValueError(f"{path.name} has lost its markers")
    path.write_text(_GENERATED.sub(lambda found: f"{found[1]}\n{made}\n{found[2]}", text))
