"""An OpenTelemetry collector that keeps what it is sent: OTLP/HTTP 1.x, `POST /v1/traces`, protobuf, gzip or not."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass(frozen=True)
class Told:
    """One span, and the resource that it came from."""

    span: Span
    resource: dict[str, object]

    @property
    def facts(self) -> dict[str, object]:
        return read_attributes(self.span.attributes)


def read_attributes(attributes: Iterable[KeyValue]) -> dict[str, object]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value") or "") for each in attributes}


@dataclass
class Collector:
    """What came."""

    endpoint: str = ""
    told: list[Told] = field(default_factory=list)

    def named(self, name: str, **facts: object) -> list[Told]:
        return [each for each in self.told if each.span.name == name and facts.items() <= each.facts.items()]

    def children(self, parent: Told) -> list[Told]:
        return [each for each in self.told if each.span.parent_span_id == parent.span.span_id]

    def take(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            origin = read_attributes(resource.resource.attributes)
            self.told += [Told(span, origin) for scope in resource.scope_spans for span in scope.spans]


@contextmanager
def running_collector() -> Iterator[Collector]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            body = gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body
            assert self.path == "/v1/traces"
            collector.take(ExportTraceServiceRequest.FromString(body))
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()
