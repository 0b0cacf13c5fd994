"""What every command of satctl takes, said once."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

PAGE_SIZE = 500
"""Rows that a list asks for at once."""


def default_home() -> Path:
    """Where profiles are unless told otherwise: XDG's configuration directory of the user."""
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "harbor-satellite"


def now() -> datetime:
    """Say what time it is, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says before the command."""

    home: Path
    """Directory of profiles."""
    profile: str
    """Which of them to use."""
    ground_control: str
    """`host:port`, where identities come from SPIRE; else empty."""
    ground_control_id: str
    """Ground Control's exact SPIFFE ID, where identities come from SPIRE; else empty."""
    spiffe_socket: str
    """SPIRE's Workload API, `unix:///path`; else empty."""
    timeout_s: float
    """How long one call may take."""
    request_id: str
    """The id of this write; empty: one is made for each."""

    @property
    def uses_spiffe(self) -> bool:
        """Say whether the identity comes from a Workload API rather than from `satctl login`."""
        return bool(self.ground_control or self.ground_control_id)


def options_of(context: typer.Context) -> Options:
    """Read what the command line said before the command."""
    found = context.find_root().obj
    if not isinstance(found, Options):
        raise TypeError("the root command has set no options")
    return found


AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]
Reason = Annotated[str, typer.Option("--reason", help="Why, for the log of changes.", show_default=False)]
Etag = Annotated[
    str, typer.Option("--etag", help="Only if it is still as it was read; `get --json` shows it.", show_default=False)
]
Force = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
