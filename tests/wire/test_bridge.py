from __future__ import annotations

import asyncio
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path

import grpc
import grpc.aio
import pytest
import uvloop

from edge.domain.clock import BUILT_AT
from fleet.bridge import Bridge
from fleet.errors import FleetError, Kind
from fleet.svid import FixedRoots, X509Material, read_leaf
from tests.rig.identity import (
    GROUND_CONTROL,
    SATELLITE,
    TRUST_DOMAIN,
    HeldIdentity,
    Realm,
    echo_server,
    echo_stream,
    eventually,
    key_pem,
    pem,
    say,
    utc_now,
)


@pytest.fixture(scope="module")
def realm() -> Realm:
    return Realm()


@pytest.fixture
def source(realm: Realm) -> HeldIdentity:
    return HeldIdentity(realm.material(), realm.bundle)


async def refusal(bridge: Bridge) -> FleetError:
    """Call through a bridge that must fail, and tell why it did."""
    async with bridge, bridge.channel() as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await say(channel)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        await eventually(lambda: bridge.last_error is not None)
        assert bridge.last_error is not None
        return bridge.last_error


async def test_the_exact_ground_control_is_reached_with_our_own_svid(realm: Realm, source: HeldIdentity) -> None:
    async with (
        echo_server(realm.material(GROUND_CONTROL)) as server,
        Bridge(server.address, expected=GROUND_CONTROL, source=source) as bridge,
        bridge.channel() as channel,
    ):
        assert await say(channel) == b"hello"
        assert server.callers == [SATELLITE]
        assert bridge.last_error is None
        assert bridge.peer_not_after == read_leaf(server.material.chain[0]).not_after


async def test_the_bootstrap_listener_is_reached_without_a_certificate(realm: Realm) -> None:
    async with (
        echo_server(realm.material(GROUND_CONTROL), client_certificate=False) as server,
        Bridge(server.address, expected=GROUND_CONTROL, source=FixedRoots(TRUST_DOMAIN, realm.bundle)) as bridge,
        bridge.channel() as channel,
    ):
        assert await say(channel) == b"hello"
        assert server.callers == [""]


async def test_megabytes_pass_both_ways_while_neither_side_reads_ahead(realm: Realm, source: HeldIdentity) -> None:
    async with (
        echo_server(realm.material(GROUND_CONTROL)) as server,
        Bridge(server.address, expected=GROUND_CONTROL, source=source) as bridge,
        bridge.channel() as channel,
    ):
        call = echo_stream(channel)
        block = bytes(range(256)) * 4 * 1024

        async def send() -> None:
            for _ in range(16):
                await call.write(block)
            await call.done_writing()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(send())
            received = [reply async for reply in call]
        assert received == [block] * 16


@pytest.mark.parametrize("impostor", [f"spiffe://{TRUST_DOMAIN}/gc/other", SATELLITE])
async def test_another_id_of_the_trust_domain_is_refused_whatever_its_dns_name(
    realm: Realm, source: HeldIdentity, impostor: str
) -> None:
    material = realm.material(impostor, dns_names=("localhost",))
    async with echo_server(material) as server:
        error = await refusal(Bridge(f"localhost:{server.port}", expected=GROUND_CONTROL, source=source))
        assert error.reason == "GC_ID_MISMATCH"
        assert error.subject == impostor
        assert server.callers == []


async def test_a_server_of_a_foreign_authority_is_refused(source: HeldIdentity) -> None:
    async with echo_server(Realm().material(GROUND_CONTROL)) as server:
        error = await refusal(Bridge(server.address, expected=GROUND_CONTROL, source=source))
        assert error.reason == "GC_UNTRUSTED"
        assert server.callers == []


async def test_an_expired_server_is_refused(realm: Realm, source: HeldIdentity) -> None:
    at = utc_now() - timedelta(hours=2)
    async with echo_server(realm.material(GROUND_CONTROL, at=at)) as server:
        error = await refusal(Bridge(server.address, expected=GROUND_CONTROL, source=source))
        assert error.reason == "GC_EXPIRED"


async def test_the_time_that_counts_is_the_callers(realm: Realm, source: HeldIdentity) -> None:
    later = utc_now() + timedelta(hours=2)
    async with echo_server(realm.material(GROUND_CONTROL)) as server:
        error = await refusal(Bridge(server.address, expected=GROUND_CONTROL, source=source, now=lambda: later))
        assert error.reason == "GC_EXPIRED"


async def test_a_clock_that_is_behind_reaches_a_server_whose_certificate_begins_later(
    realm: Realm, source: HeldIdentity
) -> None:
    async with echo_server(realm.material(GROUND_CONTROL)) as server:
        bridge = Bridge(server.address, expected=GROUND_CONTROL, source=source, now=lambda: BUILT_AT)
        async with bridge, bridge.channel() as channel:
            assert await say(channel)
        other = Bridge(server.address, expected=SATELLITE, source=source, now=lambda: BUILT_AT)
        assert (await refusal(other)).reason == "GC_ID_MISMATCH"
    async with echo_server(Realm().material(GROUND_CONTROL)) as stranger:
        error = await refusal(Bridge(stranger.address, expected=GROUND_CONTROL, source=source, now=lambda: BUILT_AT))
        assert error.reason == "GC_UNTRUSTED"


