"""Upstream registries as desired state describes them: opened once, replaced when the description changes.

Plain http is spoken only to what the site's own configuration names. Credentials come from whoever issues them, and
stay in memory.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import TypeVar

from edge.adapters.oci.client import Client
from edge.adapters.oci.endpoint import parse_endpoint
from edge.adapters.oci.failures import SOURCE
from edge.adapters.oci.upstream import OciUpstream
from edge.app.ports import Credential, Upstream
from edge.domain.content import Descriptor, RawManifest
from fleet import resources
from fleet.errors import FleetError, Kind
from fleet.reference import Digest

T = TypeVar("T")

Issue = Callable[[str], Credential | None]
"""`source name → credential`, asked from threads; None for anonymous."""


class SourceRegistries:
    """Implements `edge.app.execute.Sources`; usable from many threads.

    Args:
        issue: asks for a source's credential.
        plain_hosts: `host[:port]` that may be spoken to over plain http.
    """

    def __init__(self, issue: Issue, *, plain_hosts: frozenset[str] = frozenset()) -> None:
        self._issue = issue
        self._plain_hosts = plain_hosts
        self._open: dict[str, tuple[resources.Source, Upstream]] = {}
        self._lock = threading.Lock()

    def open(self, name: str, source: resources.Source) -> Upstream:
        """Connect to a source, reusing what is open."""
        with self._lock:
            known = self._open.get(name)
            if known is None or known[0] != source:
                known = self._open[name] = (source, self._connect(name, source))
            return known[1]

    def _connect(self, name: str, source: resources.Source) -> Upstream:
        addresses = (source.address, *source.mirrors)
        return _Mirrored(tuple(OciUpstream(self._client(name, source, address)) for address in addresses))

    def _client(self, name: str, source: resources.Source, address: str) -> Client:
        bare = address.partition("://")[2] or address
        plain = source.plain_http and (bare in self._plain_hosts or bare.rpartition(":")[0] in self._plain_hosts)
        if source.plain_http and not plain:
            text = "the source wants plain http, which this site does not allow: start it with --allow-plain-http HOST"
            raise FleetError(Kind.MALFORMED, "PLAINTEXT_REFUSED", text, subject=bare)
        endpoint = parse_endpoint(address, ca_pem=source.ca_pem, plaintext=plain)
        if not source.needs_credential:
            return Client(endpoint, voice=SOURCE)
        return Client(endpoint, voice=SOURCE, credential=lambda _repository: self._issue(name))


class _Mirrored:
    """A source and its mirrors as one: the next is asked where one does not answer. Digests keep all of them honest."""

    def __init__(self, upstreams: tuple[OciUpstream, ...]) -> None:
        self._upstreams = upstreams

    def manifest(self, repository: str, reference: str) -> RawManifest:
        return self._first(lambda upstream: upstream.manifest(repository, reference))

    def referrers(self, repository: str, digest: Digest) -> list[Descriptor]:
        return self._first(lambda upstream: upstream.referrers(repository, digest))

    def blob(self, repository: str, digest: Digest, *, offset: int = 0) -> AbstractContextManager[Iterator[bytes]]:
        def opened(upstream: OciUpstream) -> AbstractContextManager[Iterator[bytes]]:
            stack = ExitStack()
            chunks = stack.enter_context(upstream.blob(repository, digest, offset=offset))
            return _Entered(stack, chunks)

        return self._first(opened)

    def _first(self, ask: Callable[[OciUpstream], T]) -> T:
        *others, last = self._upstreams
        for upstream in others:
            try:
                return ask(upstream)
            except FleetError as error:
                if error.kind is not Kind.UNAVAILABLE:
                    raise
        return ask(last)


class _Entered(AbstractContextManager[Iterator[bytes]]):
    """A blob that answers already, so that the choice of a mirror is made before the first byte is used."""

    def __init__(self, stack: ExitStack, chunks: Iterator[bytes]) -> None:
        self._stack = stack
        self._chunks = chunks

    def __enter__(self) -> Iterator[bytes]:
        return self._chunks

    def __exit__(self, *raised: object) -> None:
        self._stack.close()
