"""What holds for a registry that the satellite runs itself: Distribution's two processes, and Zot."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from edge.adapters.registry.child import listening_port
from edge.adapters.registry.listener import Listener
from edge.app.footprint import Footprint
from edge.app.withdraw import Withdrawer
from fleet.errors import FleetError
from fleet.reference import digest_of
from tests.contract.registry.conftest import OURS, supervised
from tests.contract.registry.test_site import push
from tests.rig.memory_journal import MemoryJournal
from tests.rig.registries import RunningSite, eventually, image_manifest, running_site


def pids(site: RunningSite) -> set[int]:
    files = (site.directory / site.kind / "run").glob("*.pid")
    written = (path.read_text().split() for path in files)
    return {int(words[0]) for words in written if words}  # one that is just being written is empty


def children(site: RunningSite) -> list[psutil.Process]:
    return [psutil.Process(pid) for pid in pids(site)]


def test_nobody_reads_or_writes_before_it_is_opened(own: RunningSite) -> None:
    manifest = push(own.site, "library/app")
    assert own.registry.public_url == ""
    for child in children(own):
        url = f"http://127.0.0.1:{listening_port(child.pid)}/v2/library/app/manifests/{manifest.digest}"
        assert own.http.request("GET", url).status == 401
    own.open()
    assert own.pull("library/app", manifest.digest) == (200, manifest.raw)


def test_anybody_reads_and_only_the_satellite_writes(own: RunningSite) -> None:
    manifest = push(own.site, "library/app")
    own.open()
    foreign = image_manifest(b"{}", (b"",))
    attempts = (
        own.ask("PUT", "/v2/library/app/manifests/evil", manifest.raw, Content_Type=manifest.media_type),
        own.ask("PUT", "/v2/evil/manifests/v1", foreign.raw, Content_Type=foreign.media_type),
        own.ask("POST", "/v2/library/app/blobs/uploads/", b""),
        own.ask("DELETE", f"/v2/library/app/manifests/{manifest.digest}"),
    )
    assert {status for status, _ in attempts} <= {401, 403, 405}
    assert own.pull("library/app", manifest.digest)[0] == 200
    assert own.site.tags("library/app") == []


def test_killed_with_9_it_comes_back_where_it_was_with_what_it_had(own: RunningSite) -> None:
    manifest = push(own.site, "library/app")
    own.open()
    url = own.registry.public_url
    before = pids(own)
    own.kill()
    eventually(lambda: not before & pids(own), "new processes")
    eventually(lambda: _pulls(own, manifest.digest), "it serves again")
    assert own.registry.public_url == url
    eventually(lambda: _writes(own), "it takes writes again")


def _pulls(own: RunningSite, digest: str) -> bool:
    try:
        return own.pull("library/app", digest)[0] == 200
    except Exception:  # noqa: BLE001 -- down is down, however it shows
        return False


def _writes(own: RunningSite) -> bool:
    try:
        push(own.site, "library/other")
    except FleetError:
        return False
    return True


def test_an_upload_goes_on_after_it_was_killed_with_9(own: RunningSite) -> None:
    content = os.urandom(500_000)
    begun = own.site.begin("library/app")
    own.site.append(begun, memoryview(content)[:400_000])
    own.stop()
    own.start()
    found = own.site.resume(begun.location)
    assert found is not None
    assert found.offset == 400_000
    own.site.finish(own.site.append(found, memoryview(content)[400_000:]), digest_of(content))
    assert own.site.has_blob("library/app", digest_of(content))


def test_content_put_on_its_disk_is_found_and_withdrawn(own: RunningSite) -> None:
    tagged, untagged = push(own.site, "library/app"), push(own.site, "library/app")
    own.site.put_manifest("library/app", "v1", tagged)
    root = own.data / "docker/registry/v2/repositories" if own.kind == "distribution" else own.data
    own.stop()
    shutil.copytree(root / "library/app", root / "evil/twin")
    own.start()
    withdrawer = Withdrawer(own.site, MemoryJournal(), MemoryJournal())
    expected = Footprint(frozenset({tagged.digest}), {"v1": tagged.digest})
    found = withdrawer.sweep({"library/app": expected})
    assert {(one.repository, one.reference) for one in found} == {
        ("library/app", untagged.digest),
        ("evil/twin", "v1"),
        ("evil/twin", tagged.digest),
        ("evil/twin", untagged.digest),
    }
    own.open()
    assert own.pull("library/app", "v1") == (200, tagged.raw)
    assert own.pull("library/app", untagged.digest)[0] == 404
    assert {own.pull("evil/twin", one)[0] for one in ("v1", tagged.digest, untagged.digest)} == {404}
    assert withdrawer.sweep({"library/app": expected}) == []


def test_its_secret_changes_with_every_start_and_is_on_no_disk(own: RunningSite) -> None:
    run = own.directory / own.kind / "run"
    first = (run / "htpasswd").read_bytes()
    assert first.count(b"$2b$04$") == 1
    assert (run / "htpasswd").stat().st_mode & 0o077 == 0
    own.stop()
    own.start()
    assert (run / "htpasswd").read_bytes() != first


def test_a_stopped_registry_leaves_no_process(own: RunningSite) -> None:
    own.open()
    running = children(own)
    own.stop()
    assert running
    assert not any(child.is_running() for child in running)


def test_a_taken_port_is_an_error_with_the_program_s_own_words(own: RunningSite, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listener = Listener(port=taken.getsockname()[1])
        other = supervised(own.kind, tmp_path / "other", listener)
        with running_site(other, tmp_path / "other") as site:
            with pytest.raises(FleetError) as caught:
                site.open()
            assert caught.value.reason == "REGISTRY_UNREACHABLE"
            assert "address already in use" in caught.value.detail


_STARTER = """
import asyncio, sys
from pathlib import Path
from tests.contract.registry.conftest import supervised
async def main():
    registry = supervised(sys.argv[1], Path(sys.argv[2]))
    await registry.start_private()
    await registry.open_public()
    print("up", flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


@pytest.mark.parametrize("kind", OURS)
def test_it_dies_with_a_satellite_that_is_killed_with_9(kind: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _STARTER, kind, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as starter:
        assert starter.stdout
        assert starter.stdout.readline() == b"up\n"
        files = list((tmp_path / kind / "run").glob("*.pid"))
        running = [psutil.Process(int(path.read_text().split()[0])) for path in files]
        assert running
        starter.send_signal(signal.SIGKILL)
    eventually(lambda: not any(_lives(child) for child in running), "the children are gone")


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.needs_netns
@pytest.mark.parametrize("kind", OURS)
def test_a_full_disk_is_named_and_a_small_image_still_fits(kind: str, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", disk], check=True)
    try:
        with running_site(supervised(kind, disk), disk) as site:
            upload = site.site.append(site.site.begin("library/app"), memoryview(bytes(12 * 1024 * 1024)))
            with pytest.raises(FleetError) as caught:
                site.site.append(upload, memoryview(bytes(8 * 1024 * 1024)))
            assert caught.value.reason == "REGISTRY_FULL"
            site.site.cancel(upload)
            site.stop()  # both hold on to the space of a dropped upload until Go's garbage collector runs
            site.start()
            push(site.site, "library/small")
    finally:
        subprocess.run(["umount", disk], check=True)
