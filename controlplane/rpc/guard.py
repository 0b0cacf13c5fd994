"""The one wrapper around every RPC: identity, authorization, parsing, errors and the canonical log line.

    raw bytes → rule of the table → caller → size → parse → object rule → servicer → answer, or a status

It is an interceptor that wraps each handler, because only a wrapped handler sees its context. Messages reach us as
bytes, so that what is malformed gets our error and not gRPC's.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

import grpc
import grpc.aio
import structlog
from google.protobuf.message import DecodeError

from controlplane.app.defects import internal
from controlplane.app.meter import Meter
from controlplane.app.tracing import NoTracer, Tracer
from controlplane.rpc.authorization import Listener, Rule, check_objects, check_party, rule_for
from controlplane.rpc.caller import Caller, Party, bind_caller
from controlplane.rpc.errors import Context, abort
from controlplane.rpc.rpc_meter import RpcMeter
from fleet.errors import FleetError, malformed
from fleet.rpc_errors import CODES

_log = structlog.get_logger(__name__)

MAX_SATELLITE_BYTES = 64 * 1024
"""A satellite's message; larger ones are a defect or an attack."""
MAX_OPERATOR_BYTES = 4 * 1024 * 1024
_TRACE = ("traceparent", "tracestate")
"""W3C Trace Context."""
_QUIET = ("/grpc.health.v1.", "/grpc.reflection.")

Identify = Callable[[Context], Awaitable[Caller]]
"""Finds out who calls, or raises; the bootstrap listener's answers ANYONE."""


@dataclass(slots=True)
class _Account:
    """What one RPC's log line will say."""

    method: str
    started: float
    once: bool = False
    """It answers once: how long it takes says something."""
    code: str = "OK"
    reason: str = ""
    received_bytes: int = 0


class _Requests:
    """What a stream brings, parsed. Generators, ours and gRPC's, would be 2 KiB for each stream."""

    __slots__ = ("_context", "_parse")

    def __init__(self, context: Context, parse: Callable[[bytes], object]) -> None:
        self._context = context
        self._parse = parse

    def __aiter__(self) -> _Requests:
        return self

    async def __anext__(self) -> object:
        raw = await self._context.read()
        if raw is grpc.aio.EOF:
            raise StopAsyncIteration
        return self._parse(raw)


class Guard(grpc.aio.ServerInterceptor):
    """Wraps each handler of one listener."""

    def __init__(self, listener: Listener, identify: Identify, meter: Meter, tracer: Tracer | None = None) -> None:
        self._listener = listener
        self._identify = identify
        self._meter = RpcMeter(meter)
        self._tracer = tracer or NoTracer()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Replace the handler by its guarded self; an unknown method stays unknown."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return handler
        method = handler_call_details.method
        return _wrapped(_Guarded(self._listener, self._identify, self._meter, self._tracer, handler, method))


