"""The authority's private signing API: one length-prefixed JSON request and reply per connection.

Ground Control's workers call it over a unix socket, 0600 in a 0700 directory: who may open it may sign. It issues
to satellites and operators only. Ground Control's own identity comes by the Workload API, so that no worker can
make another Ground Control.

    u32be(len) {"do": "sign", "csr": base64, "spiffe_id", "ttl_s", "dns_names"} or {"do": "bundle"}
    u32be(len) {"chain": [base64], "bundle": [base64]} or {"kind", "reason", "text", "subject"}
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import structlog

from certs.ca import CertificateAuthority
from certs.private_file import check_socket_path, private_directory
from fleet.errors import FleetError, Kind, malformed
from fleet.identity import GroundControlId, parse_id

_log = structlog.get_logger(__name__)

MAX_MESSAGE_BYTES = 64 * 1024
CALL_S = 10.0
CALLS_AT_ONCE = 16
"""Of one client: the authority signs one at a time, and a connection that does not fit its queue is refused at once."""
BACKLOG = 1024
"""Connections that wait: room for the calls of 64 workers."""

Message = dict[str, object]


@dataclass(frozen=True, slots=True)
class IssuedSvid:
    """A certificate for a key that its holder kept."""

    chain: tuple[bytes, ...]
    """DER: leaf first, then the intermediate."""
    bundle: tuple[bytes, ...]
    """The trust domain's roots, DER."""