async def test_two_uri_names_are_refused_even_if_one_is_right(realm: Realm, source: HeldIdentity) -> None:
    for uris in ([GROUND_CONTROL, SATELLITE], [SATELLITE, GROUND_CONTROL], []):
        async with echo_server(realm.forged(uris)) as server:
            error = await refusal(Bridge(server.address, expected=GROUND_CONTROL, source=source))
            assert error.reason == "SVID_URI_SAN"


async def test_an_authoritys_certificate_is_no_servers(realm: Realm, source: HeldIdentity) -> None:
    async with echo_server(realm.forged([GROUND_CONTROL], ca=True)) as server:
        error = await refusal(Bridge(server.address, expected=GROUND_CONTROL, source=source))
        assert error.reason in {"SVID_USAGE", "GC_UNTRUSTED"}


async def test_an_absent_server_is_named_unreachable(source: HeldIdentity) -> None:
    error = await refusal(Bridge("127.0.0.1:1", expected=GROUND_CONTROL, source=source))
    assert error.reason == "GC_UNREACHABLE"
    assert error.subject == "127.0.0.1:1"


async def test_a_connection_that_a_closing_listener_resets_is_made_once_more(
    realm: Realm, source: HeldIdentity
) -> None:
    met: list[int] = []
    async with echo_server(realm.material(GROUND_CONTROL)) as server:
        host, _, port = server.address.rpartition(":")

        async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            met.append(len(met))
            if len(met) == 1:
                writer.transport.abort()
                return
            far = await asyncio.open_connection(host, int(port))
            try:
                await asyncio.gather(pipe(reader, far[1]), pipe(far[0], writer))
            finally:
                for end in (far[1], writer):
                    end.transport.abort()

        async with await asyncio.start_server(meet, "127.0.0.1", 0) as front:
            address = f"127.0.0.1:{front.sockets[0].getsockname()[1]}"
            async with Bridge(address, expected=GROUND_CONTROL, source=source) as bridge, bridge.channel() as channel:
                assert await say(channel) == b"hello"
                assert bridge.last_error is None
    assert len(met) == 2


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65536):
        writer.write(chunk)
    writer.close()


async def test_a_server_that_speaks_in_clear_is_refused(source: HeldIdentity) -> None:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    error = await refusal(Bridge(f"127.0.0.1:{port}", expected=GROUND_CONTROL, source=source))
    assert error.reason in {"TLS_FAILED", "GC_UNREACHABLE"}
    await server.stop(grace=0)


async def test_it_says_that_the_server_refused_our_certificate(realm: Realm) -> None:
    stranger = HeldIdentity(Realm().material(), realm.bundle)
    async with echo_server(realm.material(GROUND_CONTROL)) as server:
        error = await refusal(Bridge(server.address, expected=GROUND_CONTROL, source=stranger))
        assert error.reason == "SVID_REFUSED"


