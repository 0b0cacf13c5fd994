"""`satellite status` for people: tables and colours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

_COLOURS = {"published": "green", "waiting": "yellow", "refused": "red", "failed": "red"}
_GOOD = frozenset({"CONNECTED", "PENDING"})
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_STEP = 1024
_BAR_WIDTH = 20


def show_status(document: Mapping[str, Any]) -> None:
    """Print one status document."""
    console = Console(highlight=False)
    head = Table.grid(padding=(0, 2))
    for name, value in _head(document):
        head.add_row(Text(name, style="dim"), value)
    console.print(head)
    rows = [*document["artifacts"], *document["problems"]]
    if rows:
        console.print(_table(rows))
        if coming := [row for row in rows if row["total_bytes"]]:
            console.print(Text(), _bars(coming))
    else:
        console.print("no artifacts are desired here", style="dim")


def show_scrubbing(states: Iterable[tuple[Mapping[str, Any], list[str]]]) -> tuple[Mapping[str, Any], list[str]]:
    """Draw a bar on standard error while a scrub reads and repairs: `→ the last state`."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    last: tuple[Mapping[str, Any], list[str]] = ({}, [])
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("waiting", total=None)
        for scrub, lost in states:
            what = f"repairing {len(scrub['repairing'])}" if scrub["ended"] else "reading"
            progress.update(task, description=what, total=scrub["total_bytes"], completed=scrub["done_bytes"])
            last = scrub, lost
    return last


def show_scrub(scrub: Mapping[str, Any], lost: list[str]) -> None:
    """Print what came of a scrub."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{scrub['contents']} blobs and manifests, {_size(scrub['done_bytes'])} read")
    for digest in scrub["damaged"]:
        console.print(f"damaged: {digest}", style="red")
    for name in scrub["lacking"]:
        is_lost = any(one.startswith(f"{name}: ") for one in lost)
        console.print(f"{'not repaired' if is_lost else 'repaired'}: {name}", style="red" if is_lost else "green")
    for text in (*lost, *((f"{scrub['reason']}: {scrub['text']}",) if scrub["reason"] else ())):
        console.print(text, style="red")
    if not scrub["lacking"] and not scrub["reason"]:
        console.print("all of it is sound", style="green")


def _head(document: Mapping[str, Any]) -> list[tuple[str, Text]]:
    link, identity, registry = document["link"], document["identity"], document["registry"]
    running = bool(document["running"])
    link_text = link["state"] + (f" since {link['since']}" if link["since"] else "")
    rows = [
        ("satellite", Text(link["satellite"] or identity["spiffe_id"] or "not attested yet")),
        ("process", Text(f"running, pid {document['pid']}" if running else "not running", _colour(good=running))),
        ("link", Text(link_text, _colour(good=link["state"] in _GOOD))),
        ("fetching", _fetching(document.get("fetching"))),
        ("identity", Text(f"{identity['spiffe_id'] or '-'} until {identity['not_after'] or '-'}")),
        ("registry", Text(f"{registry['kind']} at {registry['url'] or '-'}")),
        ("state", Text(_state(document["state"]))),
    ]
    rows += [("", Text(text, "yellow")) for text in (link["text"], identity["error"]) if text]
    if not registry["exclusive"]:
        rows.append(("", Text("shared registry: only what this satellite published is vouched for", "yellow")))
    return rows


def _fetching(allowed: Mapping[str, Any] | None) -> Text:
    """Say what the link to the sources allows."""
    if not allowed:
        return Text("-")
    parts = [("open" if allowed["open"] else "closed") + (f" until {allowed['until']}" if allowed["until"] else "")]
    if allowed["rate_bytes_per_second"]:
        parts.append(f"at most {_size(allowed['rate_bytes_per_second'])}/s")
    for budget in allowed["budgets"]:
        left, limit = _size(budget["left_bytes"]), _size(budget["limit_bytes"])
        parts.append(f"{left} of {limit} left this {budget['period']}, until {budget['renews_at']}")
    return Text("; ".join(parts), _colour(good=allowed["open"] and all(b["left_bytes"] for b in allowed["budgets"])))


def _state(state: Mapping[str, Any]) -> str:
    counts = ", ".join(f"{state[name]} {name}" for name in ("published", "waiting", "refused", "failed"))
    settled = "enforced" if state["held"] == state["enforced"] else "being enforced"
    return f"position {state['position'] or '-'}, {settled}: {counts}"


def _table(rows: list[Mapping[str, Any]]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False, padding=(1, 2, 0, 0))
    for name in ("ARTIFACT", "STATE", "PULL AS", "REASON"):
        table.add_column(name, overflow="fold")
    for row in rows:
        state = row["state"] or "problem"
        table.add_row(row["name"], Text(state, _COLOURS.get(state, "red")), _pull(row), _reason(row))
    return table


def _bars(rows: list[Mapping[str, Any]]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for row in rows:
        bar = ProgressBar(row["total_bytes"], row["done_bytes"], width=_BAR_WIDTH)
        table.add_row(row["name"], bar, Text(_progress(row)))
    return table


def _pull(row: Mapping[str, Any]) -> str:
    if not row["local"]:
        return ""
    return f"{row['local']}:{row['tag']}" if row["tag"] else f"{row['local']}@{row['digest'][:19]}…"


def _reason(row: Mapping[str, Any]) -> Text:
    text = Text(row["reason"] or "", style="bold" if row["reason"] else "")
    if row["retry_at"]:
        text.append(f" until {row['retry_at']}", style="not bold")
    if row["text"]:
        text.append(f" {row['text']}", style="not bold")
    if row["serving_digest"]:
        text.append(f" (serving {row['serving_digest'][:19]}…)", style="dim")
    return text


def _progress(row: Mapping[str, Any]) -> str:
    words = [f"{_size(row['done_bytes'])} of {_size(row['total_bytes'])}"]
    if row["left_bytes"]:
        words.append(f"{_size(row['left_bytes'])} left")
    if row["rate_bytes_per_s"]:
        words.append(f"{_size(row['rate_bytes_per_s'])}/s")
    if row["eta_s"] is not None:
        words.append(f"there in {timedelta(seconds=row['eta_s'])}")
    return ", ".join(words)


def _size(count: int) -> str:
    scaled, unit = float(count), 0
    while scaled >= _STEP and unit < len(_UNITS) - 1:
        scaled, unit = scaled / _STEP, unit + 1
    return f"{scaled:.1f} {_UNITS[unit]}" if unit else f"{count} B"


def _colour(*, good: bool) -> str:
    return "green" if good else "red"
