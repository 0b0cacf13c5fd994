"""structlog as both programs set it up: JSON lines on stderr, or colours where stderr is a terminal.

Standard output belongs to data. Values are bounded and carry no control characters, because part of them was
written by a peer: a log line is one of the exits.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO, cast

import structlog

MAX_VALUE_CHARACTERS = 1024
"""Longer texts are cut; a stack trace is exempt."""

_EXEMPT = frozenset({"exception", "event", "level", "timestamp"})
_CONTROL = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0)), " ")
_NOISY = ("spiffe", "asyncio", "alembic", "sqlalchemy", "urllib3", "grpc")
"""Libraries that log through the standard module: their warnings are worth having, their chatter is not."""


def configure_logging(*, program: str, level: str = "info", terminal: bool | None = None) -> None:
    """Set up structlog and the standard logging of libraries for this process.

    Args:
        program: says in every line which process wrote it.
        level: debug, info, warning or error.
        terminal: colours and no JSON; by default whatever stderr is.
    """
    numeric = logging.getLevelNamesMapping()[level.upper()]
    human = sys.stderr.isatty() if terminal is None else terminal
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _name_program(program),
        _bound_values,
    ]
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=True) if human else structlog.processors.JSONRenderer()
    )
    traces: list[structlog.typing.Processor] = [] if human else [structlog.processors.format_exc_info]
    structlog.configure(
        processors=[*shared, *traces, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(numeric),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", _Stderr())),
        cache_logger_on_first_use=True,
    )
    _route_libraries(numeric, [*shared, *traces], renderer)


class _Stderr(io.TextIOBase):
    """Standard error as it is at each line; where nobody takes lines any more, they are lost and the work goes on."""

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()


def _route_libraries(
    level: int, shared: list[structlog.typing.Processor], renderer: structlog.typing.Processor
) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.INFO))
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)


def _name_program(program: str) -> structlog.typing.Processor:
    def add(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event.setdefault("program", program)
        return event

    return add


def _bound_values(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if isinstance(value, str) and key not in _EXEMPT:
            event[key] = value.translate(_CONTROL)[:MAX_VALUE_CHARACTERS]
    return event
