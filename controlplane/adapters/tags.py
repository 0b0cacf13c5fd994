"""Tags resolved at their source through oras.

oras-py carries references, authentication and small documents well (facts: it must not carry layers). Three of its
ways do not suit a control plane and are set aside here: it retries for minutes with sleeps, it has no timeouts, and
it follows a challenge to any realm, in clear text too.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import oras.auth.utils
import oras.provider
import requests
from requests.adapters import HTTPAdapter

from controlplane.app.ports import Resolved
from controlplane.domain.entities import Credential
from controlplane.domain.specs import SourceSpec
from fleet.errors import FleetError, Kind
from fleet.reference import digest_of

TIMEOUT_S = (5.0, 10.0)
"""To connect, and between two packets."""
MAX_MANIFEST_BYTES = 4 * 1024 * 1024
_RESOLVERS = 4
_ACCEPT = (
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
    "application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json"
)


class _Transport(HTTPAdapter):
    """Gives every request a timeout."""

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:  # noqa: ANN401 requests' own signature
        kwargs["timeout"] = TIMEOUT_S
        return super().send(request, *args, **kwargs)


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a registry said, read whole and bounded."""

    status: int
    claimed_digest: str
    challenge: str
    content: bytes


class OrasTagResolver:
    """Asks each source once per tag, in a few threads."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="resolve")

    async def resolve(self, source: SourceSpec, credential: Credential | None, repository: str, tag: str) -> Resolved:
        """Resolve `repository:tag` at the source, or at its mirrors where it does not answer.

        Raises:
            FleetError: PRECONDITION `TAG_UNRESOLVED`, `SOURCE_REFUSED`; UNAVAILABLE `SOURCE_UNREACHABLE`.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, _resolve, source, credential, repository, tag)


def _resolve(source: SourceSpec, credential: Credential | None, repository: str, tag: str) -> Resolved:
    failure: FleetError | None = None
    for host in (source.address, *source.mirrors):
        try:
            # The credential is the address's own: a mirror is asked without it.
            return _ask(host, source, credential if host == source.address else None, repository, tag)
        except FleetError as error:
            if error.reason != "SOURCE_UNREACHABLE":
                raise
            failure = failure or error
    assert failure is not None  # noqa: S101 there is at least the address
    raise failure


def _ask(host: str, source: SourceSpec, credential: Credential | None, repository: str, tag: str) -> Resolved:
    subject = f"{host}/{repository}:{tag}"
    url = f"{'http' if source.plain_http else 'https'}://{host}/v2/{repository}/manifests/{tag}"
    try:
        with _bundle(source.ca_pem) as verify:
            answer = _anonymous(url, verify=verify)
            if answer.status in {401, 403}:
                _check_realm(answer.challenge, source, subject)
                answer = _authenticated(url, source, credential, answer, verify=verify)
    except (requests.RequestException, OSError) as error:
        text = "the source does not answer"
        raise FleetError(Kind.UNAVAILABLE, "SOURCE_UNREACHABLE", text, subject=host, detail=str(error)[:300]) from error
    _check_status(answer.status, subject)
    return _read(answer.content, answer.claimed_digest, subject)


@contextmanager
def _bundle(ca_pem: str) -> Iterator[bool | str]:
    """Name what to verify a registry by: its own CA alone, in a file, or the system's."""
    if not ca_pem:
        yield True
        return
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(ca_pem)
        file.flush()
        yield file.name


def _anonymous(url: str, *, verify: bool | str) -> _Answer:
    with requests.Session() as session:
        _mount(session)
        return _answer(session.get(url, headers={"Accept": _ACCEPT}, stream=True, verify=verify))


