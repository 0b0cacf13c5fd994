"""The listeners' TLS: what the SVID source has now, handed to gRPC at each handshake.

gRPC asks on a thread of its own, so what it gets is made beforehand, on the event loop, once per change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import grpc
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from fleet.errors import FleetError, Kind
from fleet.svid import SvidSource, X509Material, read_leaf

_log = structlog.get_logger(__name__)


def _pem(certificates: Sequence[bytes]) -> bytes:
    encoding = serialization.Encoding.PEM
    return b"".join(x509.load_der_x509_certificate(der).public_bytes(encoding) for der in certificates)


def _key_pem(der: bytes) -> bytes:
    return serialization.load_der_private_key(der, None).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


class ServerIdentity:
    """Ground Control's own SVID and roots, as TLS credentials that rotate under open listeners."""

    def __init__(self, source: SvidSource, *, expected: str, trust_domain: str) -> None:
        """Start from what the source has.

        Raises:
            FleetError: PRECONDITION `IDENTITY_DIFFERS` where the source gives another ID; UNAVAILABLE `SVID_ABSENT`.
        """
        self._source = source
        self._expected = expected
        self._trust_domain = trust_domain
        material = source.svid()
        if material is None:
            raise FleetError(Kind.UNAVAILABLE, "SVID_ABSENT", "the Workload API gives Ground Control no identity")
        if material.spiffe_id != expected:
            text = "the Workload API gives another identity than the settings name"
            raise FleetError(Kind.PRECONDITION, "IDENTITY_DIFFERS", text, subject=material.spiffe_id)
        self._current = self._configuration(material)
        source.subscribe(self._refresh)

    @property
    def roots(self) -> tuple[bytes, ...]:
        """The trust domain's roots, DER, as they are now."""
        return self._source.roots(self._trust_domain)

    def credentials(self, *, clients: bool, begun: Callable[[], None]) -> grpc.ServerCredentials:
        """Make a listener's credentials; with `clients` it demands a certificate of the trust domain.

        `begun` is called at each handshake, in threads of gRPC's.
        """
        given = [self._current]

        def newest() -> grpc.ServerCertificateConfiguration:
            begun()
            # None tells gRPC to go on with what it has: making its TLS context anew costs more than a handshake.
            if self._current is given[0]:
                return None  # type: ignore[return-value] # the stub does not know that None keeps what is there
            given[0] = self._current
            return self._current

        return grpc.dynamic_ssl_server_credentials(self._current, newest, require_client_authentication=clients)

    def _refresh(self) -> None:
        material = self._source.svid()
        if material is None or material.spiffe_id != self._expected:
            _log.error("identity.refused", spiffe_id=material.spiffe_id if material else "")
            return
        self._current = self._configuration(material)

    def _configuration(self, material: X509Material) -> grpc.ServerCertificateConfiguration:
        configuration = grpc.ssl_server_certificate_configuration(
            [(_key_pem(material.key), _pem(material.chain))], root_certificates=_pem(self.roots)
        )
        not_after = read_leaf(material.chain[0]).not_after
        _log.info("identity.adopted", spiffe_id=material.spiffe_id, not_after=not_after.isoformat())
        return configuration
