"""Calls to Ground Control: its exact ID checked, errors with their reasons, repeats only where they are safe."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Protocol, TypeVar

import grpc.aio
from google.protobuf.message import Message

from controlplane.satctl.identity import Identity, identify
from controlplane.satctl.options import PAGE_SIZE, Options, now
from fleet.bridge import Bridge
from fleet.errors import FleetError, Kind
from fleet.rpc_errors import from_rpc_error
from fleet.v1.fleet_pb2_grpc import FleetServiceStub
from fleet.v1.state_pb2_grpc import StateServiceStub

Request = TypeVar("Request", bound=Message)
Answer = TypeVar("Answer")
Item = TypeVar("Item")

ATTEMPTS = 3
FIRST_PAUSE = timedelta(milliseconds=200)
LONGEST_PAUSE = timedelta(seconds=5)
_LARGE = ("grpc.max_receive_message_length", 64 << 20)
"""A page of trust roots and policies of a MiB each."""


class Page(Protocol):
    """An answer that may have a next page."""

    next_page_token: str


PageAnswer = TypeVar("PageAnswer", bound=Page)


class FleetClient:
    """The operators' API over one verified connection.

    Attributes:
        fleet: the stub, for methods to pass to `call` and `pages`.
        state: likewise, of the service that shows whole desired states.
        identity: who calls.
    """

    def __init__(
        self, fleet: FleetServiceStub, state: StateServiceStub, bridge: Bridge, identity: Identity, options: Options
    ) -> None:
        self.fleet = fleet
        self.state = state
        self.identity = identity
        self._bridge = bridge
        self._options = options

    async def call(self, method: grpc.aio.UnaryUnaryMultiCallable[Request, Answer], request: Request) -> Answer:
        """Call once, or again where the answer was lost and a repeat is safe.

        Raises:
            FleetError: what Ground Control said, or why it cannot be reached.
        """
        message, pause = self._with_id(request), FIRST_PAUSE
        for left in reversed(range(ATTEMPTS)):
            try:
                return await method(message, timeout=self._options.timeout_s)
            except grpc.aio.AioRpcError as error:
                failed = self.reason_of(error)
                if not left or not self._worth_repeating(failed, message):
                    raise failed from error
            await asyncio.sleep(min(failed.retry_after or pause, LONGEST_PAUSE).total_seconds())
            pause *= 2
        raise FleetError(Kind.INTERNAL, "ATTEMPTS", "no attempt was made")

    async def pages(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Request, PageAnswer],
        request: Request,
        items: Callable[[PageAnswer], Iterable[Item]],
        *,
        page_size: int = PAGE_SIZE,
    ) -> list[Item]:
        """Read all pages; `request` says what is asked for, its page is set here."""
        found: list[Item] = []
        asked = type(request)()
        asked.CopyFrom(request)
        setattr(asked, "page_size", page_size)  # noqa: B010 - a Message's own
        while True:
            answer = await self.call(method, asked)
            found.extend(items(answer))
            if not answer.next_page_token:
                return found
            setattr(asked, "page_token", answer.next_page_token)  # noqa: B010 - as above

    def reason_of(self, error: grpc.aio.AioRpcError) -> FleetError:
        """Say why a call failed: what the connection met is nearer to the cause than what gRPC makes of it."""
        return self._bridge.last_error or from_rpc_error(error)

    def _with_id(self, request: Request) -> Request:
        if "request_id" not in request.DESCRIPTOR.fields_by_name:
            return request
        message = type(request)()
        message.CopyFrom(request)
        setattr(message, "request_id", self._options.request_id or str(uuid.uuid4()))  # noqa: B010 - a Message's own
        return message

    def _worth_repeating(self, error: FleetError, request: Message) -> bool:
        if error.kind is not Kind.UNAVAILABLE or self._bridge.last_error is not None:
            return False  # nobody answers there: say so at once
        reads = request.DESCRIPTOR.name.startswith(("Get", "List"))
        return reads or "request_id" in request.DESCRIPTOR.fields_by_name


@asynccontextmanager
async def connect(options: Options) -> AsyncIterator[FleetClient]:
    """Get an identity and open a channel; Ground Control's exact ID is checked before a byte is sent."""
    async with identify(options) as identity:
        bridge = Bridge(identity.address, expected=identity.ground_control, source=identity.source, now=now)
        async with bridge, bridge.channel(_LARGE) as channel:
            yield FleetClient(FleetServiceStub(channel), StateServiceStub(channel), bridge, identity, options)
