"""The table of metrics in the documents, as the catalog has it: `python -m tests.rig.metrics_page` writes it anew."""

from __future__ import annotations

from pathlib import Path

from controlplane.app.catalog import OWN, WORKERS
from controlplane.app.meter import Family

PAGE = Path(__file__).parents[2] / "docs" / "operating" / "metrics.md"
_BEGIN, _END = "<!-- metrics: generated -->\n", "<!-- /metrics -->"


def _row(family: Family, first: tuple[str, ...]) -> str:
    labels = " ".join(f"`{label}`" for label in (*first, *family.labels))
    return f"| `{family.exported}` | {family.kind.value} | {labels} | {family.help} |"


def table() -> str:
    """Both halves, as Markdown."""
    rows = [*(_row(family, ("worker",)) for family in WORKERS), *(_row(family, ()) for family in OWN)]
    return "\n".join(["| metric | type | labels | what it says |", "|---|---|---|---|", *rows]) + "\n"


def with_table(text: str) -> str:
    """Put the table where the page has one."""
    before, _, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    assert end, "the page has a place for the table"
    return before + _BEGIN + table() + end + after


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
