"""Who calls: read from the certificate of the connection, never from metadata or a message.

gRPC's own property `peer_spiffe_id` is not enough: the certificate is judged again, here, for every RPC, because a
connection outlives the validity of what it was opened with. It is parsed once.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, unique
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding

from fleet.errors import FleetError, Kind
from fleet.identity import FleetId, SatelliteId, parse_id
from fleet.svid import read_leaf

_LEAF = "x509_pem_cert"
_CHAIN = "x509_pem_cert_chain"
_MAX_CHAIN = 8
MAX_REMEMBERED = 20_000
"""Certificates that need not be parsed again: what one process holds of connections at most."""
MAX_ISSUERS = 256
"""Intermediates and roots that need not be verified again."""


@unique
class Party(Enum):
    """What a caller is to the authorization table."""

    ANYONE = "anyone"
    """No certificate: the bootstrap listener's callers."""
    SATELLITE = "satellite"
    VIEWER = "viewer"
    EDITOR = "editor"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Peer:
    """What the connection proves: an identity, from when until when, and by which chain."""

    identity: FleetId
    spiffe_id: str
    not_before: datetime
    not_after: datetime
    chain: tuple[bytes, ...]
    """DER, leaf first, then what the peer sent of intermediates."""
    fingerprint: bytes
    """SHA-256 over what the peer sent: what was found out of it holds for whoever shows the same."""

    def is_anchored_in(self, roots: Sequence[bytes]) -> bool:
        """Say whether the chain still leads to one of the roots, DER: a root that left the bundle counts no more."""
        leaf, *others = self.chain
        return _leads(x509.load_der_x509_certificate(leaf), tuple(others), tuple(roots))


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes this RPC, checked; servicers act on this and nothing else."""

    party: Party
    spiffe_id: str = ""
    """Empty for ANYONE."""
    name: str = ""
    """A satellite's or an operator's name; empty for ANYONE."""
    peer: Peer | None = None

    @property
    def is_satellite(self) -> bool:
        """Say whether a satellite calls: it speaks for itself alone."""
        return self.party is Party.SATELLITE

    @property
    def verified(self) -> Peer:
        """The peer behind the caller.

        Raises:
            FleetError: INTERNAL `CALLER_UNVERIFIED` where the listener asked for no certificate.
        """
        if self.peer is None:
            raise FleetError(Kind.INTERNAL, "CALLER_UNVERIFIED", "this call needs a verified identity")
        return self.peer


_current: ContextVar[Caller] = ContextVar("caller")


def bind_caller(caller: Caller) -> None:
    """Make `caller` what `current_caller` answers within this RPC's task."""
    _current.set(caller)


def current_caller() -> Caller:
    """The caller of the RPC that this task serves.

    Raises:
        FleetError: INTERNAL `CALLER_UNVERIFIED` outside of an RPC.
    """
    caller = _current.get(None)
    if caller is None:
        raise FleetError(Kind.INTERNAL, "CALLER_UNVERIFIED", "this call needs a verified identity")
    return caller


def _leads(certificate: x509.Certificate, others: tuple[bytes, ...], roots: tuple[bytes, ...]) -> bool:
    """Say whether a certificate is issued by a root, or by one of the others that is."""
    if any(_issued(certificate, _issuer(root)) for root in roots):
        return True
    return any(_issued(certificate, _issuer(above)) and _is_anchored(above, others, roots) for above in others)


@lru_cache(maxsize=MAX_ISSUERS)
def _is_anchored(issuer: bytes, others: tuple[bytes, ...], roots: tuple[bytes, ...]) -> bool:
    """Remember what is the same for all who have an issuer."""
    return _leads(_issuer(issuer), tuple(one for one in others if one != issuer), roots)


@lru_cache(maxsize=MAX_ISSUERS)
def _issuer(content: bytes) -> x509.Certificate:
    return x509.load_der_x509_certificate(content)


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _unidentified(reason: str, text: str, *, subject: str = "", detail: str = "") -> FleetError:
    return FleetError(Kind.UNIDENTIFIED, reason, text, subject=subject, detail=detail)


