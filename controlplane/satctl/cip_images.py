"""Images of a ClusterImagePolicy as images of this fleet: a registry's host there is a source's name here.

There a glob is matched with a whole reference, `host/repository:tag` or `host/repository@digest`; here with
`source/repository`. `*` stays within a segment and `**` does not, in both.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fleet.errors import FleetError, malformed
from fleet.policy_checks import check_glob
from fleet.reference import parse_repository
from fleet.v1 import fleet_pb2 as pb

DOCKER_HUB = "index.docker.io"
_HUB_NAMES = frozenset({DOCKER_HUB, "docker.io", "registry-1.docker.io"})
_SHORT = {"*": f"{DOCKER_HUB}/library/*", "*/*": f"{DOCKER_HUB}/*/*"}
"""What policy-controller takes these two for."""
_ANY_TAG = re.compile(r"(?::\*{1,2}|@\*{1,2}|@sha256:\*{1,2})\Z")


@dataclass(frozen=True, slots=True)
class Sources:
    """The fleet's sources by their registry's host."""

    names: tuple[tuple[str, str], ...]
    """(host, name) of each."""

    @classmethod
    def of(cls, sources: Sequence[pb.Source]) -> Sources:
        """Read them."""
        return cls(tuple((_host(source.spec.address), source.name) for source in sources))

    def globs(self, glob: str) -> list[str]:
        """Translate a glob: `ghcr.io/acme/* → ["hub/acme/*"]`, one for each source at that host.

        Raises:
            FleetError: MALFORMED `IMAGE_MALFORMED`, `SOURCE_UNKNOWN`.
        """
        glob = _SHORT.get(glob, glob)
        path = _ANY_TAG.sub("", glob)
        host, slash, rest = path.partition("/")
        if path == "**" or (host == "**" and slash):
            return [check_glob(path)]
        if not slash or ("**" in host) or not _is_host(host):
            text = "a glob begins with a registry's host and a slash: ghcr.io/acme/**, index.docker.io/library/nginx"
            raise malformed("IMAGE_MALFORMED", text, subject=glob[:80])
        if ":" in rest or "@" in rest:
            text = "policies match repositories, not tags or digests: leave it out, or end in :**"
            raise malformed("IMAGE_MALFORMED", text, subject=glob[:80])
        return [check_glob(f"{name}/{rest}") for name in self._at(host)]

    def _at(self, host: str) -> list[str]:
        pattern = re.compile("[^/]*".join(map(re.escape, _host(host).split("*"))) + r"\Z")
        found = [name for held, name in self.names if pattern.match(held)]
        if not found:
            raise _unknown(host)
        return found

    def repository(self, oci: str, used: set[str]) -> str:
        """Translate the place of signatures: `ghcr.io/acme/signatures → acme/signatures`, at the images' own source.

        Raises:
            FleetError: MALFORMED `SOURCE_UNKNOWN`, `SIGNATURES_ELSEWHERE`, `REPOSITORY_MALFORMED`.
        """
        host, _, path = oci.partition("/")
        there = {name for held, name in self.names if held == _host(host)}
        if not there:
            raise _unknown(host)
        if not used <= there:
            text = (
                "signatures lie at the artifact's own source here: copy them there, or name images of that host alone"
            )
            raise malformed("SIGNATURES_ELSEWHERE", text, subject=oci[:80])
        return parse_repository(path)


def _host(address: str) -> str:
    return DOCKER_HUB if address in _HUB_NAMES else address


def _is_host(text: str) -> bool:
    return "." in text or ":" in text or text == "localhost" or "*" in text


def _unknown(host: str) -> FleetError:
    text = f"no source has this registry's address: `satctl source create NAME --address {host}` makes one"
    return malformed("SOURCE_UNKNOWN", text, subject=host[:80])
