"""HTTP to one registry: keep-alive connections for threads, authentication, redirects without secrets.

HTTP/1.1 on purpose: over TLS it takes half of the CPU of the alternatives (measured).
"""

from __future__ import annotations

import re
import ssl
import threading
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from edge.adapters.oci.auth import Authenticator, CredentialFor, Renewed, TokenAnswer
from edge.adapters.oci.connections import Connections
from edge.adapters.oci.endpoint import Endpoint, origin_of
from edge.adapters.oci.exchange import (
    AGENT,
    Answer,
    BrokenError,
    ByProxyError,
    ExchangeError,
    Request,
    UntrustedError,
    discard,
    read_at_most,
)
from edge.adapters.oci.failures import Voice, proxy_refused, proxy_unreachable
from edge.adapters.oci.proxy import Proxies, Proxy
from edge.app.ports import Credential
from fleet.errors import FleetError

if TYPE_CHECKING:
    from edge.adapters.oci.foreign import ForeignPools

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_HOPS = 5
_ANSWERS = 2
"""Challenges of one request that are answered: one when what let us in ran out, one when it was replaced."""
_TOKEN_BODY = 64 * 1024
_PROXY_AUTHENTICATION = 407


_DIRECTLY = Proxies()
_TUNNEL = re.compile(r"Tunnel connection failed: ([0-9]{3})")
"""How the standard library tells what a proxy answered to CONNECT."""


def anonymous(repository: str) -> Credential | None:  # noqa: ARG001 -- implements CredentialFor
    """Have no credential for any repository."""
    return None