class PeerReader:
    """Reads who is at the other end of a connection.

    Args:
        trust_domain: whose identities count.
        now: the time at which they are judged.
    """

    def __init__(self, trust_domain: str, now: Callable[[], datetime]) -> None:
        self._trust_domain = trust_domain
        self._now = now
        self._known: OrderedDict[bytes, Peer] = OrderedDict()
        self._intermediates: dict[bytes, bytes] = {}
        """Each once, however many peers send it."""

    def read(self, properties: Mapping[str, Iterable[bytes]]) -> Peer:
        """Judge a connection's certificate: `gRPC auth context → peer`; its signatures were the handshake's to check.

        Raises:
            FleetError: UNIDENTIFIED `CERTIFICATE_MISSING`, `SVID_URI_SAN` unless exactly one URI name, `SVID_USAGE`,
                `SVID_EXPIRED`, `SVID_NOT_YET_VALID`, `TRUST_DOMAIN_FOREIGN`, `SPIFFE_ID_FOREIGN` for no ID of a fleet.
        """
        pems = _sent(properties)
        fingerprint = hashlib.sha256(b"\n".join(pems)).digest()
        peer = self._known.get(fingerprint)
        if peer is None:
            peer = self._known[fingerprint] = self._parse(pems, fingerprint)
            if len(self._known) > MAX_REMEMBERED:
                self._known.popitem(last=False)
        at = self._now()
        if at >= peer.not_after:
            raise _unidentified("SVID_EXPIRED", "the certificate has expired: renew it", subject=peer.spiffe_id)
        if at < peer.not_before:
            raise _unidentified("SVID_NOT_YET_VALID", "the certificate is not valid yet", subject=peer.spiffe_id)
        return peer

    def _parse(self, pems: Sequence[bytes], fingerprint: bytes) -> Peer:
        chain = _chain(pems)
        leaf = read_leaf(chain[0])
        try:
            identity = parse_id(leaf.spiffe_id)
        except FleetError as error:
            text = "the certificate names nobody of a fleet"
            raise _unidentified("SPIFFE_ID_FOREIGN", text, subject=leaf.spiffe_id[:256]) from error
        if identity.trust_domain != self._trust_domain:
            text = "the certificate is of another trust domain"
            raise _unidentified("TRUST_DOMAIN_FOREIGN", text, subject=leaf.spiffe_id)
        if len(self._intermediates) > MAX_REMEMBERED:
            self._intermediates.clear()
        above = (self._intermediates.setdefault(each, each) for each in chain[1:])
        return Peer(identity, leaf.spiffe_id, leaf.not_before, leaf.not_after, (chain[0], *above), fingerprint)


def _sent(properties: Mapping[str, Iterable[bytes]]) -> tuple[bytes, ...]:
    """Take what the peer showed, PEM: its leaf, and the chain where gRPC has one."""
    if not properties.get(_LEAF):
        raise _unidentified("CERTIFICATE_MISSING", "this listener serves callers with a certificate only")
    return tuple(pem for name in (_LEAF, _CHAIN) for pem in tuple(properties.get(name, ()))[:1])


def _chain(pems: Sequence[bytes]) -> tuple[bytes, ...]:
    try:
        found = [c.public_bytes(Encoding.DER) for pem in pems for c in x509.load_pem_x509_certificates(pem)]
    except ValueError as error:
        raise _unidentified("SVID_MALFORMED", "not an X.509 certificate", detail=str(error)) from error
    return tuple(dict.fromkeys(found))[:_MAX_CHAIN]


def name_of(identity: FleetId) -> str:
    """The last segment of an ID: a satellite's or operator's name."""
    return identity.name if isinstance(identity, SatelliteId) else str(identity).rsplit("/", 1)[-1]
