"""PostgreSQL goes away under load and comes back: streams stay, changes wait, nothing is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import grpc.aio
import pytest

from fleet.errors import FleetError, Kind
from fleet.rpc_errors import from_rpc_error
from fleet.v1 import fleet_pb2 as pb
from fleet.v1 import resource_pb2 as resource
from fleet.v1.fleet_pb2_grpc import FleetServiceStub
from tests.rig.cosign import KeyPair
from tests.rig.postgres import Postgres, running_postgres
from tests.rig.registries import Central
from tests.rig.vertical import Vertical, open_vertical, until

pytestmark = [pytest.mark.needs_postgres, pytest.mark.needs_cosign, pytest.mark.needs_registry]

WRITERS = 4
SITE = "kiosk-1"
LONGEST_S = 60.0


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres(durable=True) as server:
        yield server


@pytest.fixture(scope="module")
def own(
    tmp_path_factory: pytest.TempPathFactory, postgres: Postgres, central: Central, key: KeyPair
) -> Iterator[Vertical]:
    options = {"database_url": postgres.make_database(), "workers": "2"}
    with open_vertical(tmp_path_factory.mktemp("own"), central, key, **options) as opened:
        yield opened


@dataclass
class Load:
    """Operators who write without pause and repeat what was not answered."""

    fleet: Vertical
    done: set[str] = field(default_factory=set)
    refused: list[FleetError] = field(default_factory=list)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def write(self, writer: int) -> None:
        async with self.fleet.admin.fleet() as stub:
            for number in range(10_000):
                if self.stopping.is_set():
                    return
                await self._write_one(stub, f"load-{writer}-{number}")

    async def _write_one(self, stub: FleetServiceStub, name: str) -> None:
        nobody = resource.Authority(name="nobody", static_verdict=resource.StaticVerdict())
        spec = resource.PolicySpec(images=[f"nowhere/{name}"], authorities=[nobody])
        policy = pb.Policy(name=name, spec=spec, scopes=[f"satellite/{SITE}"])
        request = pb.CreatePolicyRequest(policy=policy, request_id=name)
        deadline = time.monotonic() + LONGEST_S
        while True:
            try:
                await stub.CreatePolicy(request)
            except grpc.aio.AioRpcError as error:
                self.refused.append(from_rpc_error(error))
                assert time.monotonic() < deadline, self.refused[-1]
                await asyncio.sleep(0.1)  # the pause of one who repeats
            else:
                self.done.add(name)
                return

    async def reached(self, count: int) -> None:
        """Wait until more was written."""
        wanted = len(self.done) + count
        async with asyncio.timeout(LONGEST_S):
            while len(self.done) < wanted:  # noqa: ASYNC110 - what it waits for has no event
                await asyncio.sleep(0.05)


async def restart_under(load: Load, postgres: Postgres) -> None:
    """Stop PostgreSQL as by a crash while everybody writes, and start it when that was noticed."""
    async with asyncio.TaskGroup() as writers:
        for writer in range(WRITERS):
            writers.create_task(load.write(writer))
        await load.reached(20)
        await asyncio.to_thread(postgres.stop)
        async with asyncio.timeout(LONGEST_S):
            while len(load.refused) < WRITERS:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.05)
        await asyncio.to_thread(postgres.start)
        await load.reached(20)
        load.stopping.set()


def test_a_restart_under_load_ends_no_stream_and_loses_no_change(own: Vertical, postgres: Postgres) -> None:
    with own.satellite(SITE, "distribution") as site:
        site.await_link()
        session = site.status()["link"]["session"]
        load = Load(own)
        asyncio.run(restart_under(load, postgres))
        assert {(error.kind, error.reason) for error in load.refused} == {(Kind.UNAVAILABLE, "STORE_UNAVAILABLE")}
        until(lambda: own.status(SITE).converged, "the site holds what was written")
        listed = own.call(lambda stub: stub.ListPolicies(pb.ListPoliciesRequest(page_size=1000))).policies
        assert {policy.name for policy in listed} - {"base"} == load.done
        assert own.status(SITE).report.held_digest == own.status(SITE).desired_digest
        assert site.status()["link"] | {"state": "CONNECTED", "session": session} == site.status()["link"]
        assert '"stream.ended"' not in site.log()
