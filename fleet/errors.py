"""The errors that cross a door: one base, free of any transport.

An error says what went wrong in a stable `reason` for programs, a constant `text` for people and, where it
helps, the public `subject` it is about (a name that the caller used). `detail` is for our own log and never
leaves the process.
"""

from __future__ import annotations

from datetime import timedelta
from enum import Enum, unique


@unique
class Kind(Enum):
    """What sort of failure it is; one table maps each to a gRPC status (controlplane/rpc)."""

    MALFORMED = "malformed"
    """The request can never succeed as it is: malformed or out of range."""
    UNIDENTIFIED = "unidentified"
    """No verified identity came with it."""
    REFUSED = "refused"
    """The identity is known and may not do this."""
    UNKNOWN = "unknown"
    """The thing does not exist, said only to those entitled to know."""
    EXISTS = "exists"
    """The thing exists with other content."""
    PRECONDITION = "precondition"
    """Something must change first."""
    CONFLICT = "conflict"
    """A compare-and-set was lost: read again and retry."""
    EXHAUSTED = "exhausted"
    """A quota or a rate is used up; `retry_after` says for how long."""
    UNAVAILABLE = "unavailable"
    """A peer, store or registry is away for now."""
    CORRUPT = "corrupt"
    """Bytes are not what their digest says."""
    INTERNAL = "internal"
    """A defect of ours."""


class FleetError(Exception):
    """A failure with a reason that programs can act on.

    Attributes:
        kind: the sort of failure, which decides the gRPC status and what a client does next.
        reason: stable UPPER_SNAKE word; part of the API.
        text: constant public sentence, with the remedy where there is one.
        subject: public name of the thing it is about, or empty.
        detail: private, for the log alone.
        retry_after: how long to wait before the next attempt; None where waiting does not help.
    """

    def __init__(
        self,
        kind: Kind,
        reason: str,
        text: str,
        *,
        subject: str = "",
        detail: str = "",
        retry_after: timedelta | None = None,
    ) -> None:
        super().__init__(f"{reason}: {text}" + (f" ({subject})" if subject else ""))
        self.kind = kind
        self.reason = reason
        self.text = text
        self.subject = subject
        self.detail = detail
        self.retry_after = retry_after

    @property
    def public(self) -> str:
        """The sentence a peer may see: the text and its subject."""
        return f"{self.text} ({self.subject})" if self.subject else self.text


def malformed(reason: str, text: str, *, subject: str = "", detail: str = "") -> FleetError:
    """Make the error for input that can never be right."""
    return FleetError(Kind.MALFORMED, reason, text, subject=subject, detail=detail)
