"""Figures for people and programs: a table, `build/bench.json`, and docs/performance.md."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

from rich.table import Table

from tests.bench.figures import Figure, Measured

ROOT = Path(__file__).parent.parent.parent
JSON_FILE = ROOT / "build" / "bench.json"
DOCS_FILE = ROOT / "docs" / "performance.md"
_HEADINGS = ("figure", "ours", "peers: ours against them", "expected", "")
_GENERATED = re.compile(r"(<!-- figures -->\n).*(<!-- end of figures -->)", re.DOTALL)


def _number(measured: Measured, unit: str) -> str:
    """Write `median (least … most) unit`."""
    value, low, high = (f"{number:.3g}" for number in (measured.value, measured.low, measured.high))
    spread = f" ({low} … {high})" if low != high else ""
    return f"{value}{spread} {unit}".rstrip()


def _peer(figure: Figure) -> str:
    """Write a peer's number, and ours against it."""
    if not figure.theirs:
        return ""
    told = f"{figure.peer} {_number(figure.theirs, figure.unit)}"
    if figure.in_vain:
        return f"{told}, {figure.in_vain}"
    return told if figure.ratio is None else f"{told}: {figure.ratio:.2f}"


def _verdict(figures: Sequence[Figure]) -> str:
    """Say whether all is as expected; empty where nothing is."""
    if missed := ["missed" if figure.most is not None else figure.peer for figure in figures if figure.met is False]:
        return "missed" if missed == ["missed"] else f"missed: {', '.join(missed)}"
    return "met" if any(figure.met for figure in figures) else ""


def _rows(figures: Sequence[Figure], line: str) -> Iterator[tuple[str, ...]]:
    """Make a row of what is measured under one name, a line for each peer."""
    for name, several in groupby(figures, key=lambda figure: figure.name):
        same = list(several)
        peers = line.join(filter(None, map(_peer, same)))
        expected = line.join(figure.expected for figure in same if figure.expected)
        yield name, _number(same[0].ours, same[0].unit), peers, expected, _verdict(same)


def table(figures: Sequence[Figure]) -> Table:
    """Lay the figures out for a terminal."""
    made = Table(title="medians of several runs (least … most)", title_justify="left")
    for heading in _HEADINGS:
        made.add_column(heading, overflow="fold")
    group = ""
    for name, *cells in _rows(figures, "\n"):
        begins, group = name.rpartition("/")[0] != group, name.rpartition("/")[0]
        if begins:
            made.add_section()
        style = "red" if cells[-1].startswith("missed") else "green" if cells[-1] else ""
        made.add_row(name, *cells, style=style)
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
    lines += [f"| {' | '.join(row)} |" for row in _rows(figures, "<br>")]
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
