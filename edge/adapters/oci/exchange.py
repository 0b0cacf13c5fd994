"""Requests to a registry and answers from it, whoever carries them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from edge.adapters.oci.endpoint import Origin
from edge.adapters.oci.failures import Voice
from fleet.errors import FleetError

CHUNK_BYTES = 512 * 1024
"""The most of one read: large enough to be cheap, small enough that eight of them cost nothing."""
AGENT = {"User-Agent": "harbor-satellite"}
CONNECT_S, READ_S = 10.0, 60.0
"""How long a registry may take to be reached, and between two of its bytes."""
_ERROR_BODY = 16 * 1024


class ExchangeError(Exception):
    """There is no answer, or no more of it: nobody is there, or takes too long."""


class BrokenError(ExchangeError):
    """The connection broke; one that was idle may just have been closed by the other side."""


class UntrustedError(ExchangeError):
    """The other side's certificate cannot be verified."""


class ByProxyError(ExchangeError):
    """The proxy is away, or refuses; the text is the standard library's."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request below `/v2/`, on behalf of one repository."""

    method: str
    path: str
    repository: str
    actions: str = "pull"
    headers: Mapping[str, str] | None = None
    body: bytes | memoryview | Iterator[bytes] | None = None
    """An iterator is sent once, with the Content-Length among the headers."""

    @property
    def is_repeatable(self) -> bool:
        """Say whether the body is still there after it was sent."""
        return not isinstance(self.body, Iterator)


class Answer(Protocol):
    """An answer whose body is yet to be read; reading raises `ExchangeError` where it breaks off."""

    status: int

    @property
    def length_remaining(self) -> int | None:
        """Bytes of the body still to come, or None where nobody said."""

    @property
    def headers(self) -> Any:  # noqa: ANN401 -- urllib3's and the standard library's have no type in common
        """The header fields."""

    def read(self, amt: int | None = None) -> bytes:
        """Read `amt` bytes, fewer at the end."""

    def read1(self, amt: int | None = None) -> bytes:
        """Read what is there, `amt` bytes at the most, and wait only where nothing is; empty at the end."""

    def release_conn(self) -> None:
        """Give the connection back, where the body is at its end."""

    def close(self) -> None:
        """Drop the connection."""


class Carrier(Protocol):
    """Whoever carries requests to one registry; safe to use from many threads."""

    @property
    def origin(self) -> Origin:
        """Where the registry is."""

    @property
    def voice(self) -> Voice:
        """How its failures are called."""

    def send(self, request: Request) -> Answer:
        """Send a request and return the answer with its body unread.

        Raises:
            FleetError: as the voice calls it, where there is no answer or no way in.
        """

    def close(self) -> None:
        """Drop every connection."""


def failure(carrier: Carrier, response: Answer, subject: str) -> FleetError:
    """Name an answer that is not the hoped-for one; reads its body and gives the connection back."""
    body = read_at_most(response, _ERROR_BODY)
    discard(response)
    return carrier.voice.of_status(
        response.status,
        subject=subject,
        body=body[:_ERROR_BODY],
        retry_after=response.headers.get("Retry-After"),
    )


def read_at_most(response: Answer, limit: int) -> bytes:
    """Read up to `limit` bytes and one more, so that the caller sees when there is more.

    A body that breaks off is returned as far as it came: who knows its digest or its length checks it.
    """
    content = bytearray()
    try:
        while len(content) <= limit and (chunk := response.read(limit + 1 - len(content))):
            content += chunk
    except (ExchangeError, OSError):
        response.close()
    return bytes(content)


def discard(response: Answer) -> None:
    """Give the connection back if the body is at its end or nearly so, else close it."""
    try:
        if not response.read(_ERROR_BODY):
            response.release_conn()
            return
    except (ExchangeError, OSError):
        pass
    response.close()