@dataclass(frozen=True, slots=True)
class _Guarded:
    """One handler and what is needed to guard it."""

    listener: Listener
    identify: Identify
    meter: RpcMeter
    tracer: Tracer
    handler: Any
    method: str

    async def unary(self, raw: bytes, context: Context) -> object:
        """Serve a unary request with a unary answer."""

        async def serve(rule: Rule, caller: Caller, account: _Account) -> object:
            request = self._parse(raw, caller, account)
            check_objects(rule, caller, request)
            return await self.handler.unary_unary(request, context)

        return await self._account_for(context, serve)

    async def answer_stream(self, raw: bytes, context: Context) -> None:
        """Serve a unary request with a stream of answers."""

        async def serve(rule: Rule, caller: Caller, account: _Account) -> None:
            request = self._parse(raw, caller, account)
            check_objects(rule, caller, request)
            await _drive(self.handler.unary_stream, request, context)

        await self._account_for(context, serve)

    async def both_streams(self, _raws: object, context: Context) -> None:
        """Serve a stream with a stream; each message is judged as it comes."""

        async def serve(_rule: Rule, caller: Caller, account: _Account) -> None:
            requests = _Requests(context, partial(self._parse, caller=caller, account=account))
            await _drive(self.handler.stream_stream, requests, context)

        await self._account_for(context, serve)

    async def _account_for(
        self, context: Context, serve: Callable[[Rule, Caller, _Account], Awaitable[object]]
    ) -> object:
        account = _Account(self.method, time.monotonic(), once=not self.handler.response_streaming)
        structlog.contextvars.clear_contextvars()
        try:
            rule = rule_for(self.listener, self.method)
            caller = await self.identify(context)
            structlog.contextvars.bind_contextvars(caller=caller.spiffe_id, party=caller.party.value)
            bind_caller(caller)
            check_party(rule, caller)
            with self.tracer.call(account.method.lstrip("/"), _parent(caller, context), caller=caller.spiffe_id):
                return await serve(rule, caller, account)
        except grpc.aio.AbortError:
            account.code = str(context.code())
            raise
        except FleetError as error:
            await self._refuse(context, account, error)
        except BaseExceptionGroup as group:
            await self._refuse(context, account, _single(group))
        except Exception as error:  # noqa: BLE001 - grpcio would send its text to the peer
            await self._refuse(context, account, _unforeseen(error))
        except BaseException:
            account.code = "CANCELLED"
            raise
        finally:
            self._end(account)

    async def _refuse(self, context: Context, account: _Account, error: FleetError) -> NoReturn:
        account.code, account.reason = CODES[error.kind].name, error.reason
        if error.detail:
            structlog.contextvars.bind_contextvars(detail=error.detail)
        await abort(context, error)

    def _parse(self, raw: bytes, caller: Caller, account: _Account) -> object:
        account.received_bytes += len(raw)
        most = MAX_SATELLITE_BYTES if caller.is_satellite else MAX_OPERATOR_BYTES
        if self.listener is Listener.BOOTSTRAP:
            most = MAX_SATELLITE_BYTES
        if len(raw) > most:
            text = f"a message has at most {most // 1024} KiB here"
            raise malformed("MESSAGE_TOO_LARGE", text, subject=f"{len(raw)} bytes")
        try:
            return self.handler.request_deserializer(raw)
        except DecodeError as error:
            raise malformed("MESSAGE_MALFORMED", "not a message of this call", detail=str(error)) from error

    def _end(self, account: _Account) -> None:
        took_s = time.monotonic() - account.started
        self.meter.ended(account.method, account.code, account.reason, took_s if account.once else None)
        self._write_line(account, took_s)

    def _write_line(self, account: _Account, took_s: float) -> None:
        quiet = account.method.startswith(_QUIET) and account.code == "OK"
        write = _log.debug if quiet else _log.info
        write(
            "rpc.finished",
            method=account.method,
            listener=self.listener.value,
            code=account.code,
            reason=account.reason,
            received_bytes=account.received_bytes,
            duration_ms=round(took_s * 1000, 2),
        )


def _parent(caller: Caller, context: Context) -> Mapping[str, str]:
    """Take over an operator's trace; what a satellite sends is not believed."""
    if caller.party in {Party.ANYONE, Party.SATELLITE}:
        return {}
    sent = {str(key): value for key, value in context.invocation_metadata() or ()}
    return {key: value for key in _TRACE if isinstance(value := sent.get(key), str)}


async def _drive(handler: Callable[..., Any], request: object, context: Context) -> None:
    """Run a streaming handler of either of grpc.aio's two styles."""
    if not inspect.isasyncgenfunction(handler):
        await handler(request, context)
        return
    async for answer in handler(request, context):
        await context.write(answer)


def _single(group: BaseExceptionGroup[BaseException]) -> FleetError:
    """Find the one error of ours in what a TaskGroup raised."""
    ours, others = group.split(FleetError)
    if ours is not None and others is None:
        found: BaseException = ours
        while isinstance(found, BaseExceptionGroup):
            found = found.exceptions[0]
        if isinstance(found, FleetError):
            return found
    return _unforeseen(group)


def _unforeseen(error: BaseException) -> FleetError:
    _log.error("rpc.failed", exc_info=error)
    return internal()


def _wrapped(guarded: _Guarded) -> grpc.RpcMethodHandler[Any, Any]:
    handler = guarded.handler
    serializer = handler.response_serializer
    if handler.request_streaming and handler.response_streaming:
        return grpc.stream_stream_rpc_method_handler(guarded.both_streams, None, serializer)
    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler(guarded.answer_stream, None, serializer)
    if handler.request_streaming:
        raise FleetError(internal().kind, "RPC_SHAPE", "no call of the fleet streams requests alone")
    return grpc.unary_unary_rpc_method_handler(guarded.unary, None, serializer)
