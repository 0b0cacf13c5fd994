"""Three ways to show a watch: live on a terminal, a line an event, a JSON document an event."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import Protocol, Self

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from controlplane.satctl.document import clean, document
from controlplane.satctl.history import actor_name, position_text, results_text
from controlplane.satctl.options import now
from controlplane.satctl.progress import progress_words, reason_words
from controlplane.satctl.render import out, print_line, say, table_of
from controlplane.satctl.satellites import lifecycle_word
from controlplane.satctl.status import artifact_word, columns, converged_word, warnings
from fleet.errors import FleetError
from fleet.v1 import fleet_pb2 as pb
from fleet.v1 import state_pb2 as state

CHANGES_SHOWN = 8
SATELLITES_SHOWN = 20
BARS_SHOWN = 12
BAR_LEAST, BAR_WIDTH = 8, 28
REFRESHES_A_SECOND = 4
STEPS = 10
"""Lines that tell how one artifact comes along, where there is no bar."""
_STYLES = {state.ARTIFACT_STATE_REFUSED: "red", state.ARTIFACT_STATE_FAILED: "red"}
_MOVING = frozenset({"TRANSFERRING", "PUBLISHING", "JUDGING"})


class View(Protocol):
    """What a watch is shown by; entered while it runs."""

    def show(self, event: pb.WatchFleetResponse) -> None:
        """Take one event."""

    def cut(self, error: FleetError) -> None:
        """Tell that the connection is gone for now."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class _Printed:
    """A view that needs no cleaning up and says cuts on standard error."""

    def cut(self, error: FleetError) -> None:
        """Tell that the connection is gone for now."""
        say(f"{error.reason}: {error.public}; trying again", style="yellow")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class JsonView(_Printed):
    """One JSON document a line: `{"event": "change", "change": {…}}`."""

    def show(self, event: pb.WatchFleetResponse) -> None:
        """Print the event."""
        kind = event.WhichOneof("event")
        if kind is not None:
            sys.stdout.write(json.dumps({"event": kind, **document(event)}, ensure_ascii=False) + "\n")
            sys.stdout.flush()


class LineView(_Printed):
    """A line for each change, each satellite that changed, and each of its exceptions that changed.

    What is under way tells a line for each tenth that came.
    """

    def __init__(self) -> None:
        self._told: dict[str, dict[str, str]] = {}

    def show(self, event: pb.WatchFleetResponse) -> None:
        """Print what is new in the event."""
        match event.WhichOneof("event"):
            case "change":
                print_line(f"{_time()} {change_text(event.change)}")
            case "status":
                lines = dict(status_lines(event.status))
                told = self._told.get(event.status.satellite, {})
                for what, line in lines.items():
                    if what not in told:
                        print_line(f"{_time()} {line}")
                self._told[event.status.satellite] = lines


class LiveView:
    """Satellites, artifacts under way and the last changes, redrawn in place."""

    def __init__(self) -> None:
        self._statuses: dict[str, pb.SatelliteStatus] = {}
        self._changes: deque[str] = deque(maxlen=CHANGES_SHOWN)
        self._trouble = ""
        self._live = Live(
            get_renderable=self._drawing, console=out(), refresh_per_second=REFRESHES_A_SECOND, transient=False
        )

    def show(self, event: pb.WatchFleetResponse) -> None:
        """Take one event; the next drawing has it."""
        self._trouble = ""
        match event.WhichOneof("event"):
            case "change":
                self._changes.append(f"{_time()} {change_text(event.change)}")
            case "status":
                self._statuses[event.status.satellite] = event.status

    def cut(self, error: FleetError) -> None:
        """Tell that the connection is gone for now."""
        self._trouble = f"{error.reason}: {error.public}; trying again"

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def _drawing(self) -> Group:
        # Drawn on rich's own thread: it reads whole values that the loop's thread replaces, never one in the making.
        statuses = sorted(self._statuses.copy().values(), key=lambda status: status.satellite)
        shown = sorted(sorted(statuses, key=_is_settled)[:SATELLITES_SHOWN], key=lambda status: status.satellite)
        parts: list[Table | Text] = [table_of(shown, columns(now())), *_more(len(statuses) - len(shown))]
        exceptions = [(one.satellite, found) for one in statuses for found in one.report.exceptions]
        if exceptions:
            exceptions.sort(key=_turn)
            parts += [Text(), _bars(exceptions[:BARS_SHOWN]), *_more(len(exceptions) - BARS_SHOWN)]
        if self._changes:
            parts += [Text(), Text("\n".join(tuple(self._changes)), style="dim")]
        if self._trouble:
            parts.append(Text(clean(self._trouble), style="yellow"))
        return Group(*parts)


def change_text(record: pb.ChangeRecord) -> str:
    """Say a change in one line."""
    reason = f" ({record.reason})" if record.reason else ""
    return clean(f"{position_text(record.position)} {actor_name(record.actor)}: {results_text(record)}{reason}")


def status_lines(status: pb.SatelliteStatus) -> Iterator[tuple[str, str]]:
    """Say a satellite's status, a line for it and for each exception: `→ what a line tells that is new, the line`."""
    report = status.report
    words = [lifecycle_word(status.lifecycle), converged_word(status) if status.converged else "", warnings(status)]
    counts = f"{report.published}/{report.desired} published, {report.refused} refused, {report.failed} failed"
    line = f"{status.satellite} {' '.join(filter(None, [*words, counts if status.HasField('report') else '']))}"
    yield line, line
    for found in report.exceptions:
        step = found.done_bytes * STEPS // found.total_bytes if found.total_bytes else 0
        what = f"{found.name} {found.state} {found.reason} {found.text} {found.retry_at.seconds} {step}"
        yield what, f"{status.satellite} {found.name} {_exception_text(found)}"


def _exception_text(found: state.ResourceException) -> str:
    words = (artifact_word(found.state), reason_words(found, now()), progress_words(found))
    return " ".join(filter(None, words))


def _is_settled(status: pb.SatelliteStatus) -> bool:
    return not status.report.exceptions


def _turn(row: tuple[str, state.ResourceException]) -> tuple[int, str, str]:
    """Order what is not as desired: what moves, then what went wrong, then what waits."""
    satellite, found = row
    waits = found.state == state.ARTIFACT_STATE_WAITING
    return (0 if waits and found.reason in _MOVING else 2 if waits else 1, satellite, found.name)


def _more(count: int) -> Iterator[Text]:
    if count > 0:
        yield Text(f"… and {count} more", style="dim")


def _bars(exceptions: list[tuple[str, state.ResourceException]]) -> Table:
    """Draw what is not there yet, a line each: how far it is, or why it waits and until when."""
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    for _ in range(2):
        table.add_column(no_wrap=True, overflow="ellipsis")
    table.add_column(min_width=BAR_LEAST, max_width=BAR_WIDTH)
    table.add_column(overflow="fold")
    for satellite, found in exceptions:
        bar: ProgressBar | Text = Text("")
        if found.total_bytes:
            bar = ProgressBar(total=found.total_bytes, completed=found.done_bytes)
        words = filter(None, (progress_words(found), reason_words(found, now())))
        text = Text(clean("  ".join(words)), style=_STYLES.get(found.state, ""))
        table.add_row(Text(clean(satellite)), Text(clean(found.name)), bar, text)
    return table


def _time() -> str:
    return now().astimezone().strftime("%H:%M:%S")
