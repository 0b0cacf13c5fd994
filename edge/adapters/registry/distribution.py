"""CNCF Distribution as the site's registry: two processes on one directory.

Distribution has one access rule for reading and writing, so a private process (loopback, a secret per start)
writes and a public one, read-only, serves. Neither is given a descriptor cache: the public one must not go on
serving from memory what the private one has deleted.
"""

from __future__ import annotations

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any

from edge.adapters.oci.endpoint import Origin, origin_of
from edge.adapters.oci.near import NearClient
from edge.adapters.oci.site import OciSite
from edge.adapters.registry.child import Child, Program
from edge.adapters.registry.listener import LOOPBACK, Listener
from edge.adapters.registry.readiness import answers
from edge.adapters.registry.secret import new_writer, write_htpasswd
from edge.adapters.registry.shelf import DistributionShelf
from edge.app.ports import Capabilities, Credential, Gc, SiteRegistry
from fleet.errors import FleetError, Kind

CAPABILITIES = Capabilities(
    referrers=False,
    sparse_index=True,
    child_blobs=False,
    keeps_untagged=True,
    keeps_cut_uploads=True,
    takes_whole=False,
    checks_digests=True,
    gc=Gc.EXCLUSIVE,
    sole_writer=True,
)


class DistributionRegistry:
    """Implements `edge.app.ports.SupervisedRegistry`.

    Args:
        program: the `registry` program.
        directory: ours alone; `data` below it is the storage, `run` what a start needs.
        listener: where the public process listens.
        why: why it is this registry.
    """

    kind = "distribution"

    def __init__(self, program: Path, directory: Path, listener: Listener, *, why: str = "") -> None:
        self._program = program
        self._directory = directory
        self._listener = listener
        self._writer_port = 0
        self._writer: Child | None = None
        self._public: Child | None = None
        self._site: OciSite | None = None
        self.public_url = ""
        self.why = why

    @property
    def site(self) -> SiteRegistry:
        """The writer's door."""
        if self._site is None:
            raise FleetError(Kind.PRECONDITION, "REGISTRY_STOPPED", "the site's registry is not running")
        return self._site

    async def start_private(self) -> None:
        """Start the writing process on a loopback port of the kernel's choice."""
        data, run = self._directory / "data", self._directory / "run"
        for directory in (self._directory, data, run):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        writer = new_writer()
        write_htpasswd(run / "htpasswd", writer)
        access = {"htpasswd": {"realm": "site", "path": str(run / "htpasswd")}}
        self._writer = self._child("writer", Listener(), {"auth": access}, writer)
        port = await self._writer.start()
        client = NearClient(Origin("http", LOOPBACK, port), writer)
        self._site = OciSite(client, CAPABILITIES, DistributionShelf(data))

    async def open_public(self) -> None:
        """Start the serving process."""
        self._public = self._child("public", self._listener, {})
        port = await self._public.start()
        self.public_url = Listener(self._listener.host, port).local_url

    async def stop(self) -> None:
        """Stop both, the serving one first."""
        self.public_url = ""
        for child in (self._public, self._writer):
            if child:
                await child.stop()
        if self._site:
            self._site.close()
        self._public = self._writer = self._site = None

    def _child(self, name: str, listener: Listener, rest: dict[str, Any], writer: Credential | None = None) -> Child:
        path = self._directory / "run" / f"{name}.yml"

        def configure(port: int) -> None:
            path.touch(mode=0o600)
            there = Listener(listener.host, listener.port or port)
            # JSON is YAML, and needs no library that a satellite would hold in memory for years: 1 MB.
            path.write_text(json.dumps({**self._configuration(there, readonly=writer is None), **rest}))

        program = Program(
            name,
            (str(self._program), "serve", str(path)),
            self._directory / "run",
            configure,
            {"OTEL_TRACES_EXPORTER": "none"},
        )
        return Child(program, partial(_answers, listener, writer))

    def _configuration(self, listener: Listener, *, readonly: bool) -> dict[str, Any]:
        data = str(self._directory / "data")
        # It signs the state of uploads, which the writer alone can send. The same at every start, so that an
        # upload which a crash interrupted goes on.
        upload_key = hashlib.sha256(json.dumps(["upload state", data]).encode()).hexdigest()
        return {
            "version": "0.1",
            "log": {"level": "info", "formatter": "json", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": data},
                "delete": {"enabled": not readonly},
                "maintenance": {
                    "readonly": {"enabled": readonly},
                    "uploadpurging": {"enabled": not readonly, "age": "168h", "interval": "24h", "dryrun": False},
                },
            },
            "http": {"addr": listener.authority, "secret": upload_key},
            # What was admitted is taken as it is: indexes of which not all is wanted, and layers that are elsewhere.
            "validation": {"manifests": {"indexes": {"platforms": "none"}, "urls": {"allow": ["^https?://"]}}},
        }


async def _answers(listener: Listener, writer: Credential | None, port: int) -> bool:
    return await answers(origin_of(Listener(listener.host, port).local_url), writer)
