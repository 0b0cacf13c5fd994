"""`satctl watch`: changes and satellites as they happen, for as long as one likes to look."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AbstractContextManager
from typing import Annotated

import typer

from controlplane.satctl.history import read_position
from controlplane.satctl.options import options_of
from controlplane.satctl.watch_view import JsonView, LineView, LiveView, View


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(watch)


def watch(
    context: typer.Context,
    *,
    after: Annotated[
        str, typer.Option(help="Begin with what came after this position: 1.42. Default: now.", show_default=False)
    ] = "",
    changes_only: Annotated[bool, typer.Option("--changes-only", help="Leave satellites' statuses out.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document a line.")] = False,
) -> None:
    """Watch the fleet until Ctrl-C: a live view on a terminal, a line for each event elsewhere.

    A cut connection is made again, and goes on where it ended: nothing is missed.

        satctl watch
        satctl watch --json --after 1.42 | jq .
    """
    from controlplane.satctl.follow import Follower  # noqa: PLC0415 - as in `running`

    begin = read_position(after) if after else None
    follower = Follower(options_of(context), begin, statuses=not changes_only)
    try:
        with _view(as_json=as_json) as view:
            asyncio.run(follower.follow(view))
    except KeyboardInterrupt:
        return


def _view(*, as_json: bool) -> AbstractContextManager[View]:
    if as_json:
        return JsonView()
    return LiveView() if sys.stdout.isatty() else LineView()
