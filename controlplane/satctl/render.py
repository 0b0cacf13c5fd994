"""What people and programs see: one table for every list, one card for every thing, JSON for programs.

Data goes to standard output, talk to standard error. Texts are printed as they are, never as markup, because part of
them was written by a satellite.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, Literal, TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console
from rich.table import Table
from rich.text import Text

from controlplane.satctl.document import clean, document

T = TypeVar("T")
Cell = str | Text | int

_WIDE = 10_000
"""Columns where standard output is no terminal: what a program reads is never cut or wrapped."""
_COLOURS = {
    "online": "green",
    "published": "green",
    "converged": "green",
    "created": "green",
    "updated": "yellow",
    "waiting": "cyan",
    "stale": "yellow",
    "pending": "yellow",
    "refused": "red",
    "failed": "red",
    "revoked": "red",
    "deleted": "red",
}
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_STEP = 1024


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """One column of a table."""

    title: str
    cell: Callable[[T], Cell]
    number: bool = False
    folds: bool = False
    """It may take several lines where the terminal is narrow; all others stay on one."""
    optional: bool = False
    """Left out where nothing is in it."""


def out() -> Console:
    """Open standard output for data."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else _WIDE)


def talk() -> Console:
    """Open standard error for talk."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str, *, style: str = "") -> None:
    """Tell a person something that is not data."""
    talk().print(Text(clean(text), style=style))


def print_json(value: Any) -> None:  # noqa: ANN401 - JSON
    """Print one JSON document."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def print_line(text: str) -> None:
    """Print one line of data."""
    sys.stdout.write(clean(text) + "\n")
    sys.stdout.flush()


def print_table(table: Table) -> None:
    """Print a table; where a program reads it, no line ends in blanks."""
    console = out()
    if console.is_terminal:
        console.print(table)
        return
    with console.capture() as captured:
        console.print(table)
    sys.stdout.writelines(line.rstrip() + "\n" for line in captured.get().splitlines())


def table_of(items: Iterable[T], columns: Sequence[Column[T]]) -> Table:
    """Lay out a table."""
    rows = [[_text(column.cell(item)) for column in columns] for item in items]
    shown = [at for at, column in enumerate(columns) if not column.optional or any(row[at].plain for row in rows)]
    table = Table(box=None, pad_edge=False, header_style="bold", collapse_padding=True, padding=(0, 2, 0, 0))
    for at in shown:
        column = columns[at]
        justify: Literal["left", "right"] = "right" if column.number else "left"
        table.add_column(column.title, justify=justify, overflow="fold", no_wrap=not column.folds)
    for row in rows:
        table.add_row(*(row[at] for at in shown))
    return table


def show_list(items: Sequence[Message], columns: Sequence[Column[Any]], *, as_json: bool, nothing: str) -> None:
    """Print a list: a table, or a JSON array of the whole things."""
    if as_json:
        print_json([document(item) for item in items])
    elif items:
        print_table(table_of(items, columns))
    else:
        say(nothing)


def show_card(facts: Iterable[tuple[str, Cell]]) -> None:
    """Print one thing, a fact a line; what is empty is left out."""
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 3, 0, 0))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in facts:
        if value != "":
            table.add_row(name, _text(value))
    print_table(table)


def show_one(item: Message, facts: Callable[[Any], Iterable[tuple[str, Cell]]], *, as_json: bool) -> None:
    """Print one thing whole."""
    if as_json:
        print_json(document(item))
    else:
        show_card(facts(item))


def coloured(word: str) -> Text:
    """Give a state its colour."""
    return Text(word, style=_COLOURS.get(word, ""))


def moment(message: Message, field: str) -> str:
    """Write a time of a message for people, in local time; nothing where it is absent."""
    if not message.HasField(field):
        return ""
    stamp: Timestamp = getattr(message, field)
    return stamp.ToDatetime(tzinfo=datetime.now().astimezone().tzinfo).strftime("%Y-%m-%d %H:%M:%S")


def ago(message: Message, field: str, at: datetime) -> str:
    """Write how long ago something was: `3m`; nothing where it is absent."""
    if not message.HasField(field):
        return ""
    stamp: Timestamp = getattr(message, field)
    return span(at - stamp.ToDatetime(tzinfo=at.tzinfo))


def span(length: timedelta) -> str:
    """Write a span of time in its largest unit: `42s`, `3m`, `5h`, `12d`."""
    seconds = max(int(length.total_seconds()), 0)
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def size(count: int, *parts: int) -> str:
    """Write bytes for people: `1.5 MiB`; parts of a whole before it, in its unit: `0.3 of 1.5 MiB`."""
    unit = 0
    while count >= _STEP ** (unit + 1) and unit < len(_UNITS) - 1:
        unit += 1
    numbers = (f"{one / _STEP**unit:.{1 if unit else 0}f}" for one in (*parts, count))
    return f"{' of '.join(numbers)} {_UNITS[unit]}"


def _text(cell: Cell) -> Text:
    return cell if isinstance(cell, Text) else Text(clean(str(cell)))
