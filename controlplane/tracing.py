"""Whether this process traces, and the one place that loads OpenTelemetry where it does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from controlplane.app.tracing import NoTracer, Tracer
from fleet.errors import malformed

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
_HTTP = "http/protobuf"


def is_traced() -> bool:
    """Say whether a collector is named and tracing is not switched off."""
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return not disabled and any(os.environ.get(name) for name in _ENDPOINTS)


@contextmanager
def tracing(process: str) -> Iterator[Tracer]:
    """Trace while the block runs, where the environment names a collector.

    Raises:
        FleetError: MALFORMED `TRACING_PROTOCOL` for another protocol than http/protobuf, `TRACING_ABSENT` where
            OpenTelemetry is not installed.
    """
    if not is_traced():
        yield NoTracer()
        return
    protocol = next((name for name in _PROTOCOLS if os.environ.get(name, _HTTP) not in {"", _HTTP}), None)
    if protocol:
        raise malformed("TRACING_PROTOCOL", "spans leave by http/protobuf (port 4318) alone", subject=protocol)
    try:
        from controlplane.adapters.otel import exporting  # noqa: PLC0415 - heavy, and not always there
    except ImportError as error:
        text = "a collector is named, but OpenTelemetry is not installed: pip install 'harbor-satellite[otel]'"
        raise malformed("TRACING_ABSENT", text, detail=str(error)) from error
    with exporting(process) as tracer:
        yield tracer
