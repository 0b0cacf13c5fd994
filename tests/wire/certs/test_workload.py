from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import grpc
import grpc.aio
import pytest
from cryptography.hazmat.primitives import serialization
from spiffe import WorkloadApiClient, X509Source

from certs import workload_messages as messages
from certs.workload import WorkloadServer
from fleet.errors import FleetError
from fleet.svid import X509Material
from fleet.workloadsource import WorkloadSource
from tests.rig.identity import GROUND_CONTROL, SATELLITE, TRUST_DOMAIN, Realm, eventually

REALM = Realm()
WITHIN = timedelta(seconds=10)


@asynccontextmanager
async def serving(path: Path, material: X509Material | None) -> AsyncIterator[WorkloadServer]:
    server = WorkloadServer()
    await server.start(path)
    try:
        await server.publish(material)
        yield server
    finally:
        await server.stop()


def svid_stream(
    channel: grpc.aio.Channel, *, header: tuple[tuple[str, str], ...] = (messages.SECURITY_HEADER,)
) -> grpc.aio.UnaryStreamCall[bytes, messages.X509SVIDResponse]:
    method: grpc.aio.UnaryStreamMultiCallable[bytes, messages.X509SVIDResponse] = channel.unary_stream(
        "/SpiffeWorkloadAPI/FetchX509SVID", response_deserializer=messages.X509SVIDResponse.FromString
    )
    return method(b"", metadata=header, timeout=10)


async def refusal(call: grpc.aio.UnaryStreamCall[bytes, messages.X509SVIDResponse]) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        async for _ in call:
            pass
    return refused.value.code()


async def test_py_spiffe_reads_the_identity_unchanged(tmp_path: Path) -> None:
    material = REALM.material(SATELLITE)

    def read() -> None:
        with X509Source(socket_path=f"unix:{tmp_path / 'w' / 's'}", timeout_in_seconds=10) as source:
            context = source.get_x509_context()
            svid = context.default_svid
            bundle = source.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
        assert str(svid.spiffe_id) == SATELLITE
        assert [cert.public_bytes(serialization.Encoding.DER) for cert in svid.cert_chain] == [*material.chain]
        assert bundle is not None
        assert {root.public_bytes(serialization.Encoding.DER) for root in bundle.x509_authorities} == {*REALM.bundle}

    async with serving(tmp_path / "w" / "s", material):
        await asyncio.to_thread(read)


async def test_py_spiffe_reads_the_bundles(tmp_path: Path) -> None:
    def read() -> list[str]:
        with WorkloadApiClient(f"unix:{tmp_path / 'w' / 's'}") as client:
            return [bundle.trust_domain.name for bundle in client.fetch_x509_bundles().bundles]

    async with serving(tmp_path / "w" / "s", REALM.material(SATELLITE)):
        assert await asyncio.to_thread(read) == [TRUST_DOMAIN]


async def test_an_open_stream_gets_each_new_svid(tmp_path: Path) -> None:
    first, second = REALM.material(SATELLITE), REALM.material(SATELLITE)
    async with (
        serving(tmp_path / "w" / "s", first) as server,
        grpc.aio.insecure_channel(f"unix:{tmp_path / 'w' / 's'}") as channel,
    ):
        updates = aiter(svid_stream(channel))
        assert (await anext(updates)).svids[0].x509_svid == b"".join(first.chain)
        await server.publish(second)
        update = (await anext(updates)).svids[0]
        assert update.x509_svid == b"".join(second.chain)
        assert update.x509_svid_key == second.key


async def test_without_the_metadata_nothing_is_said(tmp_path: Path) -> None:
    async with (
        serving(tmp_path / "w" / "s", REALM.material(SATELLITE)),
        grpc.aio.insecure_channel(f"unix:{tmp_path / 'w' / 's'}") as channel,
    ):
        for header in ((), (("workload.spiffe.io", "false"),)):
            assert await refusal(svid_stream(channel, header=header)) is grpc.StatusCode.INVALID_ARGUMENT


async def test_without_an_identity_permission_is_denied_until_there_is_one(tmp_path: Path) -> None:
    async with (
        serving(tmp_path / "w" / "s", None) as server,
        grpc.aio.insecure_channel(f"unix:{tmp_path / 'w' / 's'}") as channel,
    ):
        assert await refusal(svid_stream(channel)) is grpc.StatusCode.PERMISSION_DENIED
        await server.publish(REALM.material(SATELLITE))
        call = svid_stream(channel)
        updates = aiter(call)
        await anext(updates)
        await server.publish(None)
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await anext(updates)
        assert ended.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_the_jwt_profile_is_unimplemented(tmp_path: Path) -> None:
    async with (
        serving(tmp_path / "w" / "s", REALM.material(SATELLITE)),
        grpc.aio.insecure_channel(f"unix:{tmp_path / 'w' / 's'}") as channel,
    ):
        method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/SpiffeWorkloadAPI/FetchJWTSVID")
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await method(b"", metadata=(messages.SECURITY_HEADER,))
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_the_socket_is_the_owners_alone_and_goes_with_the_server(tmp_path: Path) -> None:
    path = tmp_path / "w" / "s"
    async with serving(path, REALM.material(SATELLITE)):
        assert [mode(path.parent), mode(path)] == [0o700, 0o600]
    assert not await asyncio.to_thread(path.exists)


async def test_a_directory_open_to_others_is_refused(tmp_path: Path) -> None:
    await asyncio.to_thread(tmp_path.chmod, 0o755)
    with pytest.raises(FleetError) as refused:
        await WorkloadServer().start(tmp_path / "s")
    assert refused.value.reason == "PRIVATE_PATH_EXPOSED"


async def test_a_path_too_long_for_a_socket_is_named(tmp_path: Path) -> None:
    with pytest.raises(FleetError) as refused:
        await WorkloadServer().start(tmp_path / ("s" * 108))
    assert refused.value.reason == "SOCKET_PATH_LONG"


async def test_a_source_follows_the_identity_through_restarts_of_its_server(tmp_path: Path) -> None:
    path = tmp_path / "w" / "s"
    first, second, third = (REALM.material(GROUND_CONTROL) for _ in range(3))
    notices: list[None] = []
    async with WorkloadSource(path) as source:
        end = source.subscribe(lambda: notices.append(None))
        async with serving(path, first) as server:
            assert await source.ready(within=WITHIN) == first
            assert source.svid() == first
            assert source.roots(TRUST_DOMAIN) == REALM.bundle
            assert source.roots("other.test") == ()
            await server.publish(second)
            await eventually(lambda: source.svid() == second)
            await server.publish(None)
        assert source.svid() == second
        async with serving(path, third):
            await eventually(lambda: source.svid() == third)
        assert len(notices) == 3
        end()


async def test_a_source_says_that_there_is_no_identity(tmp_path: Path) -> None:
    async with WorkloadSource(tmp_path / "s") as source:
        with pytest.raises(FleetError) as refused:
            await source.ready(within=timedelta(milliseconds=50))
    assert refused.value.reason == "SVID_ABSENT"
