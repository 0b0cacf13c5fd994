"""Asking a person before something that cannot be taken back."""

from __future__ import annotations

import sys

import typer


def confirm(question: str, *, yes: bool) -> None:
    """Ask, unless `--yes` was given or nobody is there to answer (a script knows what it does)."""
    if not yes and sys.stdin.isatty() and sys.stderr.isatty():
        typer.confirm(question, abort=True, err=True)
