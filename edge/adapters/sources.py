"""Upstream registries as desired state describes them: opened once, replaced when the description changes.

Plain http is spoken only to what the site's own configuration names. Credentials come from whoever issues them, and
stay in memory.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from edge.adapters.mirrors import Mirrored
from edge.adapters.oci.client import Client
from edge.adapters.oci.endpoint import parse_endpoint
from edge.adapters.oci.failures import SOURCE
from edge.adapters.oci.proxy import Proxies
from edge.adapters.oci.upstream import OciUpstream
from edge.app.ports import Credential, Upstream
from fleet import resources
from fleet.errors import FleetError, Kind

Issue = Callable[[str, Credential | None], Credential | None]
"""`source name, the credential that it has just refused → credential`, asked from threads; None for anonymous."""


class SourceRegistries:
    """Implements `edge.app.execute.Sources`; usable from many threads.

    Args:
        issue: asks for a source's credential.
        plain_hosts: `host[:port]` that may be spoken to over plain http.
        proxies: through which they are reached.
    """

    def __init__(
        self, issue: Issue, *, plain_hosts: frozenset[str] = frozenset(), proxies: Proxies | None = None
    ) -> None:
        self._issue = issue
        self._plain_hosts = plain_hosts
        self._proxies = proxies or Proxies()
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
        upstreams = [OciUpstream(self._client(name, source, address)) for address in addresses]
        return Mirrored(upstreams) if source.mirrors else upstreams[0]

    def _client(self, name: str, source: resources.Source, address: str) -> Client:
        bare = address.partition("://")[2] or address
        plain = source.plain_http and (bare in self._plain_hosts or bare.rpartition(":")[0] in self._plain_hosts)
        if source.plain_http and not plain:
            text = "the source wants plain http, which this site does not allow: start it with --allow-plain-http HOST"
            raise FleetError(Kind.MALFORMED, "PLAINTEXT_REFUSED", text, subject=bare)
        endpoint = parse_endpoint(address, ca_pem=source.ca_pem, plaintext=plain)
        # The credential is the address's own: a mirror is asked without it.
        if not source.needs_credential or address != source.address:
            return Client(endpoint, voice=SOURCE, proxies=self._proxies)
        return Client(
            endpoint,
            voice=SOURCE,
            credential=lambda _repository: self._issue(name, None),
            renewed=lambda refused: self._issue(name, refused),
            proxies=self._proxies,
        )
