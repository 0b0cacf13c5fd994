"""Spans, as the code that makes them sees them. Without a collector they cost a call that does nothing."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

Fact = str | int | float | bool


class Span(Protocol):
    """One piece of work under way."""

    def note(self, **facts: Fact) -> None:
        """Add what has become known of it."""


class Tracer(Protocol):
    """Says what was done, when, within what, and for how long."""

    def span(self, name: str, **facts: Fact) -> AbstractContextManager[Span]:
        """Cover the block, as a part of what the task is at; nothing where it is at nothing: a poll is not traced."""

    def batch(self, name: str, **facts: Fact) -> AbstractContextManager[Span]:
        """Cover work that is done for many at once, and so belongs to none of them."""

    def call(self, method: str, parent: Mapping[str, str], **facts: Fact) -> AbstractContextManager[Span]:
        """Cover a call that another program makes.

        `parent` is the W3C trace context that the caller sent, empty where it is not to be believed: who sends one
        decides what is sampled.
        """


class _Nothing:
    def note(self, **facts: Fact) -> None:
        """Forget it."""


NOTHING: AbstractContextManager[Span] = nullcontext(_Nothing())
"""Covers nothing, as often as one likes."""


class NoTracer:
    """Traces nothing."""

    def span(self, name: str, **facts: Fact) -> AbstractContextManager[Span]:  # noqa: ARG002 the port's
        """Cover nothing."""
        return NOTHING

    def batch(self, name: str, **facts: Fact) -> AbstractContextManager[Span]:  # noqa: ARG002 the port's
        """Cover nothing."""
        return NOTHING

    def call(self, method: str, parent: Mapping[str, str], **facts: Fact) -> AbstractContextManager[Span]:  # noqa: ARG002 the port's
        """Cover nothing."""
        return NOTHING
