"""urllib3's pools, for what takes its knowledge: proxies, and hosts that a registry redirects to."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import urllib3
from urllib3.exceptions import HTTPError, ProtocolError, ProxyError, SSLError
from urllib3.response import BaseHTTPResponse

from edge.adapters.oci.exchange import (
    CONNECT_S,
    READ_S,
    Answer,
    BrokenError,
    ByProxyError,
    ExchangeError,
    UntrustedError,
)
from edge.adapters.oci.proxy import Proxy

_CONNECTIONS = 8
"""How many are kept of each host: as many as there are threads."""
_TIMEOUT = urllib3.Timeout(connect=CONNECT_S, read=READ_S)


class ForeignPools:
    """Connections to any host, perhaps through a proxy; safe to use from many threads."""

    def __init__(self, context: ssl.SSLContext | None, proxy: Proxy | None) -> None:
        make: Callable[..., urllib3.PoolManager] = urllib3.PoolManager
        if proxy:
            headers = {"Proxy-Authorization": proxy.authorization} if proxy.authorization else {}
            make = partial(urllib3.ProxyManager, proxy.url, proxy_headers=headers)
        trust = {"ssl_context": context} if context else {}
        self._pools = make(maxsize=_CONNECTIONS, retries=False, timeout=_TIMEOUT, **trust)

    def request(
        self,
        method: str,
        url: str,
        *,
        body: bytes | memoryview | Iterator[bytes] | None,
        headers: Mapping[str, str],
    ) -> Answer:
        """Send a request and wait for the head of the answer.

        Raises:
            ExchangeError: as its kinds say.
        """
        with _translated():
            response = self._pools.request(
                method,
                url,
                body=cast("bytes | None", body),  # any buffer does; its stubs do not know
                headers=headers,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
        return _Received(response)

    def clear(self) -> None:
        """Drop every connection."""
        self._pools.clear()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except ProxyError as error:
        raise ByProxyError(str(error.original_error)) from error
    except SSLError as error:
        raise UntrustedError(str(error)) from error
    except ProtocolError as error:
        raise BrokenError(str(error)) from error
    except HTTPError as error:
        raise ExchangeError(str(error)) from error


class _Received:
    """Implements `Answer` over urllib3's."""

    def __init__(self, response: BaseHTTPResponse) -> None:
        self._response = response
        self.status = response.status

    @property
    def headers(self) -> Any:  # noqa: ANN401 -- as the protocol says
        """The header fields."""
        return self._response.headers

    @property
    def length_remaining(self) -> int | None:
        """Bytes of the body still to come, or None where nobody said."""
        return self._response.length_remaining

    def read(self, amt: int | None = None) -> bytes:
        """Read `amt` bytes, fewer at the end."""
        with _translated():
            return self._response.read(amt)

    def read1(self, amt: int | None = None) -> bytes:
        """Read what is there, `amt` bytes at the most."""
        with _translated():
            return self._response.read1(amt)

    def release_conn(self) -> None:
        """Give the connection back."""
        self._response.release_conn()

    def close(self) -> None:
        """Drop the connection."""
        self._response.close()
