"""The peers: programs that copy images, each used as its documentation says, to the same registry as ours.

Each reads its trust and the writer's secret from files beside the site's registry.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml

from tests.bench.costs import Cost, cost_of, sum_of
from tests.bench.ends import Name, Site, Source
from tests.rig.programs import find

Peer = Callable[[Source, Site, Sequence[Name]], Cost]
"""Copies images, and says what its processes cost."""


def crane_copy(source: Source, site: Site, names: Sequence[Name]) -> Cost:
    """Run `crane copy`, once for each image."""
    secret = base64.b64encode(f"{site.username}:{site.password}".encode()).decode()
    (site.directory / "config.json").write_text(json.dumps({"auths": {site.host: {"auth": secret}}}))
    environment = {"DOCKER_CONFIG": str(site.directory)}
    if source.tls:
        environment["SSL_CERT_FILE"] = str(source.tls.authority)
    commands = [("copy", f"{source.host}/{name}", f"{site.host}/{name}") for name in names]
    return sum_of(cost_of((_program("crane"), *command), environment) for command in commands)


def skopeo_copy(source: Source, site: Site, names: Sequence[Name]) -> Cost:
    """Run `skopeo copy`, once for each image; digests are kept, and indexes whole, as ours are."""
    trust = ("--src-cert-dir", str(source.tls.authority.parent)) if source.tls else ("--src-tls-verify=false",)
    place = ("--dest-tls-verify=false", "--dest-creds", f"{site.username}:{site.password}")
    commands = [(f"docker://{source.host}/{name}", f"docker://{site.host}/{name}") for name in names]
    options = ("copy", "--quiet", "--all", "--preserve-digests", *trust, *place)
    return sum_of(cost_of((_program("skopeo"), *options, *command)) for command in commands)


def skopeo_sync(source: Source, site: Site, names: Sequence[Name]) -> Cost:
    """Run `skopeo sync` with a list of images."""
    trust = {"tls-verify": bool(source.tls), "images": _tags(names)}
    if source.tls:
        trust["cert-dir"] = str(source.tls.authority.parent)
    listed = _written(site.directory / "skopeo.yml", {source.host: trust})
    place = ("--dest-tls-verify=false", "--dest-creds", f"{site.username}:{site.password}")
    options = ("--src", "yaml", "--dest", "docker", "--all", "--preserve-digests", *place)
    return cost_of((_program("skopeo"), "sync", *options, listed, site.host))


def regctl_copy(source: Source, site: Site, names: Sequence[Name]) -> Cost:
    """Run `regctl image copy`, once for each image."""
    hosts = {host["registry"]: {**host, "pass": host.get("pass", "")} for host in _hosts(source, site)}
    (site.directory / "regctl.json").write_text(json.dumps({"hosts": hosts}))
    environment = {"REGCTL_CONFIG": str(site.directory / "regctl.json")}
    commands = [("image", "copy", f"{source.host}/{name}", f"{site.host}/{name}") for name in names]
    return sum_of(cost_of((_program("regctl"), *command), environment) for command in commands)


def regsync_once(source: Source, site: Site, names: Sequence[Name]) -> Cost:
    """Run `regsync once` with a list of images."""
    steps = [{"source": f"{source.host}/{name}", "target": f"{site.host}/{name}", "type": "image"} for name in names]
    settings = {"version": 1, "creds": _hosts(source, site), "sync": steps}
    return cost_of((_program("regsync"), "-c", _written(site.directory / "regsync.yml", settings), "once"))


def _program(name: str) -> str:
    return str(find(name))


def _tags(names: Sequence[Name]) -> dict[str, list[str]]:
    return {one.repository: [name.tag for name in names if name.repository == one.repository] for one in names}


def _hosts(source: Source, site: Site) -> list[dict[str, str]]:
    """Write both registries as regclient's programs want them."""
    trust = {"tls": "enabled", "regcert": source.tls.authority.read_text()} if source.tls else {"tls": "disabled"}
    writer = {"user": site.username, "pass": site.password, "tls": "disabled"}
    return [{"registry": source.host, **trust}, {"registry": site.host, **writer}]


def _written(path: Path, settings: object) -> Path:
    path.write_text(yaml.safe_dump(settings))
    return path


PEERS: dict[str, Peer] = {
    "crane copy": crane_copy,
    "skopeo copy": skopeo_copy,
    "regctl image copy": regctl_copy,
    "skopeo sync": skopeo_sync,
    "regsync once": regsync_once,
}


def at_hand(names: Sequence[str]) -> dict[str, Peer]:
    """Pick peers, less those whose programs are not here."""
    return {name: PEERS[name] for name in names if find(name.split()[0])}
