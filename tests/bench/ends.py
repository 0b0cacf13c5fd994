"""Both ends of a copy: a source that counts what it is asked, and an empty registry of a site."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import psutil
import urllib3

from edge.adapters.oci.near import NearClient
from edge.adapters.oci.site import OciSite
from edge.adapters.registry.choose import choose_registry
from edge.adapters.registry.listener import Listener
from fleet.reference import Digest
from tests.rig.certificates import KeyAndCertificate, loopback_certificate
from tests.rig.distribution import distribution
from tests.rig.oci_layout import Client
from tests.rig.programs import find
from tests.rig.registries import running_site
from tests.rig.repository import Repository
from tests.rig.signer import Signer, sign_v3

_ANSWERED = b'"msg":"response completed'


@dataclass(frozen=True, slots=True, order=True)
class Name:
    """What an image is called at both ends."""

    repository: str
    tag: str = "1.0"

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag}"


@dataclass(frozen=True, slots=True)
class Source:
    """The registry that images come from, and who signed them."""

    url: str
    process: psutil.Process
    log: Path
    signer: Signer
    tls: KeyAndCertificate | None = None
    images: dict[Name, Digest] = field(default_factory=dict)

    @property
    def host(self) -> str:
        return self.url.partition("://")[2]

    def seen_at(self, url: str) -> Source:
        """See the same registry through a link that ends at another address."""
        return replace(self, url=url)

    def client(self) -> Client:
        """Speak to it as whoever filled it."""
        return Client(self.url, _pool=urllib3.PoolManager(ca_certs=str(self.tls.authority) if self.tls else None))

    def sent_bytes(self) -> int:
        """How much it has written in its life: what it sends to clients, less its log."""
        return int(self.process.io_counters().write_chars) - self.log.stat().st_size

    def requests(self) -> int:
        """How many requests it has answered in its life."""
        return self.log.read_bytes().count(_ANSWERED)


@dataclass(frozen=True, slots=True)
class Site:
    """An empty registry of a site, and its writer."""

    kind: str
    directory: Path
    url: str
    username: str = ""
    password: str = ""

    @property
    def host(self) -> str:
        return self.url.partition("://")[2]

    def client(self) -> Client:
        """Speak to it as its writer."""
        return Client(self.url, f"{self.username}:{self.password}" if self.username else "")

    def digest_of(self, name: Name) -> str:
        """Ask which image is there under a name; empty for none."""
        answer = self.client().send("GET", f"/v2/{name.repository}/manifests/{name.tag}", expect=(200, 404))
        return answer.headers.get("Docker-Content-Digest", "") if answer.status == 200 else ""


def kinds() -> list[str]:
    """List the kinds of registry at hand."""
    return [kind for kind, program in (("distribution", "registry"), ("zot", "zot")) if find(program)]


@contextmanager
def running_source(directory: Path, images: Mapping[Name, Repository], *, tls: bool = False) -> Iterator[Source]:
    """Run a registry that holds these images, each signed."""
    pair = loopback_certificate(directory / "tls") if tls else None
    ours = psutil.Process()
    before = set(ours.children())
    with distribution(directory, pair=pair) as url:
        (process,) = set(ours.children()) - before
        source = Source(url, process, directory / "registry.log", Signer(), pair)
        client = source.client()
        for name, image in images.items():
            root = image.tags[name.tag]
            sign_v3(image, root, source.signer)
            client.push(name.repository, image)
            source.images[name] = root
        yield source


@contextmanager
def empty_site(kind: str) -> Iterator[Site]:
    """Run an empty registry as a satellite runs it, before it opens to the public."""
    with tempfile.TemporaryDirectory(prefix="bench-site-") as scratch:
        directory = Path(scratch)
        with running_site(choose_registry(directory, Listener(), wanted=kind), directory) as running:
            client = cast("OciSite", running.site)._client
            secret = cast("NearClient", client)._headers["Authorization"].removeprefix("Basic ")
            username, _, password = base64.b64decode(secret).decode().partition(":")
            yield Site(kind, directory, client.origin.url, username, password)


def absent(source: Source, site: Site, names: Iterable[Name]) -> list[Name]:
    """List the images that are not at the site as they are at the source."""
    return [name for name in names if site.digest_of(name) != source.images[name]]