class SigningClient:
    """Asks the authority at a unix socket; each call has its own connection, so a restart goes unnoticed.

    A herd waits here, in order, and not at the socket: `CALL_S` counts from a call's turn, the caller's own deadline
    from the beginning.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._turns = asyncio.Semaphore(CALLS_AT_ONCE)

    async def sign(self, csr: bytes, spiffe_id: str, ttl: timedelta, *, dns_names: tuple[str, ...] = ()) -> IssuedSvid:
        """Have an SVID issued for the key of a PKCS #10 request, DER.

        Raises:
            FleetError: as `CertificateAuthority.issue`; REFUSED `SVID_NOT_ISSUED` for a Ground Control's ID;
                UNAVAILABLE `AUTHORITY_UNREACHABLE`.
        """
        reply = await self._call(
            {
                "do": "sign",
                "csr": base64.b64encode(csr).decode(),
                "spiffe_id": spiffe_id,
                "ttl_s": ttl.total_seconds(),
                "dns_names": list(dns_names),
            }
        )
        return IssuedSvid(_certificates(reply, "chain"), _certificates(reply, "bundle"))

    async def bundle(self) -> tuple[bytes, ...]:
        """Ask for the trust domain's roots, DER.

        Raises:
            FleetError: UNAVAILABLE `AUTHORITY_UNREACHABLE`.
        """
        return _certificates(await self._call({"do": "bundle"}), "bundle")

    async def _call(self, message: Message) -> Message:
        try:
            async with self._turns, asyncio.timeout(CALL_S):
                reader, writer = await asyncio.open_unix_connection(str(self._path))
                try:
                    await _write(writer, message)
                    reply = await _read(reader)
                finally:
                    writer.close()
        except (OSError, EOFError) as error:
            raise FleetError(
                Kind.UNAVAILABLE,
                "AUTHORITY_UNREACHABLE",
                "the certificate authority does not answer: is it running?",
                detail=f"{self._path}: {error!r}",
            ) from error
        if "reason" in reply:
            raise FleetError(
                Kind(reply.get("kind")),
                str(reply["reason"]),
                str(reply.get("text")),
                subject=str(reply.get("subject", "")),
            )
        return reply


class SigningServer:
    """Answers `SigningClient` from an authority in this process."""

    def __init__(self, authority: CertificateAuthority, *, now: Callable[[], datetime]) -> None:
        self._authority = authority
        self._now = now
        self._server: asyncio.Server | None = None
        self._path: Path | None = None

    async def start(self, path: Path) -> None:
        """Listen on a unix socket; its directory is made 0700 where it is absent."""
        private_directory(check_socket_path(path).parent)
        listening = await asyncio.to_thread(_listen, path)
        self._server = await asyncio.start_unix_server(
            self._answer, sock=listening, limit=MAX_MESSAGE_BYTES, backlog=BACKLOG
        )
        self._path = path

    async def stop(self) -> None:
        """Stop listening; a call under way is cut."""
        if self._server is not None and self._path is not None:
            self._server.close()
            await asyncio.to_thread(self._path.unlink, missing_ok=True)
            self._server = None

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(CALL_S):
                try:
                    reply = self._perform(await _read(reader))
                except FleetError as error:
                    reply = _refusal(error)
                await _write(writer, reply)
        except (OSError, EOFError):
            pass  # the caller is gone
        finally:
            writer.close()

    def _perform(self, message: Message) -> Message:
        bundle = _texts(self._authority.bundle)
        match message:
            case {"do": "bundle"}:
                return {"bundle": bundle}
            case {
                "do": "sign",
                "csr": str(csr),
                "spiffe_id": str(spiffe_id),
                "ttl_s": int() | float() as ttl_s,
                "dns_names": list(names),
            }:
                chain = self._issue(csr, spiffe_id, timedelta(seconds=ttl_s), tuple(map(str, names)))
                return {"chain": _texts(chain), "bundle": bundle}
            case _:
                raise malformed("SIGNING_REQUEST", "not a request to this authority")

    def _issue(self, csr: str, spiffe_id: str, ttl: timedelta, names: tuple[str, ...]) -> tuple[bytes, ...]:
        if isinstance(parse_id(spiffe_id), GroundControlId):
            text = "this interface issues no Ground Control's identity"
            raise FleetError(Kind.REFUSED, "SVID_NOT_ISSUED", text, subject=spiffe_id)
        try:
            der = base64.b64decode(csr, validate=True)
        except binascii.Error as error:
            raise malformed("CSR_MALFORMED", "not a PKCS #10 certificate request") from error
        chain = self._authority.issue(der, spiffe_id, ttl, at=self._now(), dns_names=names)
        _log.info("svid.issued", spiffe_id=spiffe_id, ttl_s=ttl.total_seconds())
        return chain


def _listen(path: Path) -> socket.socket:
    """Bind under another name first: once the socket is there, it is 0600 and answers."""
    staged = check_socket_path(path.with_name(f".{path.name}"))
    staged.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.bind(str(staged))
    staged.chmod(0o600)
    listening.listen(BACKLOG)
    staged.rename(path)
    return listening


def _refusal(error: FleetError) -> Message:
    return {"kind": error.kind.value, "reason": error.reason, "text": error.text, "subject": error.subject}


def _texts(certificates: tuple[bytes, ...]) -> list[str]:
    return [base64.b64encode(certificate).decode() for certificate in certificates]


def _certificates(reply: Message, name: str) -> tuple[bytes, ...]:
    found = reply.get(name)
    return tuple(base64.b64decode(str(text)) for text in found) if isinstance(found, list) else ()


async def _write(writer: asyncio.StreamWriter, message: Message) -> None:
    encoded = json.dumps(message).encode()
    writer.write(len(encoded).to_bytes(4, "big") + encoded)
    await writer.drain()


async def _read(reader: asyncio.StreamReader) -> Message:
    size = int.from_bytes(await reader.readexactly(4), "big")
    if size > MAX_MESSAGE_BYTES:
        raise malformed("SIGNING_REQUEST", "a message to the authority has at most 64 KiB")
    try:
        message = json.loads(await reader.readexactly(size))
    except (ValueError, RecursionError) as error:
        raise malformed("SIGNING_REQUEST", "not a request to this authority") from error
    return message if isinstance(message, dict) else {}
