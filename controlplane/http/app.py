"""Three pages over HTTP, read-only and without authentication: `/metrics`, `/healthz`, `/readyz`.

An ASGI application by hand: there is nothing to parse but a path.
Source: ASGI 3.0, "HTTP & WebSocket ASGI Message Format".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from prometheus_client.core import Metric

from controlplane.http.exposition import render

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]
_PLAIN = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Answer:
    """One page."""

    status: int
    text: bytes
    content_type: str = _PLAIN


@dataclass(frozen=True, slots=True)
class Pages:
    """What answers each path.

    Attributes:
        metrics: collects everything that can be told.
        is_ready: says whether satellites are served.
    """

    metrics: Callable[[], Awaitable[list[Metric]]]
    is_ready: Callable[[], Awaitable[bool]]

    async def __call__(self, scope: dict[str, Any], _receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        answer = await self._answer(scope)
        headers = [(b"content-type", answer.content_type.encode()), (b"content-length", b"%d" % len(answer.text))]
        body = b"" if scope["method"] == "HEAD" else answer.text
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: dict[str, Any]) -> Answer:
        if scope["method"] not in {"GET", "HEAD"}:
            return Answer(405, b"this page is read\n")
        match scope["path"]:
            case "/metrics":
                content_type, text = render(await self.metrics(), _accept(scope))
                return Answer(200, text, content_type)
            case "/healthz":
                return Answer(200, b"ok\n")
            case "/readyz":
                return Answer(200, b"ready\n") if await self.is_ready() else Answer(503, b"not ready\n")
            case _:
                return Answer(404, b"there is /metrics, /healthz and /readyz\n")


def _accept(scope: dict[str, Any]) -> str:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == b"accept"), "")
