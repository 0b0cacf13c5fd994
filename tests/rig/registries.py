"""Real registries for tests: a central one to pull from, and the sites' own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import bcrypt
import urllib3
import yaml

from edge.adapters.oci.client import Client
from edge.adapters.oci.descriptors import ACCEPT
from edge.adapters.oci.endpoint import parse_endpoint
from edge.adapters.oci.failures import SOURCE
from edge.adapters.oci.upstream import OciUpstream
from edge.app.ports import Credential, SiteRegistry, SupervisedRegistry
from edge.domain.content import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, RawManifest, raw_manifest
from fleet.reference import Digest, digest_of
from tests.rig import programs
from tests.rig.ports import keep_port

T = TypeVar("T")

DEADLINE_S = 20.0
_LISTENING = re.compile(r"listening on \S*?:(\d{1,5})\b")


@dataclass
class Central:
    """A registry that is seeded and pulled from; `url` is plain http on loopback."""

    url: str
    directory: Path
    login: Credential | None = None
    http: urllib3.PoolManager = field(default_factory=lambda: urllib3.PoolManager(retries=False))

    @property
    def host(self) -> str:
        """`host:port`, as image references have it."""
        return self.url.removeprefix("http://")

    def upstream(self, credential: Credential | None = None) -> OciUpstream:
        """A reader, with the registry's own login unless told otherwise."""
        return OciUpstream(self.client(credential))

    def client(self, credential: Credential | None = None) -> Client:
        known = credential or self.login
        return Client(parse_endpoint(self.url, plaintext=True), voice=SOURCE, credential=lambda _: known)

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> urllib3.BaseHTTPResponse:
        """One request as the owner of this registry."""
        url = path if path.startswith("http") else self.url + path
        if self.login:
            token = f"{self.login.username}:{self.login.password}"
            headers |= urllib3.make_headers(basic_auth=token)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.request(method, url, body=body, headers=named)

    def push_blob(self, repository: str, content: bytes) -> Digest:
        digest = digest_of(content)
        opened = self.request("POST", f"/v2/{repository}/blobs/uploads/")
        location = opened.headers["Location"]
        joint = "&" if "?" in location else "?"
        put = self.request("PUT", f"{location}{joint}digest={digest}", content, Content_Type="application/octet-stream")
        assert put.status == 201, (put.status, put.data[:300])
        return digest

    def push_manifest(self, repository: str, manifest: RawManifest, *tags: str) -> None:
        for reference in (manifest.digest, *tags):
            put = self.request(
                "PUT", f"/v2/{repository}/manifests/{reference}", manifest.raw, Content_Type=manifest.media_type
            )
            assert put.status == 201, (put.status, put.data[:500])

    def push_image(
        self,
        repository: str,
        *tags: str,
        layers: tuple[bytes, ...] = (),
        docker: bool = False,
        architecture: str = "amd64",
    ) -> RawManifest:
        """Push an image, of random content unless given some: `→ its manifest`."""
        contents = layers or (os.urandom(2000),)
        words = {"architecture": architecture, "os": "linux", "author": os.urandom(8).hex()}
        config = json.dumps(words).encode()
        for content in (config, *contents):
            self.push_blob(repository, content)
        manifest = image_manifest(config, contents, docker=docker)
        self.push_manifest(repository, manifest, *tags)
        return manifest

    def push_index(self, repository: str, *tags: str, children: dict[str, RawManifest]) -> RawManifest:
        """Push an index over images that are there: `architecture → manifest`."""
        index = index_manifest(children)
        self.push_manifest(repository, index, *tags)
        return index

    def asked(self) -> Counter[str]:
        """Count the requests that it has answered, by repository."""
        lines = (self.directory / "log").read_bytes().splitlines()
        answered = (json.loads(line) for line in lines if b'"msg":"response completed' in line)
        return Counter(line.get("vars.name", "") for line in answered)

    def take(self, login: Credential) -> None:
        """Take another login from now on, in place of the former one."""
        _write_htpasswd(self.directory, login)
        self.login = login

    def blob_file(self, digest: Digest) -> Path:
        """Where the registry keeps a blob: for damage."""
        name = digest.removeprefix("sha256:")
        return self.directory / "data/docker/registry/v2/blobs/sha256" / name[:2] / name / "data"


def image_manifest(config: bytes, layers: tuple[bytes, ...], *, docker: bool = False) -> RawManifest:
    """Write the manifest of an image; odd white space on purpose, since bytes are never rewritten."""
    if docker:
        kinds = (
            DOCKER_MANIFEST,
            "application/vnd.docker.container.image.v1+json",
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
        )
    else:
        kinds = (OCI_MANIFEST, "application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar")
    manifest = {
        "schemaVersion": 2,
        "mediaType": kinds[0],
        "config": {"mediaType": kinds[1], "digest": digest_of(config), "size": len(config)},
        "layers": [{"mediaType": kinds[2], "digest": digest_of(one), "size": len(one)} for one in layers],
    }
    return raw_manifest(json.dumps(manifest, indent=5).encode() + b"\n", kinds[0])


