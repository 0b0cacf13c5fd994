"""Zot as the site's registry: one process, first on a private port, then on the public one.

Zot tells readers from writers, but has one listener. It starts in 50 ms (measured), so it is started on a
loopback port that knows nobody but the writer, and started anew on the public port when what must not be served
is gone. Reloading its rules while it runs would leave a moment in which a port is open that should not be.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from edge.adapters.oci.endpoint import origin_of
from edge.adapters.oci.near import NearClient
from edge.adapters.oci.site import OciSite
from edge.adapters.registry.child import Child, Program
from edge.adapters.registry.listener import Listener
from edge.adapters.registry.readiness import answers
from edge.adapters.registry.secret import WRITER, new_writer, write_htpasswd
from edge.adapters.registry.shelf import ZotShelf
from edge.app.ports import Capabilities, Credential, Gc, SiteRegistry
from fleet.errors import FleetError, Kind

# By default Zot cuts whatever takes longer than a minute: a large layer pulled over a slow local network.
_WHOLE_REQUEST = "6h"

CAPABILITIES = Capabilities(
    referrers=True,
    sparse_index=False,
    child_blobs=True,
    keeps_untagged=False,
    keeps_cut_uploads=False,
    takes_whole=True,
    checks_digests=True,
    gc=Gc.ONLINE,
    sole_writer=True,
)


class ZotRegistry:
    """Implements `edge.app.ports.SupervisedRegistry`.

    Args:
        program: the `zot` program.
        directory: ours alone; `data` below it is the storage, `run` what a start needs.
        listener: where it listens once it is public.
        why: why it is this registry.
    """

    kind = "zot"

    def __init__(self, program: Path, directory: Path, listener: Listener, *, why: str = "") -> None:
        self._program = program
        self._directory = directory
        self._listener = listener
        self._writer: Credential | None = None
        self._child: Child | None = None
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
        """Start it on a loopback port of the kernel's choice, for the writer alone."""
        for directory in (self._directory, self._directory / "data", self._directory / "run"):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._writer = new_writer()
        write_htpasswd(self._directory / "run" / "htpasswd", self._writer)
        await self._serve(Listener(), readers=[])

    async def open_public(self) -> None:
        """Start it anew where workloads pull, who may read."""
        if self._child:
            await self._child.stop()
        self.public_url = await self._serve(self._listener, readers=["read"])

    async def stop(self) -> None:
        """Stop it."""
        self.public_url = ""
        if self._child:
            await self._child.stop()
        if self._site:
            self._site.close()
        self._child = self._site = None

    async def _serve(self, listener: Listener, *, readers: list[str]) -> str:
        path = self._directory / "run" / "zot.json"

        def configure(port: int) -> None:
            path.touch(mode=0o600)
            there = Listener(listener.host, listener.port or port)
            path.write_text(json.dumps(self._configuration(there, readers), indent=1))

        command = (str(self._program), "serve", str(path))
        program = Program("zot", command, self._directory / "run", configure)
        self._child = Child(program, partial(self._answers, listener))
        port = await self._child.start()
        url = Listener(listener.host, port).local_url
        client = NearClient(origin_of(url), self._writer)
        shelf = ZotShelf(self._directory / "data")
        if self._site is None:
            self._site = OciSite(client, CAPABILITIES, shelf)
        else:
            self._site.move_to(client)
        return url

    async def _answers(self, listener: Listener, port: int) -> bool:
        return await answers(origin_of(Listener(listener.host, port).local_url), self._writer)

    def _configuration(self, listener: Listener, readers: list[str]) -> dict[str, Any]:
        run = self._directory / "run"
        everything = ["read", "create", "update", "delete"]
        rules: dict[str, Any] = {"policies": [{"users": [WRITER], "actions": everything}]}
        if readers:
            rules["anonymousPolicy"] = readers
        # Zot removes blobs that no manifest names yet after an hour unless told otherwise: on a slow link an
        # image takes longer than that to arrive. What goes is for us to say, so nothing else is removed by itself.
        keep = {"repositories": ["**"], "deleteReferrers": False, "deleteUntagged": False}
        return {
            "distSpecVersion": "1.1.1",
            "storage": {
                "rootDirectory": str(self._directory / "data"),
                "gc": True,
                "gcDelay": "168h",
                "gcInterval": "24h",
                "retention": {"policies": [keep]},
            },
            "http": {
                "address": listener.host,
                "port": str(listener.port),
                "readTimeout": _WHOLE_REQUEST,
                "writeTimeout": _WHOLE_REQUEST,
                "compat": ["docker2s2"],
                "auth": {"htpasswd": {"path": str(run / "htpasswd")}},
                "accessControl": {"repositories": {"**": rules}},
            },
            "log": {"level": "info"},
        }
