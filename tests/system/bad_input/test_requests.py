"""What Ground Control is told wrong: a reason for each, nothing written, and the rest goes on."""

from __future__ import annotations

import asyncio
import secrets

import grpc.aio
import pytest

from fleet.errors import FleetError
from fleet.rpc_errors import from_rpc_error
from fleet.v1 import fleet_pb2 as pb
from fleet.v1 import state_pb2
from fleet.v1.state_pb2_grpc import StateServiceStub
from tests.rig.ground_control import Member
from tests.rig.ports import keep_port
from tests.rig.satctl import Satctl
from tests.rig.vertical import Vertical

pytestmark = [pytest.mark.needs_cosign, pytest.mark.needs_registry]

UNKNOWN, MALFORMED, UNREACHABLE = 1, 2, 4
"""satctl's exit codes."""
ABSENT = "sha256:" + "0" * 64


def end_of_log(fleet: Vertical) -> tuple[int, int]:
    position = fleet.call(lambda stub: stub.GetFleetStatus(pb.GetFleetStatusRequest())).position
    return position.epoch, position.revision


@pytest.fixture(scope="module")
def satctl(fleet: Vertical, tmp_path_factory: pytest.TempPathFactory) -> Satctl:
    made = Satctl(tmp_path_factory.mktemp("satctl"))
    made.ok("login", fleet.gc.operator_string("robin"))
    return made


@pytest.fixture(scope="module")
def shop(fleet: Vertical) -> str:
    """A group that is there."""
    fleet.change(pb.Change(group=pb.Group(name="shop")))
    return "group/shop"


@pytest.fixture(scope="module")
def silent(fleet: Vertical) -> str:
    """A source where nobody listens."""
    fleet.add_source("silent", f"127.0.0.1:{keep_port()}")
    return "silent"


@pytest.mark.usefixtures("shop", "silent")
@pytest.mark.parametrize(
    ("artifact", "scope", "ends"),
    [
        ("hub/app@sha256:not-a-digest", "group/shop", (MALFORMED, "DIGEST_MALFORMED")),
        (f"hub/app:1@{ABSENT[:-1]}", "group/shop", (MALFORMED, "DIGEST_MALFORMED")),
        (f"hub/app@{ABSENT.upper()}", "group/shop", (MALFORMED, "DIGEST_MALFORMED")),
        (f"hub/app@{ABSENT}", "group/nobody", (UNKNOWN, "GROUP_UNKNOWN")),
        (f"hub/app@{ABSENT}", "satellite/nobody", (UNKNOWN, "SATELLITE_UNKNOWN")),
        (f"nowhere/app@{ABSENT}", "group/shop", (UNKNOWN, "SOURCE_UNKNOWN")),
        ("hub/no/such/repository:1", "group/shop", (UNKNOWN, "TAG_UNRESOLVED")),
        ("silent/app:1", "group/shop", (UNREACHABLE, "SOURCE_UNREACHABLE")),
    ],
)
def test_what_cannot_be_assigned_is_refused_with_its_reason(
    fleet: Vertical, satctl: Satctl, artifact: str, scope: str, ends: tuple[int, str]
) -> None:
    before = end_of_log(fleet)
    exit_code, said = satctl.refused("assign", artifact, "--to", scope)
    assert (exit_code, said.partition(":")[0]) == ends
    assert end_of_log(fleet) == before


def test_one_bad_change_leaves_nothing_of_its_request(fleet: Vertical) -> None:
    good = pb.Change(group=pb.Group(name="good"))
    bad = pb.Change(membership=pb.Membership(satellite="nobody", group="good"))
    request = pb.ApplyChangesRequest(changes=[good, bad])
    before = end_of_log(fleet)
    assert fleet.refusal(lambda stub: stub.ApplyChanges(request)).reason == "SATELLITE_UNKNOWN"
    assert fleet.refusal(lambda stub: stub.GetGroup(pb.GetGroupRequest(name="good"))).reason == "GROUP_UNKNOWN"
    assert end_of_log(fleet) == before


@pytest.mark.parametrize("size", [4 * 1024 * 1024 + 1, 64 * 1024 * 1024])
def test_an_operators_message_has_a_limit(fleet: Vertical, size: int) -> None:
    large = pb.CreateGroupRequest(group=pb.Group(name="large", description="x" * size))
    error = fleet.refusal(lambda stub: stub.CreateGroup(large))
    assert error.reason == "MESSAGE_TOO_LARGE"
    end_of_log(fleet)


async def _say(member: Member, *messages: state_pb2.StreamStateRequest) -> FleetError:
    """Open a stream and say something that ends it."""
    async with member.channel() as channel:
        call = StateServiceStub(channel).StreamState()
        for message in messages:
            await call.write(message)
        try:
            async with asyncio.timeout(20):
                while await call.read() is not grpc.aio.EOF:
                    pass
        except grpc.aio.AioRpcError as error:
            return from_rpc_error(error)
    raise AssertionError("not refused")


@pytest.mark.parametrize("size", [64 * 1024, 16 * 1024 * 1024])
def test_a_satellites_message_has_a_limit_and_others_do_not_feel_it(fleet: Vertical, size: int) -> None:
    hello = state_pb2.Subscribe(protocol_version=1, boot_id=secrets.token_bytes(16), session_number=1)
    large = state_pb2.StateReport(sequence=1, held_digest=b"x" * size)

    async def play() -> FleetError:
        loud = await fleet.gc.join_satellite(fleet.admin, f"loud-{size}")
        return await _say(
            loud, state_pb2.StreamStateRequest(subscribe=hello), state_pb2.StreamStateRequest(report=large)
        )

    error = asyncio.run(play())
    assert error.reason == "MESSAGE_TOO_LARGE"
    end_of_log(fleet)