class Client:
    """Speaks to one registry from many threads; close it to drop its connections.

    Args:
        endpoint: where it is.
        credential: asked when the registry wants one.
        renewed: asked when the registry refuses one.
        voice: how its failures are called.
        proxies: through which the registry, its token realm and its blob stores are reached.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        voice: Voice,
        credential: CredentialFor = anonymous,
        renewed: Renewed = lambda refused: refused,
        proxies: Proxies = _DIRECTLY,
    ) -> None:
        self.origin = endpoint.origin
        self.voice = voice
        self._endpoint = endpoint
        self._proxies = proxies
        self._made: dict[tuple[bool, Proxy | None], ForeignPools] = {}
        self._own: Connections | None = None
        self._making = threading.Lock()
        self._auth = Authenticator(endpoint.origin, credential, self._fetch_token, voice=voice, renewed=renewed)

    def close(self) -> None:
        """Drop every connection."""
        with self._making:
            for pools in self._made.values():
                pools.clear()
            if self._own:
                self._own.close()

    def _pools(self, *, is_own: bool, proxy: Proxy | None) -> ForeignPools:
        """Find the connections for a place; made when first used: the public authorities take 20 ms and megabytes."""
        from edge.adapters.oci.foreign import ForeignPools  # noqa: PLC0415 - most never need it: 4 MB

        with self._making:
            found = self._made.get((is_own, proxy))
            if found is None:
                context = self._own_context() if is_own else self._endpoint.foreign_context()
                found = self._made[is_own, proxy] = ForeignPools(context, proxy)
            return found

    def _own_context(self) -> ssl.SSLContext | None:
        return self._endpoint.own_context() if self.origin.scheme == "https" else None

    def _directly(self) -> Connections:
        """Find the connections to the registry itself, without a proxy."""
        with self._making:
            if self._own is None:
                self._own = Connections(self.origin, self._own_context())
            return self._own

    def send(self, request: Request) -> Answer:
        """Send a request and return the answer with its body unread, authenticated if need be.

        Raises:
            FleetError: as the voice calls it, where there is no answer or no way in.
        """
        url = urljoin(self.origin.url, request.path)
        sent = self._authorization(request)
        response, is_own = self._exchange(request, url, sent)
        for _ in range(_ANSWERS):
            # Whoever the registry redirects to must not name the realm that gets the registry's password.
            if response.status != 401 or not is_own:  # noqa: PLR2004 -- Unauthorized
                break
            challenges = response.headers.getlist("WWW-Authenticate")
            discard(response)
            sent = self._auth.answer(challenges, request.repository, request.actions, refused=sent)
            if not request.is_repeatable:
                raise self.voice.failed(self.origin.host, "what let us in ran out while a request was on its way")
            response, is_own = self._exchange(request, url, sent)
        return response

    def _authorization(self, request: Request) -> str | None:
        """Say what to send; for a body that can be sent only once, what lets us in is fetched before."""
        known = self._auth.header(request.repository, request.actions)
        if known is None and not request.is_repeatable:
            discard(self.send(Request("GET", request.path, request.repository, request.actions)))
            known = self._auth.header(request.repository, request.actions)
        return known

    def _exchange(self, request: Request, url: str, authorization: str | None) -> tuple[Answer, bool]:
        """Send and follow redirects: `→ the answer, and whether it is the registry's own`."""
        headers = {**AGENT, **(request.headers or {})}
        for _ in range(_MAX_HOPS):
            own = origin_of(url) == self.origin
            secret = {"Authorization": authorization} if own and authorization else {}
            response = self._once(request, url, {**headers, **secret})
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or not location or request.method not in {"GET", "HEAD"}:
                return response, own
            discard(response)
            url = self._follow(url, location)
        raise self.voice.redirects(self.origin.host, f"more than {_MAX_HOPS} redirects")

    def _follow(self, url: str, location: str) -> str:
        target = urljoin(url, location)
        try:
            scheme = origin_of(target).scheme
        except FleetError as error:
            raise self.voice.redirects(self.origin.host, "it redirects to no address") from error
        if self.origin.scheme == "https" and scheme != "https":
            raise self.voice.redirects(self.origin.host, "it redirects from https to plain http")
        return target

    def _once(self, request: Request, url: str, headers: dict[str, str]) -> Answer:
        origin = origin_of(url)
        proxy = self._proxies.towards(origin)
        is_own = origin == self.origin
        # A connection that the other side has just closed for idleness fails at once and harms nobody, where
        # the method may be repeated.
        attempts = 2 if request.method in {"GET", "HEAD", "DELETE"} else 1
        while True:
            attempts -= 1
            try:
                response = self._sent(request, url, headers, is_own=is_own, proxy=proxy)
            except ByProxyError as error:
                raise self._by_proxy(str(error)) from error
            except UntrustedError as error:
                raise self.voice.untrusted(self.origin.host, str(error)) from error
            except BrokenError as error:
                if not attempts:
                    raise self.voice.unreachable(self.origin.host, str(error)) from error
            except ExchangeError as error:
                raise self.voice.unreachable(self.origin.host, str(error)) from error
            else:
                if proxy and response.status == _PROXY_AUTHENTICATION:
                    discard(response)
                    raise proxy_refused(self.origin.host, "it wants another user and password")
                return response

    def _sent(
        self, request: Request, url: str, headers: dict[str, str], *, is_own: bool, proxy: Proxy | None
    ) -> Answer:
        if is_own and proxy is None:
            parts = urlsplit(url)
            path = f"{parts.path}?{parts.query}" if parts.query else parts.path
            return self._directly().request(request.method, path, body=request.body, headers=headers)
        pools = self._pools(is_own=is_own, proxy=proxy)
        return pools.request(request.method, url, body=request.body, headers=headers)

    def _by_proxy(self, words: str) -> FleetError:
        """Tell a proxy that is away from one that refuses, and both from a source that it cannot reach."""
        answered = _TUNNEL.search(words)
        if not answered:
            return proxy_unreachable(self.origin.host, words)
        if int(answered[1]) in {401, 403, _PROXY_AUTHENTICATION}:
            return proxy_refused(self.origin.host, words)
        return self.voice.unreachable(self.origin.host, f"the proxy says: {words}")

    def _fetch_token(self, url: str, headers: dict[str, str]) -> TokenAnswer:
        response = self._once(Request("GET", "", ""), url, {**AGENT, **headers})
        try:
            body = read_at_most(response, _TOKEN_BODY)
            return TokenAnswer(response.status, body, response.headers.get("Retry-After"))
        finally:
            discard(response)
