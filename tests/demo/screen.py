"""What the demo shows: scenes, a live table of images by site, and lines to try."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True, slots=True)
class Cell:
    """How one image stands at one site."""

    state: str
    reason: str = ""
    seconds: float | None = None

    def __rich__(self) -> Text:
        """Show it in a word, coloured."""
        match self.state:
            case "pullable":
                return Text(f"pullable after {self.seconds:.2f} s" if self.seconds else "pullable", style="green")
            case "refused" | "failed":
                return Text(f"{self.state}: {self.reason}", style="red")
            case _:
                return Text(f"{self.state} {self.reason}".strip(), style="yellow")


@dataclass
class Board:
    """The live table: rows are images, columns are sites."""

    sites: Sequence[str]
    cells: dict[tuple[str, str], Cell] = field(default_factory=dict)

    def table(self) -> Table:
        """Draw it."""
        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
        table.add_column("image", no_wrap=True)
        for site in self.sites:
            table.add_column(site)
        for image in sorted({image for image, _ in self.cells}):
            row = [self.cells.get((image, site), Cell("", "")) for site in self.sites]
            table.add_row(image, *(cell.__rich__() for cell in row))
        return table


class Screen:
    """The terminal, or whatever stands in for it."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)
        self.played = False
        self._scene = 0

    def scene(self, title: str) -> None:
        """Begin a scene."""
        self._scene += 1
        self.console.print(f"\n[bold]{self._scene}. {title}[/]", soft_wrap=True)

    def say(self, text: str) -> None:
        """Say one thing."""
        self.console.print(f"   {text}", soft_wrap=True)

    def fail(self, text: str) -> None:
        """Say why it went no further."""
        Console(stderr=True, highlight=False).print(f"[red]demo:[/] {text}", soft_wrap=True)

    def commands(self, lines: Sequence[str]) -> None:
        """Show lines to copy: unwrapped, unstyled."""
        for line in lines:
            self.console.print(f"     {line}", soft_wrap=True, markup=False, style="cyan")

    @contextmanager
    def live(self, board: Board) -> Iterator[None]:
        """Show the board while it changes; elsewhere than on a terminal, show how it ended."""
        if not self.console.is_terminal:
            yield
            self.console.print(board.table())
            return
        with Live(get_renderable=board.table, console=self.console, refresh_per_second=8):
            yield
