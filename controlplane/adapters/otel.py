"""Spans to an OpenTelemetry collector, by OTLP over HTTP. Loaded only where one is named.

Everything else is set by OpenTelemetry's own variables: OTEL_TRACES_SAMPLER, OTEL_RESOURCE_ATTRIBUTES, OTEL_BSP_*, ...
Errors go out as their reason alone: an exception's text may hold what is nobody else's business.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import version

from opentelemetry import context as contexts
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span as OtelSpan
from opentelemetry.trace import SpanKind, StatusCode, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from controlplane.app.tracing import NOTHING, Fact, Span
from fleet.errors import FleetError

SERVICE = "ground-control"
LAST_S = 2.0
"""How long the last spans may take to leave when the process ends: a collector that is away holds nobody up."""
_propagator = TraceContextTextMapPropagator()


class _Covered:
    def __init__(self, span: OtelSpan) -> None:
        self._span = span

    def note(self, **facts: Fact) -> None:
        self._span.set_attributes(facts)


class OtelTracer:
    """A tracer whose spans leave in batches, from a thread of their own."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer(SERVICE, version("harbor-satellite"))

    def span(self, name: str, **facts: Fact) -> AbstractContextManager[Span]:
        """Cover the block, where a trace is under way."""
        if not get_current_span().get_span_context().is_valid:
            return NOTHING
        return self._cover(name, SpanKind.INTERNAL, contexts.get_current(), facts)

    def batch(self, name: str, **facts: Fact) -> AbstractContextManager[Span]:
        """Cover the block by a trace of its own."""
        return self._cover(name, SpanKind.INTERNAL, contexts.Context(), facts)

    def call(self, method: str, parent: Mapping[str, str], **facts: Fact) -> AbstractContextManager[Span]:
        """Cover a call. Names are those of OpenTelemetry's semantic conventions for RPC."""
        service, _, name = method.rpartition("/")
        told: dict[str, Fact] = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name, **facts}
        return self._cover(method, SpanKind.SERVER, _propagator.extract(dict(parent), contexts.Context()), told)

    @contextmanager
    def _cover(self, name: str, kind: SpanKind, context: contexts.Context, facts: Mapping[str, Fact]) -> Iterator[Span]:
        with self._tracer.start_as_current_span(
            name, context, kind, facts, record_exception=False, set_status_on_exception=False
        ) as span:
            try:
                yield _Covered(span)
            except FleetError as error:
                span.set_status(StatusCode.ERROR, error.reason)
                raise
            except Exception:
                span.set_status(StatusCode.ERROR)
                raise


@contextmanager
def exporting(process: str) -> Iterator[OtelTracer]:
    """Export the spans of a process, until the block ends."""
    name = os.environ.get("OTEL_SERVICE_NAME", SERVICE)
    resource = Resource.create(
        {
            "service.name": name,
            "service.version": version("harbor-satellite"),
            "service.instance.id": f"{process}-{os.getpid()}",
        }
    )
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    exporter = OTLPSpanExporter()
    provider.add_span_processor(BatchSpanProcessor(exporter))
    try:
        yield OtelTracer(provider)
    finally:
        last = threading.Thread(target=provider.shutdown, daemon=True)
        last.start()
        last.join(LAST_S)
        exporter.shutdown()  # type: ignore[no-untyped-call] # what it still tries to send is given up