def index_manifest(children: dict[str, RawManifest]) -> RawManifest:
    """Write the index over images, by architecture."""
    entries = [
        {
            "mediaType": child.media_type,
            "digest": child.digest,
            "size": len(child.raw),
            "platform": {"os": "linux", "architecture": architecture},
        }
        for architecture, child in children.items()
    ]
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    return raw_manifest(json.dumps(index, indent=3).encode(), OCI_INDEX)


@contextmanager
def running_central(
    directory: Path, *, login: Credential | None = None, port: int = 0, auth: Mapping[str, object] | None = None
) -> Iterator[Central]:
    """Run a Distribution of its own on `directory`, with htpasswd or `auth` where there is a login."""
    program = programs.find("registry")
    assert program is not None, "the registry program is missing: make tools"
    directory.mkdir(parents=True, exist_ok=True)
    configuration: dict[str, object] = {
        "version": "0.1",
        "log": {"level": "info", "accesslog": {"disabled": True}, "formatter": "json"},
        "storage": {"filesystem": {"rootdirectory": str(directory / "data")}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{port or keep_port()}", "secret": "central"},
        "validation": {"manifests": {"indexes": {"platforms": "none"}, "urls": {"allow": ["^https://"]}}},
    }
    if auth:
        configuration["auth"] = auth
    elif login:
        _write_htpasswd(directory, login)
        configuration["auth"] = {"htpasswd": {"realm": "central", "path": str(directory / "htpasswd")}}
    (directory / "config.yml").write_text(yaml.safe_dump(configuration))
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "serve", directory / "config.yml"],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OTEL_TRACES_EXPORTER": "none"},
        )
        try:
            found = await_line(directory / "log", _LISTENING, process)
            central = Central(f"http://127.0.0.1:{found}", directory, login)
            yield central
            central.http.clear()
        finally:
            process.kill()
            process.wait()


def _write_htpasswd(directory: Path, login: Credential) -> None:
    hashed = bcrypt.hashpw(login.password.encode(), bcrypt.gensalt(4)).decode()
    (directory / "htpasswd").write_text(f"{login.username}:{hashed}\n")


def await_line(path: Path, pattern: re.Pattern[str], process: subprocess.Popen[bytes]) -> str:
    """Wait until a program has written a line, and return the pattern's first group."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline and process.poll() is None:
        if found := pattern.search(path.read_text(errors="replace")):
            return found[1]
        time.sleep(0.01)
    raise AssertionError(f"{path} says: {path.read_text(errors='replace')[-2000:]}")


class EventLoopThread:
    """An event loop beside a synchronous test; children that it starts die with its thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="registries")
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@dataclass
class RunningSite:
    """A site's registry under test, with what a test does around it."""

    registry: SupervisedRegistry
    loop: EventLoopThread
    directory: Path
    """Where its content is, below `data` for a registry of ours."""
    http: urllib3.PoolManager = field(default_factory=lambda: urllib3.PoolManager(retries=False))
    owner: Credential | None = None
    """Who may read a registry of the user's own."""

    @property
    def site(self) -> SiteRegistry:
        return self.registry.site

    @property
    def kind(self) -> str:
        return self.registry.kind

    @property
    def data(self) -> Path:
        return self.directory / self.kind / "data"

    def open(self) -> None:
        self.loop.call(self.registry.open_public())

    def start(self) -> None:
        self.loop.call(self.registry.start_private())

    def stop(self) -> None:
        self.loop.call(self.registry.stop())

    def pull(self, repository: str, reference: str, *, kind: str = "manifests") -> tuple[int, bytes]:
        """Get a manifest or a blob as a workload does: `→ status and body`."""
        return self.ask("GET", f"/v2/{repository}/{kind}/{reference}")

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        """Send any request to the public listener, without the writer's secret."""
        named = {name.replace("_", "-"): value for name, value in headers.items()} or {"Accept": ACCEPT}
        if self.owner:
            named |= urllib3.make_headers(basic_auth=f"{self.owner.username}:{self.owner.password}")
        answer = self.http.request(method, self.registry.public_url + path, body=body, headers=named)
        return answer.status, answer.data

    def kill(self) -> None:
        """Kill every process of a registry of ours with -9; its supervisor starts it again."""
        for pid_file in (self.directory / self.kind / "run").glob("*.pid"):
            os.kill(int(pid_file.read_text().split()[0]), signal.SIGKILL)


@contextmanager
def running_site(registry: SupervisedRegistry, directory: Path) -> Iterator[RunningSite]:
    """Start a site's registry in private; the test opens it."""
    loop = EventLoopThread()
    try:
        site = RunningSite(registry, loop, directory)
        site.start()
        try:
            yield site
        finally:
            site.stop()
            site.http.clear()
    finally:
        loop.close()


def eventually(claim: Callable[[], bool], what: str) -> None:
    """Wait until a claim holds.

    Raises:
        AssertionError: it does not within the deadline.
    """
    deadline = time.monotonic() + DEADLINE_S
    while not claim():
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(0.02)
