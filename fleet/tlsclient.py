"""One TLS connection to a server with an exact SPIFFE ID, free of sockets: bytes in, bytes out.

pyOpenSSL, because it is the only binding that verifies at a given time (the clock floor) and lets the URI name
be judged within the handshake.

Source: SPIFFE X509-SVID specification, section 5.2 (leaf validation).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from ipaddress import ip_address

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from OpenSSL import SSL, crypto

from fleet.errors import FleetError, Kind
from fleet.svid import X509Material, load_certificate, read_leaf

RECORD_BYTES = 16 * 1024
"""The most that one TLS record carries."""

_NOT_YET_VALID, _EXPIRED = 9, 10
"""X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED."""


def _refusal(code: int) -> FleetError:
    if code == _EXPIRED:
        text = "Ground Control's certificate is not valid at this time: check both clocks"
        return FleetError(Kind.UNIDENTIFIED, "GC_EXPIRED", text, detail=_openssl_reason(code))
    text = "the server's certificate is not from the trust domain that this program joined"
    return FleetError(Kind.UNIDENTIFIED, "GC_UNTRUSTED", text, detail=_openssl_reason(code))


def _openssl_reason(code: int) -> str:
    """Name an OpenSSL verification error for the log."""
    return f"X509_V_ERR {code}"


class TlsClient:
    """The client's side of one connection; nothing passes until the server has been verified."""

    def __init__(
        self, host: str, *, expected: str, roots: Sequence[bytes], identity: X509Material | None, at: datetime
    ) -> None:
        self._expected = expected
        self._refused: FleetError | None = None
        self._anchor = b""
        self._answered = False
        self._presents = identity is not None
        self._leaf_not_after: datetime | None = None
        context = self._context(roots, identity, at)
        self._connection = SSL.Connection(context, None)
        if not _is_ip(host):
            self._connection.set_tlsext_host_name(host.encode("idna"))
        self._connection.set_connect_state()

    @property
    def not_after(self) -> datetime:
        """When the server's certificate ends; known once the handshake is done."""
        if self._leaf_not_after is None:
            raise FleetError(Kind.INTERNAL, "TLS_UNFINISHED", "the handshake is not done")
        return self._leaf_not_after

    def is_anchored_in(self, roots: frozenset[bytes]) -> bool:
        """Say whether the root that vouched for the server is among these."""
        return self._anchor in roots

    def feed(self, received: bytes) -> None:
        """Take what came from the network."""
        self._connection.bio_write(received)

    def outgoing(self) -> bytes:
        """Hand over what is to go to the network."""
        parts = []
        while True:
            try:
                parts.append(self._connection.bio_read(4 * RECORD_BYTES))
            except SSL.WantReadError:
                return b"".join(parts)

    def step(self) -> bool:
        """Advance the handshake: True when it is done, False when it needs the network.

        Raises:
            FleetError: UNIDENTIFIED `GC_ID_MISMATCH`, `GC_UNTRUSTED`, `GC_EXPIRED`, `SVID_URI_SAN`,
                `SVID_USAGE`; UNAVAILABLE `TLS_FAILED`.
        """
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return False
        except SSL.Error as error:
            raise self._refused or _broken(error) from error
        chain = self._connection.get_verified_chain(as_cryptography=True) or []
        if self._leaf_not_after is None or not chain:  # the callback saw the leaf, or nothing was verified
            raise FleetError(Kind.INTERNAL, "TLS_UNVERIFIED", "the server's certificate was not verified")
        self._anchor = chain[-1].public_bytes(serialization.Encoding.DER)
        return True

    def check_protocol(self) -> None:
        """Check that the server speaks HTTP/2 as gRPC does.

        Raises:
            FleetError: UNAVAILABLE `GC_UNREACHABLE` where it is some other service.
        """
        if self._connection.get_alpn_proto_negotiated() != b"h2":
            raise FleetError(Kind.UNAVAILABLE, "GC_UNREACHABLE", "the server at this address does not speak gRPC")

    def check_answered(self) -> None:
        """Find the reason of an end that came before the first byte: gRPC servers send no alert.

        Raises:
            FleetError: UNIDENTIFIED `SVID_REFUSED` where we presented a certificate, else UNAVAILABLE
                `GC_UNREACHABLE`.
        """
        if self._answered:
            return
        if self._presents:
            raise _svid_refused("closed before the first byte")
        text = "Ground Control closed the connection before it answered"
        raise FleetError(Kind.UNAVAILABLE, "GC_UNREACHABLE", text)

    def send(self, plain: bytes) -> None:
        """Encrypt; `outgoing` has the result."""
        view = memoryview(plain)
        while view:
            view = view[self._connection.send(view[: 4 * RECORD_BYTES]) :]

    def receive(self) -> Iterator[bytes]:
        """Decrypt all that is complete.

        Raises:
            EOFError: the server closed the connection.
            FleetError: UNIDENTIFIED `SVID_REFUSED` where the server refused our certificate.
        """
        while True:
            try:
                plain = self._connection.recv(RECORD_BYTES)
                self._answered = True
                yield plain
            except SSL.WantReadError:
                return
            except SSL.ZeroReturnError as error:
                raise EOFError("the server closed the connection") from error
            except SSL.Error as error:
                raise _broken(error) from error

    def _context(self, roots: Sequence[bytes], identity: X509Material | None, at: datetime) -> SSL.Context:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_options(SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_COMPRESSION)
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)  # an idle connection holds no record buffers
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)  # a resumed session would not be verified anew
        context.set_alpn_protos([b"h2"])
        store = context.get_cert_store()
        if store is None:
            raise FleetError(Kind.INTERNAL, "TLS_UNVERIFIED", "there is nothing to verify with")
        for root in roots:
            store.add_cert(crypto.X509.from_cryptography(load_certificate(root)))
        # A bundle's certificate is an anchor even where it is not self-signed (SPIRE under an upstream authority).
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
        store.set_time(at)
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, self._judge)
        if identity is not None:
            _present(context, identity)
        return context

    def _judge(self, _connection: SSL.Connection, certificate: crypto.X509, code: int, depth: int, ok: int) -> bool:
        """Judge one certificate of the chain; called by OpenSSL from the root down, the leaf last."""
        if not ok and code == _NOT_YET_VALID:
            return True  # no authority issues for later, so it is our clock that is behind: decision 14
        if not ok:
            self._refused = self._refused or _refusal(code)
            return False
        if depth > 0:
            return True
        try:
            leaf = read_leaf(certificate.to_cryptography().public_bytes(serialization.Encoding.DER))
        except FleetError as error:
            self._refused = error
            return False
        if leaf.spiffe_id != self._expected:
            text = "the server is not the Ground Control that this program joined"
            self._refused = FleetError(
                Kind.UNIDENTIFIED, "GC_ID_MISMATCH", text, subject=leaf.spiffe_id[:200], detail=self._expected
            )
            return False
        self._leaf_not_after = leaf.not_after
        return True


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _present(context: SSL.Context, identity: X509Material) -> None:
    leaf, *others = map(load_certificate, identity.chain)
    key = serialization.load_der_private_key(identity.key, None)
    if not isinstance(key, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)):
        raise FleetError(Kind.INTERNAL, "SVID_KEY", "our SVID's key is of an unknown kind")
    context.use_certificate(leaf)
    for certificate in others:
        context.add_extra_chain_cert(certificate)
    context.use_privatekey(key)


def _svid_refused(detail: str) -> FleetError:
    text = "Ground Control refused our certificate: it is expired, or from a trust domain unknown there"
    return FleetError(Kind.UNIDENTIFIED, "SVID_REFUSED", text, detail=detail)


_CERTIFICATE_ALERTS = (
    "alert certificate",
    "alert bad certificate",
    "alert unknown ca",
    "certificate required",
)


def _broken(error: SSL.Error) -> FleetError:
    detail = repr(error)
    if any(alert in detail for alert in _CERTIFICATE_ALERTS):
        return _svid_refused(detail)
    return FleetError(Kind.UNAVAILABLE, "TLS_FAILED", "the secure connection failed", detail=detail)