@asynccontextmanager
async def eavesdropper(material: X509Material, directory: Path) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A TLS server that keeps whatever is said to it, certificates included."""
    heard: list[bytes] = []
    (directory / "key.pem").write_bytes(key_pem(material.key))
    (directory / "chain.pem").write_bytes(pem(material.chain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "chain.pem", directory / "key.pem")
    context.set_alpn_protocols(["h2"])
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(cadata=pem(material.bundle).decode())

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(writer.get_extra_info("ssl_object").getpeercert(binary_form=True) or b"connected")
        heard.append(await reader.read(65536))
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1], heard


async def test_an_impostor_sees_neither_a_byte_nor_our_certificate(
    realm: Realm, source: HeldIdentity, tmp_path: Path
) -> None:
    impostor = realm.material(f"spiffe://{TRUST_DOMAIN}/gc/other")
    async with eavesdropper(impostor, tmp_path) as (port, heard):
        error = await refusal(Bridge(f"127.0.0.1:{port}", expected=GROUND_CONTROL, source=source))
        assert error.reason == "GC_ID_MISMATCH"
        assert heard == []
    async with eavesdropper(realm.material(GROUND_CONTROL), tmp_path) as (port, heard):
        bridge = Bridge(f"127.0.0.1:{port}", expected=GROUND_CONTROL, source=source)
        async with bridge, bridge.channel() as channel:
            with pytest.raises(grpc.aio.AioRpcError):
                await say(channel)
        assert len(heard) >= 2  # the eavesdropper does hear, when it is the one expected


async def test_a_new_channel_presents_the_rotated_svid_and_the_old_one_goes_on(
    realm: Realm, source: HeldIdentity
) -> None:
    other = f"spiffe://{TRUST_DOMAIN}/satellite/region/north/kiosk-2"
    async with (
        echo_server(realm.material(GROUND_CONTROL)) as server,
        Bridge(server.address, expected=GROUND_CONTROL, source=source) as bridge,
        bridge.channel() as old,
    ):
        await say(old)
        source.change(realm.material(other), realm.bundle)
        async with bridge.channel() as new:
            await say(new)
            await say(old)
        assert server.callers == [SATELLITE, other, SATELLITE]


async def test_a_connection_ends_with_the_servers_certificate(realm: Realm, source: HeldIdentity) -> None:
    async with (
        echo_server(realm.material(GROUND_CONTROL, ttl=timedelta(seconds=4))) as server,
        Bridge(server.address, expected=GROUND_CONTROL, source=source) as bridge,
        bridge.channel() as channel,
    ):
        call = echo_stream(channel)
        await call.write(b"1")
        assert await call.read() == b"1"
        with pytest.raises(grpc.aio.AioRpcError) as cut:
            await asyncio.wait_for(call.read(), 30)
        assert cut.value.code() is grpc.StatusCode.UNAVAILABLE
        assert bridge.last_error is not None
        assert bridge.last_error.reason == "GC_EXPIRED"
        server.material = realm.material(GROUND_CONTROL)
        assert await say(channel, b"2", wait=True) == b"2"
        assert bridge.last_error is None


async def test_a_connection_ends_when_the_servers_root_leaves_the_bundle(realm: Realm, source: HeldIdentity) -> None:
    async with (
        echo_server(realm.material(GROUND_CONTROL)) as server,
        Bridge(server.address, expected=GROUND_CONTROL, source=source) as bridge,
        bridge.channel() as channel,
    ):
        call = echo_stream(channel)
        await call.write(b"1")
        assert await call.read() == b"1"
        source.change(source.svid(), (*Realm().bundle, *realm.bundle))
        await call.write(b"2")
        assert await call.read() == b"2"
        source.change(source.svid(), Realm().bundle)
        with pytest.raises(grpc.aio.AioRpcError):
            await asyncio.wait_for(call.read(), 30)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_only_this_process_may_use_the_socket(realm: Realm, source: HeldIdentity) -> None:
    async with (
        echo_server(realm.material(GROUND_CONTROL)) as server,
        Bridge(server.address, expected=GROUND_CONTROL, source=source) as bridge,
    ):
        path = Path(bridge.target.removeprefix("unix:"))
        assert [mode(path), mode(path.parent)] == [0o600, 0o700]
        stranger = (
            "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.settimeout(10)\n"
            "try: sys.exit(len(s.recv(1)))\nexcept ConnectionError: sys.exit(0)"
        )
        ended = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", stranger, str(path)], check=False)
        assert ended.returncode == 0
    assert not await asyncio.to_thread(path.parent.exists)


async def test_a_server_that_accepts_and_stays_silent_is_named_unreachable(
    source: HeldIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet.bridge.HANDSHAKE_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        error = await refusal(Bridge(f"127.0.0.1:{silent.getsockname()[1]}", expected=GROUND_CONTROL, source=source))
    assert error.reason == "GC_UNREACHABLE"


async def test_a_reader_that_stalls_holds_up_the_writer(realm: Realm, source: HeldIdentity) -> None:
    async with (
        echo_server(realm.material(GROUND_CONTROL)) as server,
        Bridge(server.address, expected=GROUND_CONTROL, source=source) as bridge,
        bridge.channel() as channel,
    ):
        call = echo_stream(channel)
        written = 0
        with suppress(TimeoutError):
            while written < 512:
                await asyncio.wait_for(call.write(bytes(1 << 20)), 1)
                written += 1
        assert written < 64  # MiB: what gRPC's windows, both kernels and the bridge hold together
        call.cancel()


def test_it_runs_on_uvloop_as_well(realm: Realm, source: HeldIdentity) -> None:
    async def call() -> bytes:
        async with (
            echo_server(realm.material(GROUND_CONTROL)) as server,
            Bridge(server.address, expected=GROUND_CONTROL, source=source) as bridge,
            bridge.channel() as channel,
        ):
            return await say(channel)

    assert uvloop.run(call()) == b"hello"


@pytest.mark.parametrize("address", ["", "host", "host:", ":1", "host:x"])
def test_an_address_without_host_or_port_is_refused_at_once(source: HeldIdentity, address: str) -> None:
    with pytest.raises(FleetError) as refused:
        Bridge(address, expected=GROUND_CONTROL, source=source)
    assert refused.value.reason == "ADDRESS_MALFORMED"


@pytest.mark.parametrize("name", ["absent", "a" * 100], ids=["no directory can be made", "no socket can be bound"])
async def test_a_machine_without_room_for_a_socket_is_an_error_of_ours_and_keeps_nothing(
    source: HeldIdentity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    directory = tmp_path / name
    if name != "absent":
        directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    bridge = Bridge("localhost:1", expected=GROUND_CONTROL, source=source)
    with pytest.raises(FleetError, match="BRIDGE_UNAVAILABLE") as refused:
        await bridge.__aenter__()
    assert refused.value.kind is Kind.UNAVAILABLE
    assert left_below(directory) == []


def left_below(directory: Path) -> list[Path]:
    return list(directory.rglob("*"))
