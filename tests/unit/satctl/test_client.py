"""Calls: repeated where that is safe, with the same id, and only then."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import grpc
import grpc.aio
import pytest

from controlplane.satctl import client as module
from controlplane.satctl.client import FleetClient
from controlplane.satctl.entities import GROUP
from controlplane.satctl.options import Options
from fleet.bridge import Bridge
from fleet.errors import FleetError, Kind
from fleet.rpc_errors import STATUS_KEY, to_status
from fleet.v1 import fleet_pb2 as pb


@dataclass
class LostConnection:
    """A bridge that has met this."""

    last_error: FleetError | None = None


@dataclass
class Flaky:
    """A method that fails so often, then answers; it remembers what it was asked."""

    answer: Any
    failures: list[FleetError] = field(default_factory=list)
    asked: list[Any] = field(default_factory=list)

    async def __call__(self, request: Any, *, timeout: float | None = None) -> Any:  # noqa: ASYNC109 - a stub's
        self.asked.append(request)
        if self.failures:
            raise spoken(self.failures.pop(0))
        return self.answer(request) if callable(self.answer) else self.answer


class Stub:
    """A stub of one method."""

    def __init__(self, **methods: Flaky) -> None:
        self.__dict__.update(methods)


def spoken(error: FleetError) -> grpc.aio.AioRpcError:
    status = to_status(error)
    trailing = grpc.aio.Metadata((STATUS_KEY, status.SerializeToString()))
    code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, error.public)


def draining() -> FleetError:
    return FleetError(Kind.UNAVAILABLE, "DRAINING", "going down", retry_after=timedelta(milliseconds=1))


def caller(stub: Stub, *, request_id: str = "", met: FleetError | None = None) -> FleetClient:
    options = Options(Path("/nowhere"), "default", "", "", "", 5.0, request_id)
    return FleetClient(
        cast("Any", stub), cast("Any", None), cast("Bridge", LostConnection(met)), cast("Any", None), options
    )


@pytest.fixture(autouse=True)
def _in_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", timedelta(milliseconds=1))


async def test_a_write_whose_answer_was_lost_is_repeated_with_its_id() -> None:
    method = Flaky(pb.CreateGroupResponse(group=pb.Group(name="shops")), [draining()])
    made = await GROUP.create(caller(Stub(CreateGroup=method)), pb.Group(name="shops"))
    assert made.name == "shops"
    first, second = method.asked
    assert first == second
    assert first.request_id


async def test_each_write_has_an_id_of_its_own_unless_one_is_given() -> None:
    method = Flaky(pb.CreateGroupResponse())
    for given in ("", "", "nightly"):
        await GROUP.create(caller(Stub(CreateGroup=method), request_id=given), pb.Group(name="shops"))
    made = [request.request_id for request in method.asked]
    assert len(set(made)) == 3
    assert made[2] == "nightly"


async def test_what_has_no_id_is_not_repeated() -> None:
    method = Flaky(pb.CreateJoinTokenResponse(), [draining()])
    with pytest.raises(FleetError, match="DRAINING"):
        await caller(Stub()).call(cast("Any", method), pb.CreateJoinTokenRequest(satellite="kiosk-1"))
    assert len(method.asked) == 1


@pytest.mark.parametrize("kind", [Kind.REFUSED, Kind.MALFORMED, Kind.CONFLICT, Kind.EXISTS])
async def test_a_refusal_is_final(kind: Kind) -> None:
    method = Flaky(pb.CreateGroupResponse(), [FleetError(kind, "NO", "no")])
    with pytest.raises(FleetError) as raised:
        await GROUP.create(caller(Stub(CreateGroup=method)), pb.Group(name="shops"))
    assert (raised.value.kind, len(method.asked)) == (kind, 1)


async def test_attempts_end() -> None:
    method = Flaky(pb.GetGroupResponse(), [draining() for _ in range(9)])
    with pytest.raises(FleetError, match="DRAINING"):
        await GROUP.get(caller(Stub(GetGroup=method)), "shops")
    assert len(method.asked) == module.ATTEMPTS


async def test_what_the_connection_met_is_said_at_once() -> None:
    met = FleetError(Kind.UNIDENTIFIED, "GC_ID_MISMATCH", "somebody else")
    method = Flaky(pb.GetGroupResponse(), [draining()])
    with pytest.raises(FleetError, match="GC_ID_MISMATCH"):
        await GROUP.get(caller(Stub(GetGroup=method), met=met), "shops")
    assert len(method.asked) == 1


async def test_all_pages_are_read() -> None:
    pages = {"": ("a", "b"), "b": ("c",), "c": ()}
    following: Callable[[str], str] = lambda token: {"": "b", "b": "c"}.get(token, "")  # noqa: E731 - a table

    def page(request: pb.ListGroupsRequest) -> pb.ListGroupsResponse:
        groups = [pb.Group(name=name) for name in pages[request.page_token]]
        return pb.ListGroupsResponse(groups=groups, next_page_token=following(request.page_token))

    found = await GROUP.all(caller(Stub(ListGroups=Flaky(page))))
    assert [group.name for group in found] == ["a", "b", "c"]
