"""Joining by the real programs: a man in the middle, a token used twice, a reply that got lost, a long absence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleet.identity import GroundControlId
from fleet.joinstring import parse_join_string
from fleet.svid import load_certificate
from tests.rig.cosign import KeyPair
from tests.rig.cutting_proxy import cutting_proxy
from tests.rig.ground_control import TRUST_DOMAIN
from tests.rig.identity import Realm, utc_now
from tests.rig.joining import bootstrap_listener
from tests.rig.providers import BuiltIn, built_in
from tests.rig.registries import Central, EventLoopThread
from tests.rig.satellite import Satellite
from tests.rig.vertical import until
from tests.rig.world import GROUND_CONTROL

pytestmark = [pytest.mark.needs_cosign, pytest.mark.needs_registry]


@pytest.fixture(scope="module")
def gc(tmp_path_factory: pytest.TempPathFactory, central: Central, key: KeyPair) -> Iterator[BuiltIn]:
    """A Ground Control whose identities and intermediates live for seconds, so that an absence is short."""
    directory = tmp_path_factory.mktemp("gc")
    with built_in(directory, central, key, svid_ttl="3s", intermediate_ttl="6s") as world:
        assert isinstance(world, BuiltIn)
        yield world


@contextmanager
def middle(realm: Realm, own_id: str) -> Iterator[tuple[str, list[bytes]]]:
    """Run somebody else's bootstrap listener: its address, and the secrets that it hears."""
    loop = EventLoopThread()
    running = bootstrap_listener(realm, own_id=own_id)
    try:
        listener = loop.call(running.__aenter__())
        try:
            yield f"127.0.0.1:{listener.port}", listener.secrets_heard
        finally:
            loop.call(running.__aexit__(None, None, None))
    finally:
        loop.close()


@pytest.mark.parametrize("who", ["a stranger", "a member with another ID"])
def test_a_man_in_the_middle_hears_no_secret(gc: BuiltIn, tmp_path: Path, who: str) -> None:
    name = f"wary-{len(who)}"
    place = parse_join_string(gc.string(name))
    realm, own_id, reason = Realm(), str(GROUND_CONTROL), "GC_UNTRUSTED"
    if who != "a stranger":
        realm, own_id, reason = gc.forger(), str(GroundControlId(TRUST_DOMAIN, "other")), "GC_ID_MISMATCH"
    site = Satellite(tmp_path)
    with middle(realm, own_id) as (address, heard):
        done = site.run("join", replace(place, bootstrap=address).encode())
        assert done.returncode == 3, done.stderr
        assert reason in done.stderr
        assert heard == []
    site.join(place.encode())  # nothing was lost: the token is still good


def test_a_token_joins_one_device_and_a_second_is_refused_and_reported(gc: BuiltIn, tmp_path: Path) -> None:
    text = gc.string("once")
    owner, thief = Satellite(tmp_path / "owner"), Satellite(tmp_path / "thief")
    owner.join(text)
    done = thief.run("join", text)
    assert done.returncode == 3, done.stderr
    assert "TOKEN_USED" in done.stderr
    assert [line["token"] for line in lines(gc, "token.misused")] == [parse_join_string(text).token_id]
    owner.join(text)  # the owner may repeat it
    with owner:
        owner.await_link()


def test_a_lost_reply_is_repeated(gc: BuiltIn, tmp_path: Path) -> None:
    place = parse_join_string(gc.string("unlucky"))
    site = Satellite(tmp_path)
    before = joined(gc)
    with cutting_proxy(f"http://{place.bootstrap}") as proxy:
        proxy.loses = lambda: joined(gc) > before  # the work is done, and said so before the reply leaves
        done = site.run("join", replace(place, bootstrap=proxy.url.removeprefix("http://")).encode())
        assert done.returncode == 4, done.stderr
    assert joined(gc) == before + 1
    site.join(place.encode())
    with site:
        site.await_link()
    assert not [line for line in lines(gc, "token.misused") if line["token"] == place.token_id]


def joined(gc: BuiltIn) -> int:
    """How many times Ground Control has given an identity for a token."""
    calls = lines(gc, "rpc.finished")
    return sum(line["method"].endswith("/Bootstrap") and line["code"] == "OK" for line in calls)


def lines(gc: BuiltIn, event: str) -> list[dict[str, Any]]:
    """Pick one kind of line from Ground Control's log."""
    return [json.loads(line) for line in gc.gc.log().splitlines() if f'"event": "{event}"' in line]


def test_away_until_everything_has_expired_it_comes_back_unattended(gc: BuiltIn) -> None:
    artifact = gc.push("voyage")
    gc.pin(artifact)
    site = gc.satellite("ship")
    with site:
        gc.assign(artifact, "ship")
        site.await_published(artifact)
        before = gc.material_of(site)
        applied = site.log().count('"state.applied"')
    until(
        lambda: utc_now() > max(load_certificate(der).not_valid_after_utc for der in before.chain),
        "SVID and intermediate have expired",
    )
    with site:
        site.await_link()
        after = gc.material_of(site)
        assert set(after.chain).isdisjoint(before.chain)
        assert after.bundle == before.bundle
        assert site.log().count('"state.applied"') == applied
        assert site.pull("voyage", "1")[0] == 200
