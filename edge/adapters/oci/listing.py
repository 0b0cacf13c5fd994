"""Paged lists of names: the catalog and the tags of a repository."""

from __future__ import annotations

import json
import re
from urllib.parse import urljoin, urlsplit

from edge.adapters.oci.endpoint import origin_of
from edge.adapters.oci.exchange import Carrier, Request, discard, failure, read_at_most

_PAGE_LIMIT_BYTES = 4 * 1024 * 1024
_MAX_PAGES = 1000
_LINK = re.compile(r'<([^>]*)>\s*;[^,]*\brel="?next"?')


def next_page(client: Carrier, path: str, link: str) -> str | None:
    """Read a `Link` header: the path of the next page, or None where there is none.

    Raises:
        FleetError: UNAVAILABLE, where the page is at another host: a secret does not follow there.
    """
    found = _LINK.search(link)
    if not found:
        return None
    target = urljoin(client.origin.url + path, found[1])
    if origin_of(target) != client.origin:
        raise client.voice.unreachable(client.origin.host, "its next page is elsewhere")
    parts = urlsplit(target)
    return f"{parts.path}?{parts.query}"


def listed(client: Carrier, path: str, field: str) -> list[str]:
    """Collect the names of every page of a list; empty where the list is unknown.

    Raises:
        FleetError: UNAVAILABLE where an answer is no such list, or has no end.
    """
    names: list[str] = []
    following = path + "?n=1000"
    for _ in range(_MAX_PAGES):
        response = client.send(Request("GET", following, ""))
        if response.status == 404:  # noqa: PLR2004 -- Not Found
            discard(response)
            return names
        if response.status != 200:  # noqa: PLR2004 -- OK
            raise failure(client, response, path)
        body = read_at_most(response, _PAGE_LIMIT_BYTES)
        discard(response)
        try:
            names += [str(name) for name in json.loads(body)[field] or ()]
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise client.voice.unreachable(client.origin.host, f"{path} is no list") from error
        page = next_page(client, following, response.headers.get("Link", ""))
        if page is None:
            return names
        following = page
    raise client.voice.unreachable(client.origin.host, f"{path} has no end")
