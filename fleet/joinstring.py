"""The one line that lets a satellite or an operator join: no trust on first use.

    hsat1.<base64url without padding of: SHA-256(body)[:6] body>
    body = deflate( u16be(len) JSON  then for each root: u16be(len) DER )

The root certificate itself is in it (about 400 bytes), so a joiner verifies Ground Control before it sends its
secret. Six bytes of checksum tell a line that was cut or mangled on its way from one that was never ours.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
import zlib
from dataclasses import dataclass, field, replace
from enum import Enum, unique

from fleet.errors import FleetError, malformed
from fleet.identity import GroundControlId, OperatorId, SatelliteId, parse_id

PREFIX = "hsat1."
SECRET_SIZE_BYTES = 32

_CHECKSUM = 6
_MAX_TEXT = 16 * 1024
_MAX_BODY = 64 * 1024
_MAX_ROOTS = 8
_ADDRESS = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9a-fA-F:.]{2,45}\]):([0-9]{1,5})\Z")
_TOKEN_ID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_MAX_PORT = 65535


@unique
class JoinKind(Enum):
    """Who joins with it."""

    SATELLITE = "satellite"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class JoinString:
    """What a joiner must know of Ground Control, and the token that lets it in once."""

    kind: JoinKind
    spiffe_id: str
    """The identity that the token is bound to."""
    bootstrap: str
    """`host:port` of the listener for callers without a certificate."""
    address: str
    """`host:port` of the fleet's listener."""
    ground_control: str
    """Ground Control's exact SPIFFE ID; its trust domain is the fleet's."""
    roots: tuple[bytes, ...] = field(repr=False)
    """The trust domain's root certificates, DER."""
    token_id: str = ""
    secret: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        _check(self)

    @property
    def trust_domain(self) -> str:
        """The trust domain of every ID in it."""
        return parse_id(self.ground_control).trust_domain

    def spent(self) -> JoinString:
        """Say the same without the token: what may be kept on disk to find Ground Control again."""
        return replace(self, token_id="", secret=b"")

    def encode(self) -> str:
        """Write it as one line."""
        facts = {
            "k": self.kind.value,
            "i": self.spiffe_id,
            "b": self.bootstrap,
            "a": self.address,
            "g": self.ground_control,
            "t": self.token_id,
            "s": self.secret.hex(),
        }
        parts = [json.dumps(facts, separators=(",", ":")).encode(), *self.roots]
        body = zlib.compress(b"".join(len(part).to_bytes(2, "big") + part for part in parts), 9)
        checked = hashlib.sha256(body).digest()[:_CHECKSUM] + body
        return PREFIX + base64.urlsafe_b64encode(checked).decode().rstrip("=")


def _wrong(what: str) -> FleetError:
    return malformed("JOIN_STRING_MALFORMED", "this is not a join string that can be used", subject=what)


def _check_address(address: str, what: str) -> None:
    matched = _ADDRESS.match(address)
    if not matched or not 0 < int(matched[1]) <= _MAX_PORT:
        raise _wrong(f"{what} is not host:port")


def _check(join: JoinString) -> None:
    _check_address(join.bootstrap, "the bootstrap address")
    _check_address(join.address, "the fleet address")
    ground_control, subject = parse_id(join.ground_control), parse_id(join.spiffe_id)
    if not isinstance(ground_control, GroundControlId):
        raise _wrong("it names no Ground Control")
    wanted = SatelliteId if join.kind is JoinKind.SATELLITE else OperatorId
    if not isinstance(subject, wanted) or subject.trust_domain != ground_control.trust_domain:
        raise _wrong(f"its ID is no {join.kind.value}'s of Ground Control's trust domain")
    if not 1 <= len(join.roots) <= _MAX_ROOTS or not all(join.roots):
        raise _wrong("it has no root certificate")
    if bool(join.token_id) != bool(join.secret):
        raise _wrong("its token is incomplete")
    if join.secret and (len(join.secret) != SECRET_SIZE_BYTES or not _TOKEN_ID.match(join.token_id)):
        raise _wrong("its token is malformed")


def _body(text: str) -> bytes:
    line = "".join(text.split())  # a terminal or a mail may have wrapped it
    if len(line) > _MAX_TEXT:
        raise _wrong("it is too long")
    prefix, dot, encoded = line.partition(".")
    if prefix + dot != PREFIX:
        if re.fullmatch(r"hsat[0-9]+", prefix):
            raise malformed(
                "JOIN_STRING_VERSION",
                "this join string is of another version: use the newest program",
                subject=prefix,
            )
        raise _wrong(f"a join string begins with {PREFIX}")
    damaged = malformed(
        "JOIN_STRING_DAMAGED", "the join string was cut or changed on its way: copy the whole line again"
    )
    try:
        checked = base64.b64decode(encoded + "=" * (-len(encoded) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise damaged from error
    checksum, body = checked[:_CHECKSUM], checked[_CHECKSUM:]
    if hashlib.sha256(body).digest()[:_CHECKSUM] != checksum:
        raise damaged
    return body


def _parts(body: bytes) -> list[bytes]:
    inflater = zlib.decompressobj()
    try:
        content = inflater.decompress(body, _MAX_BODY)
    except zlib.error as error:
        raise _wrong("its content cannot be unpacked") from error
    parts, offset = [], 0
    while offset < len(content):
        size = int.from_bytes(content[offset : offset + 2], "big")
        part = content[offset + 2 : offset + 2 + size]
        if len(part) != size:
            raise _wrong("its content is incomplete")
        parts.append(part)
        offset += 2 + size
    return parts


def parse_join_string(text: str) -> JoinString:
    """Read a join string; white space anywhere in it is ignored.

    Raises:
        FleetError: MALFORMED `JOIN_STRING_DAMAGED` where the checksum fails (a cut paste),
            `JOIN_STRING_VERSION` for another version's, `JOIN_STRING_MALFORMED` or `SPIFFE_ID_MALFORMED`
            for anything else.
    """
    parts = _parts(_body(text))
    if not parts:
        raise _wrong("it is empty")
    try:
        facts = json.loads(parts[0])
        kind, secret = JoinKind(facts["k"]), bytes.fromhex(facts["s"])
        names = [facts[key] for key in ("i", "b", "a", "g", "t")]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _wrong("its content is unknown") from error
    if not all(isinstance(name, str) for name in names):
        raise _wrong("its content is unknown")
    spiffe_id, bootstrap, address, ground_control, token_id = names
    return JoinString(
        kind=kind,
        spiffe_id=spiffe_id,
        bootstrap=bootstrap,
        address=address,
        ground_control=ground_control,
        roots=tuple(parts[1:]),
        token_id=token_id,
        secret=secret,
    )
