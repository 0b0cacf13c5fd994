"""Real spire-server and spire-agent: what py-spiffe reads from the sockets that we hand to our programs."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID
from spiffe import WorkloadApiClient, X509Source
from spiffe.workloadapi.x509_context import X509Context

from fleet.errors import FleetError
from fleet.identity import GroundControlId, OperatorId, SatelliteId
from spire.configuration import (
    AgentSettings,
    Attestor,
    JoinToken,
    JoinTokenTrust,
    ServerSettings,
    TpmDevid,
    TpmDevidTrust,
    Trust,
    X509PopTrust,
)
from spire.device_certificate import make_device_certificate
from spire.programs import ask, find_programs
from spire.root import keep_root, load_root, make_root
from spire.supervise import SpireAgent, keep_running
from tests.rig.spire import SECONDS, SpireFleet, spire_fleet

pytestmark = [pytest.mark.needs_spire, pytest.mark.timeout(120)]

TD = "fleet.example"
SHOP = SatelliteId(TD, "eu", "shop-1")
DEADLINE_S = 30.0


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[SpireFleet]:
    async with spire_fleet(tmp_path / "spire", trust_domain=TD, lives=SECONDS) as fleet:
        yield fleet


async def _fetch(socket: Path) -> X509Context:
    def fetch() -> X509Context:
        with WorkloadApiClient(f"unix:{socket}") as client:
            return client.fetch_x509_context()

    return await asyncio.to_thread(fetch)


def _leaf(source: X509Source) -> x509.Certificate:
    return source.get_x509_context().default_svid.leaf


async def _refused(agent: SpireAgent, complaint: str) -> None:
    """Start an agent and see it refused. Of some refusals it would try again for up to a minute: not waited for."""
    agent.log.unlink(missing_ok=True)
    starting = asyncio.create_task(agent.start())
    await _until(lambda: starting.done() or (agent.log.exists() and complaint in agent.log.read_text()))
    starting.cancel()
    (outcome,) = await asyncio.gather(starting, return_exceptions=True)
    assert isinstance(outcome, asyncio.CancelledError) or complaint in str(outcome)
    assert not await agent.is_healthy()


async def _until(holds: Callable[[], bool], *, deadline_s: float = DEADLINE_S) -> None:
    async with asyncio.timeout(deadline_s):
        while not holds():  # noqa: ASYNC110 another thread's state
            await asyncio.sleep(0.05)


def _dns_names(certificate: x509.Certificate) -> list[str]:
    names = certificate.extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).value
    assert isinstance(names, x509.SubjectAlternativeName)
    return names.get_values_for_type(x509.DNSName)


async def test_each_identity_gets_its_own_svid_from_its_own_socket(fleet: SpireFleet) -> None:
    gc, shop, ada = await asyncio.gather(
        fleet.ground_control("main", dns_names=("localhost", "gc.example")),
        fleet.satellite("eu", "shop-1"),
        fleet.operator("ada"),
    )
    contexts = [await _fetch(socket) for socket in (gc, shop, ada)]
    ids = [[str(svid.spiffe_id) for svid in context.x509_svids] for context in contexts]
    assert ids == [[str(GroundControlId(TD, "main"))], [str(SHOP)], [str(OperatorId(TD, "ada"))]]
    assert _dns_names(contexts[0].default_svid.leaf) == ["localhost", "gc.example"]
    assert _dns_names(contexts[1].default_svid.leaf) == []
    assert all(socket.parent.stat().st_mode & 0o077 == 0 for socket in (gc, shop, ada))


async def test_the_bundle_holds_the_long_lived_root_alone(fleet: SpireFleet) -> None:
    shop = await fleet.satellite("eu", "shop-1")
    context = await _fetch(shop)
    (bundle,) = context.x509_bundle_set.bundles
    (root,) = bundle.x509_authorities
    assert root == x509.load_pem_x509_certificate(fleet.trust_bundle.read_bytes())
    assert root.not_valid_after_utc > datetime.now(UTC) + timedelta(days=3600)
    assert len(context.default_svid.cert_chain) == 2  # the leaf and SPIRE's own authority


async def test_svids_of_seconds_are_renewed_before_they_end(fleet: SpireFleet) -> None:
    shop = await fleet.satellite("eu", "shop-1")
    source = await asyncio.to_thread(lambda: X509Source(socket_path=f"unix:{shop}"))
    try:
        seen: set[int] = set()

        def has_rotated_five_times() -> bool:
            leaf = _leaf(source)
            assert leaf.not_valid_after_utc > datetime.now(UTC)
            seen.add(leaf.serial_number)
            return len(seen) > 5

        await _until(has_rotated_five_times)
    finally:
        source.close()


async def test_a_killed_agent_attests_anew_and_the_same_source_goes_on(fleet: SpireFleet) -> None:
    shop = await fleet.satellite("eu", "shop-1")
    agent = fleet.agents[SHOP]
    source = await asyncio.to_thread(lambda: X509Source(socket_path=f"unix:{shop}"))
    try:
        before = _leaf(source).serial_number
        os.kill(agent.pid, signal.SIGKILL)
        assert await agent.wait() == -signal.SIGKILL
        await agent.start()
        await _until(lambda: _leaf(source).serial_number != before)
        assert str(source.get_x509_context().default_svid.spiffe_id) == str(SHOP)
    finally:
        source.close()


async def test_a_killed_server_comes_back_with_its_entries_and_authority(fleet: SpireFleet) -> None:
    shop = await fleet.satellite("eu", "shop-1")
    port = fleet.server.settings.port
    os.kill(fleet.server.pid, signal.SIGKILL)
    await fleet.server.wait()
    await fleet.server.start()
    assert fleet.server.settings.port == port
    source = await asyncio.to_thread(lambda: X509Source(socket_path=f"unix:{shop}"))
    try:
        before = _leaf(source).serial_number
        await _until(lambda: _leaf(source).serial_number != before)
    finally:
        source.close()


async def test_a_deleted_entry_ends_renewal(fleet: SpireFleet) -> None:
    shop = await fleet.satellite("eu", "shop-1")
    registrar = fleet.server.registrar
    (entry,) = await registrar.entries(spiffe_id=str(SHOP))
    source = await asyncio.to_thread(lambda: X509Source(socket_path=f"unix:{shop}"))
    try:
        assert await registrar.delete(entry.id)
        assert not await registrar.delete(entry.id)

        def has_ended() -> bool:
            return source.is_closed() or _leaf(source).not_valid_after_utc < datetime.now(UTC)

        await _until(has_ended)
    finally:
        source.close()
    with pytest.raises(Exception, match="no identity issued"):
        await _fetch(shop)


async def test_a_revoked_satellite_cannot_attest_again_and_others_go_on(fleet: SpireFleet) -> None:
    await fleet.satellite("eu", "shop-1")
    other = await fleet.satellite("eu", "shop-2")
    agent = fleet.agents[SHOP]
    banned = await fleet.revoke(SHOP)
    assert len(banned) == 1
    async with asyncio.timeout(DEADLINE_S):
        await agent.wait()  # a banned agent shuts itself down
    await _refused(agent, "banned")
    assert await fleet.revoke(SHOP) == []
    assert str((await _fetch(other)).default_svid.spiffe_id) == str(SatelliteId(TD, "eu", "shop-2"))


async def test_a_join_token_attests_once(fleet: SpireFleet) -> None:
    socket = await fleet.enrol(SHOP, by_join_token=True)
    assert str((await _fetch(socket)).default_svid.spiffe_id) == str(SHOP)
    (attested,) = await fleet.server.registrar.agents()
    assert (attested.attestation, attested.can_reattest) == ("join_token", False)
    agent = fleet.agents[SHOP]
    os.kill(agent.pid, signal.SIGKILL)
    await agent.wait()
    await agent.start()  # its key and SVID are on disk: no second attestation is needed yet
    assert str((await _fetch(socket)).default_svid.spiffe_id) == str(SHOP)
    await agent.stop()
    for name in ("agent-data.json", "keys.json"):
        (agent.directory / name).unlink()
    await _refused(agent, "join token")


async def test_a_stranger_s_device_certificate_is_refused(fleet: SpireFleet, tmp_path: Path) -> None:
    at = datetime.now(UTC)
    stranger = make_device_certificate(make_root("stranger", at=at), SHOP, at=at)
    settings = AgentSettings(
        trust_domain=TD,
        directory=tmp_path / "stranger",
        socket=fleet.server.socket.parent / "x" / "api.sock",
        server_address="127.0.0.1",
        server_port=fleet.server.settings.port,
        trust_bundle=fleet.trust_bundle,
        attestor=stranger.save(tmp_path / "device"),
    )
    await _refused(SpireAgent(find_programs().agent, settings), "certificate verification failed")
    assert await fleet.server.registrar.agents() == []


async def test_entries_are_made_once_and_follow_what_is_wanted(fleet: SpireFleet) -> None:
    registrar = fleet.server.registrar
    await fleet.satellite("eu", "shop-1")
    (entry,) = await registrar.entries(spiffe_id=str(SHOP))
    assert await registrar.create(entry) == entry
    changed = type(entry)(entry.spiffe_id, entry.parent, entry.selectors, ("shop.example",), timedelta(seconds=9))
    made = await registrar.create(changed)
    assert made.id == entry.id
    assert await registrar.entries(spiffe_id=str(SHOP)) == [made]
    assert made.dns_names == ("shop.example",)
    with pytest.raises(FleetError) as refused:
        await registrar.create(type(entry)("spiffe://elsewhere.example/x", entry.parent, entry.selectors))
    assert refused.value.reason == "SPIRE_REFUSED"


async def test_every_child_ends_with_the_block(tmp_path: Path) -> None:
    async with spire_fleet(tmp_path / "spire", trust_domain=TD) as fleet:
        socket = await fleet.satellite("eu", "shop-1")
        pids = [fleet.server.pid, fleet.agents[SHOP].pid]
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert not await asyncio.to_thread(socket.exists)


async def test_an_agent_trusts_a_server_whose_authorities_are_all_new(fleet: SpireFleet) -> None:
    shop = await fleet.satellite("eu", "shop-1")
    agent = fleet.agents[SHOP]
    await agent.stop()  # away, for longer than any of SPIRE's own authorities lives
    await fleet.server.stop()
    (fleet.server.directory / "keys.json").unlink()
    before = await _issuer_after_restart(fleet, agent, shop)
    await agent.stop()
    await fleet.server.stop()
    (fleet.server.directory / "keys.json").unlink()
    assert await _issuer_after_restart(fleet, agent, shop) != before


async def _issuer_after_restart(fleet: SpireFleet, agent: SpireAgent, socket: Path) -> bytes:
    await fleet.server.start()
    await agent.start()
    await agent.until_served()
    issuer = (await _fetch(socket)).default_svid.cert_chain[1]
    return issuer.public_bytes(Encoding.DER)


async def test_a_supervised_agent_that_is_killed_is_started_again(fleet: SpireFleet) -> None:
    await fleet.satellite("eu", "shop-1")
    agent = fleet.agents[SHOP]
    keeper = asyncio.create_task(keep_running(agent))
    try:
        killed = agent.pid
        os.kill(killed, signal.SIGKILL)
        await _until(lambda: not psutil.pid_exists(killed) and agent.pid != killed)
        await agent.until_served()
    finally:
        keeper.cancel()
        await asyncio.gather(keeper, return_exceptions=True)


@pytest.mark.parametrize("attestor", ["x509pop", "tpm_devid", "join_token"])
async def test_spire_takes_every_configuration_that_we_write(attestor: str, tmp_path: Path) -> None:
    at = datetime.now(UTC)
    device = make_device_certificate(load_root(keep_root(tmp_path / "ca", "ca", at=at)), SHOP, at=at)
    files = device.save(tmp_path / "device")
    token = tmp_path / "token"
    token.write_text("6f1e3c1e-0000-4000-8000-000000000000")
    root = tmp_path / "ca" / "root.pem"
    sides: dict[str, tuple[Trust, Attestor]] = {
        "x509pop": (X509PopTrust(root), files),
        "tpm_devid": (TpmDevidTrust(root, root), TpmDevid(files.certificate, token, token, Path("/dev/tpmrm0"))),
        "join_token": (JoinTokenTrust(), JoinToken(token)),
    }
    trust, proof = sides[attestor]
    socket = tmp_path / "api.sock"
    server = ServerSettings(TD, tmp_path, socket, 8081, (trust,), root, tmp_path / "ca" / "root.key")
    day, port = timedelta(days=1), 8081
    agent = AgentSettings(TD, tmp_path, socket, "127.0.0.1", port, root, proof, availability_target=day)
    programs = find_programs()
    for program, settings in ((programs.server, server), (programs.agent, agent)):
        file = tmp_path / f"{program.name}.conf"
        file.write_text(settings.configuration)
        await ask(program, ["validate", "-config", str(file)])
