"""Answering challenges: Basic, and Bearer by a token from the realm that the registry named.

A secret goes to the registry itself, and to the realm that it named over verified TLS (or, where plain text
is allowed by local configuration, on the registry's own host). Nobody else ever gets one.

Source: the distribution project's token authentication specification.
"""

from __future__ import annotations

import json
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlencode, urlsplit

from edge.adapters.oci.challenge import Challenge, parse_challenges
from edge.adapters.oci.endpoint import Origin, origin_of
from edge.adapters.oci.failures import Voice
from edge.app.ports import Credential
from fleet.errors import FleetError, Kind

CredentialFor = Callable[[str], Credential | None]
"""`repository → Credential`; None for what anybody may read."""

Renewed = Callable[[Credential], Credential | None]
"""`credential that was just refused → the one that is in force now`: the same where it was not replaced."""

_DEFAULT_LIFE_S = 60.0
_LONGEST_LIFE_S = 3600.0
_USED_UP = 0.9  # renew before the end: a layer's request may wait in a queue


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """What a token realm said: at most 64 KiB and one byte of it."""

    status: int
    body: bytes
    retry_after: str | None = None


class Fetch(Protocol):
    """A bare GET to another place of the registry's choice; nothing of ours rides along but `headers`."""

    def __call__(self, url: str, headers: dict[str, str]) -> TokenAnswer:
        """Ask, and follow no redirect."""


@dataclass(frozen=True, slots=True)
class _Granted:
    header: str
    until: float


def basic(credential: Credential) -> str:
    """Write an `Authorization` header of the kind Basic."""
    return "Basic " + b64encode(f"{credential.username}:{credential.password}".encode()).decode()


class Authenticator:
    """What one registry has granted us, by repository; safe to use from many threads."""

    def __init__(
        self, origin: Origin, credential: CredentialFor, fetch: Fetch, *, voice: Voice, renewed: Renewed
    ) -> None:
        self._origin = origin
        self._credential = credential
        self._renewed = renewed
        self._fetch = fetch
        self._voice = voice
        self._granted: dict[tuple[str, str], _Granted] = {}
        self._lock = threading.Lock()

    def header(self, repository: str, actions: str) -> str | None:
        """Return the `Authorization` to send, or None while nothing has been asked for."""
        granted = self._granted.get((repository, actions))
        return granted.header if granted and granted.until > time.monotonic() else None

    def answer(self, challenges: Iterable[str], repository: str, actions: str, *, refused: str | None) -> str:
        """Answer the challenges of a 401; `refused` is the header that was just turned down.

        Threads that were refused the same header share one new one.

        Raises:
            FleetError: REFUSED `SOURCE_REFUSED` where we have nothing to answer with, or the realm takes it for
                nothing; UNAVAILABLE `SOURCE_UNREACHABLE` where the realm does not answer, `SOURCE_FAILED` where it
                answers with failures; EXHAUSTED `SOURCE_BUSY`.
        """
        key = (repository, actions)
        with self._lock:
            current = self.header(*key)
            if current is not None and current != refused:
                return current
            self._granted.pop(key, None)
            granted = self._granted[key] = self._grant_other(parse_challenges(challenges), *key, refused=refused)
            return granted.header

    def _grant_other(
        self, challenges: list[Challenge], repository: str, actions: str, *, refused: str | None
    ) -> _Granted:
        """Turn our credential into another header than the refused one; a refused credential is renewed, once."""
        credential = self._credential(repository)
        try:
            return self._other(self._grant(challenges, credential, repository, actions), refused)
        except FleetError as error:
            newer = self._renewed(credential) if credential and error.kind is Kind.REFUSED else None
            if newer is None or newer == credential:
                raise
        return self._other(self._grant(challenges, newer, repository, actions), refused)

    def _other(self, granted: _Granted, refused: str | None) -> _Granted:
        if granted.header == refused:
            raise self._voice.refused(self._origin.host, "the same credential was just refused")
        return granted

    def _grant(
        self, challenges: list[Challenge], credential: Credential | None, repository: str, actions: str
    ) -> _Granted:
        if credential and credential.bearer:
            return _Granted(f"Bearer {credential.bearer}", time.monotonic() + _LONGEST_LIFE_S)
        for challenge in challenges:
            if challenge.scheme == "bearer" and challenge.realm:
                return self._token(challenge, credential, repository, actions)
            if challenge.scheme == "basic" and credential:
                return _Granted(basic(credential), time.monotonic() + _LONGEST_LIFE_S)
        raise self._voice.refused(self._origin.host, "no challenge that we can answer")

    def _token(self, challenge: Challenge, credential: Credential | None, repository: str, actions: str) -> _Granted:
        self._check_realm(challenge.realm)
        query = {"scope": challenge.scope or f"repository:{repository}:{actions}"}
        if challenge.service:
            query["service"] = challenge.service
        joint = "&" if urlsplit(challenge.realm).query else "?"
        headers = {"Authorization": basic(credential)} if credential else {}
        told = self._fetch(challenge.realm + joint + urlencode(query), headers)
        if told.status != 200:  # noqa: PLR2004 -- OK
            words = b"its token realm: " + told.body
            raise self._voice.of_status(
                told.status, subject=self._origin.host, body=words, retry_after=told.retry_after
            )
        return _read_token(told.body, self._unreadable)

    def _check_realm(self, realm: str) -> None:
        try:
            origin = origin_of(realm)
        except FleetError as error:
            raise self._voice.refused(self._origin.host, "its token realm is not an address") from error
        same_host = origin.scheme == self._origin.scheme and origin.host == self._origin.host
        if not same_host and not (self._origin.scheme == origin.scheme == "https"):
            raise self._voice.refused(self._origin.host, f"its token realm {origin.url} is not to be trusted")

    def _unreadable(self, why: str) -> FleetError:
        return self._voice.failed(self._origin.host, f"its token realm answers {why}")


def _read_token(body: bytes, unreadable: Callable[[str], FleetError]) -> _Granted:
    try:
        answer = json.loads(body)
        token = answer.get("token") or answer.get("access_token")
        life = float(answer.get("expires_in") or _DEFAULT_LIFE_S)
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise unreadable("no JSON of a token") from error
    if not isinstance(token, str) or not token.isascii() or not token.isprintable():
        raise unreadable("no token")
    life = min(max(life, 1.0), _LONGEST_LIFE_S) if life == life else _DEFAULT_LIFE_S  # noqa: PLR0124 -- NaN
    return _Granted(f"Bearer {token}", time.monotonic() + life * _USED_UP)