def _authenticated(
    url: str, source: SourceSpec, credential: Credential | None, refused: _Answer, *, verify: bool | str
) -> _Answer:
    kind = "basic" if refused.challenge.lower().startswith("basic") else "token"
    if kind == "basic" and not credential:
        return refused
    host = urlsplit(url).netloc
    registry = oras.provider.Registry(host, insecure=source.plain_http, tls_verify=verify, auth_backend=kind)
    _mount(registry.session)
    if credential:
        registry.auth.set_basic_auth(credential.username, credential.password)
    # Without the decorator that sleeps and tries again: an operator is waiting.
    request = oras.provider.Registry.do_request.__wrapped__
    try:
        return _answer(request(registry, url, "GET", headers={"Accept": _ACCEPT}, stream=True))
    except ValueError:  # oras found no way to meet the challenge
        return refused
    finally:
        registry.session.close()


def _answer(response: requests.Response) -> _Answer:
    headers = response.headers
    content = response.raw.read(MAX_MANIFEST_BYTES + 1, decode_content=True)
    response.close()
    return _Answer(
        response.status_code,
        headers.get("Docker-Content-Digest", ""),
        headers.get("Www-Authenticate", ""),
        content,
    )


def _mount(session: requests.Session) -> None:
    session.trust_env = False  # neither netrc's secrets nor a proxy that nobody configured here
    session.mount("https://", _Transport())
    session.mount("http://", _Transport())


def _check_realm(challenge: str, source: SourceSpec, subject: str) -> None:
    """See that a secret would travel encrypted, unless the source itself is plain HTTP by configuration."""
    realm = oras.auth.utils.parse_auth_header(challenge).realm if challenge else None
    if realm and urlsplit(realm).scheme != "https" and not source.plain_http:
        text = "the source asks for credentials over plain HTTP"
        raise FleetError(Kind.PRECONDITION, "SOURCE_REFUSED", text, subject=subject)


def _check_status(status: int, subject: str) -> None:
    if status == requests.codes.ok:
        return
    if status in {401, 403}:
        text = "the source wants another credential: set the source's credential"
        raise FleetError(Kind.PRECONDITION, "SOURCE_REFUSED", text, subject=subject)
    if status == requests.codes.not_found:
        raise FleetError(Kind.PRECONDITION, "TAG_UNRESOLVED", "the source has no such tag", subject=subject)
    text = "the source does not answer as a registry does"
    raise FleetError(Kind.UNAVAILABLE, "SOURCE_UNREACHABLE", text, subject=subject, detail=f"status {status}")


def _read(content: bytes, claimed: str, subject: str) -> Resolved:
    """Compute the digest here; the registry's word must agree with it."""
    _refuse_schema1(content, subject)
    digest = digest_of(content)
    if len(content) > MAX_MANIFEST_BYTES or (claimed.startswith("sha256:") and claimed != digest):
        text = "what the source answers is not the manifest that it names"
        raise FleetError(Kind.PRECONDITION, "TAG_UNRESOLVED", text, subject=subject)
    try:
        return Resolved(digest, _size(json.loads(content), len(content)))
    except (ValueError, KeyError, TypeError) as error:
        text = "what the source answers is not a manifest"
        raise FleetError(Kind.PRECONDITION, "TAG_UNRESOLVED", text, subject=subject) from error


def _refuse_schema1(content: bytes, subject: str) -> None:
    """Name what no satellite could verify: its digest is over a part of it, so that it would only look damaged."""
    try:
        is_schema1 = json.loads(content)["schemaVersion"] == 1
    except (ValueError, KeyError, TypeError, RecursionError):
        return
    if is_schema1:
        text = "Docker schema 1 cannot be verified: push the image again"
        raise FleetError(Kind.PRECONDITION, "SCHEMA1_UNSUPPORTED", text, subject=subject)


def _size(manifest: dict[str, Any], own_bytes: int) -> int:
    """Add up an image; an index would take a request per child, so that its size is not known (0)."""
    if "manifests" in manifest:
        return 0
    return own_bytes + sum(int(part["size"]) for part in (manifest["config"], *(manifest.get("layers") or ())))
