"""Identities for tests: a trust domain in memory, a source whose identity changes, a small gRPC server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import grpc
import grpc.aio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from certs.ca import CertificateAuthority, Root, make_root
from certs.request import new_key_request
from fleet.svid import X509Material

TRUST_DOMAIN = "fleet.test"
GROUND_CONTROL = f"spiffe://{TRUST_DOMAIN}/gc/main"
SATELLITE = f"spiffe://{TRUST_DOMAIN}/satellite/region/north/kiosk-1"
POLL_S = 0.02
PATIENCE_S = 30.0


def utc_now() -> datetime:
    return datetime.now(UTC)


async def eventually(holds: Callable[[], bool], *, within_s: float = PATIENCE_S) -> None:
    """Wait until something holds, and fail where it never does."""
    async with asyncio.timeout(within_s):
        while not holds():  # noqa: ASYNC110 - what it waits for has no event
            await asyncio.sleep(POLL_S)


class Realm:
    """A trust domain whose authority lives in this test."""

    def __init__(
        self, trust_domain: str = TRUST_DOMAIN, *, at: datetime | None = None, root: Root | None = None
    ) -> None:
        self.root: Root = root or make_root(trust_domain, at=at or utc_now() - timedelta(days=30))
        self.authority = CertificateAuthority(self.root)

    @property
    def bundle(self) -> tuple[bytes, ...]:
        return self.authority.bundle

    def restart_authority(self) -> None:
        """Forget the intermediate, as a restart does."""
        self.authority = CertificateAuthority(self.root)

    def material(
        self,
        spiffe_id: str = SATELLITE,
        *,
        ttl: timedelta = timedelta(minutes=10),
        at: datetime | None = None,
        dns_names: tuple[str, ...] = (),
    ) -> X509Material:
        request = new_key_request()
        chain = self.authority.issue(request.csr, spiffe_id, ttl, at=at or utc_now(), dns_names=dns_names)
        return X509Material(spiffe_id=spiffe_id, chain=chain, key=request.key, bundle=self.bundle)

    def forged(
        self,
        uris: list[str],
        *,
        ca: bool = False,
    ) -> X509Material:
        """Make what the authority would never issue: any number of URI names, or an authority's certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.root.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(utc_now() - timedelta(minutes=1))
            .not_valid_after(utc_now() + timedelta(minutes=10))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(_usage(ca=ca), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([*map(x509.UniformResourceIdentifier, uris), x509.DNSName("localhost")]),
                critical=True,
            )
            .sign(self.root.key, hashes.SHA256())
        )
        return X509Material(
            spiffe_id=uris[0] if uris else "",
            chain=(certificate.public_bytes(serialization.Encoding.DER),),
            key=key.private_bytes(
                serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
            bundle=self.bundle,
        )


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


class HeldIdentity:
    """A `SvidSource` whose identity and roots a test changes."""

    def __init__(self, material: X509Material | None, roots: tuple[bytes, ...]) -> None:
        self._material = material
        self._roots = roots
        self._subscribers: list[Callable[[], None]] = []

    def svid(self) -> X509Material | None:
        return self._material

    def roots(self, trust_domain: str) -> tuple[bytes, ...]:
        return self._roots if trust_domain == TRUST_DOMAIN else ()

    def subscribe(self, notify: Callable[[], None]) -> Callable[[], None]:
        self._subscribers.append(notify)
        return lambda: self._subscribers.remove(notify)

    def change(self, material: X509Material | None, roots: tuple[bytes, ...]) -> None:
        self._material, self._roots = material, roots
        for notify in tuple(self._subscribers):
            notify()


def pem(certificates: tuple[bytes, ...]) -> bytes:
    """Write DER certificates as one PEM file."""
    return b"".join(
        x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM) for der in certificates
    )


def key_pem(key: bytes) -> bytes:
    """Write a PKCS#8 DER key as PEM."""
    return serialization.load_der_private_key(key, None).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def server_configuration(material: X509Material) -> grpc.ServerCertificateConfiguration:
    """Say what a gRPC server presents and trusts."""
    return grpc.ssl_server_certificate_configuration(
        [(key_pem(material.key), pem(material.chain))], root_certificates=pem(material.bundle)
    )


@dataclass
class EchoServer:
    """A gRPC server that says who called, with an identity that a test changes."""

    material: X509Material
    port: int = 0
    callers: list[str] = field(default_factory=list)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def say(self, request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        names = list(context.auth_context().get("peer_spiffe_id", ()))
        self.callers.append(names[0].decode() if names else "")
        return request

    async def stream(
        self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]
    ) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request


@asynccontextmanager
async def echo_server(
    material: X509Material, *, client_certificate: bool = True, handlers: tuple[grpc.GenericRpcHandler, ...] = ()
) -> AsyncIterator[EchoServer]:
    """Serve `/test.Echo/Say` and `/test.Echo/Stream`, raw bytes both ways."""
    echo = EchoServer(material)
    server = grpc.aio.server()
    methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "Say": grpc.unary_unary_rpc_method_handler(echo.say),
        "Stream": grpc.stream_stream_rpc_method_handler(echo.stream),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", methods), *handlers))
    credentials = grpc.dynamic_ssl_server_credentials(
        server_configuration(material),
        lambda: server_configuration(echo.material),
        require_client_authentication=client_certificate,
    )
    echo.port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield echo
    finally:
        await server.stop(grace=0)


async def say(channel: grpc.aio.Channel, text: bytes = b"hello", *, wait: bool = False) -> bytes:
    """Call the echo server once; `wait` until it is there, also where a connection that ends takes a call along."""
    method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/test.Echo/Say")
    try:
        return await method(text, timeout=10, wait_for_ready=wait)
    except grpc.aio.AioRpcError as error:
        if not wait or error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
    return await method(text, timeout=10, wait_for_ready=True)


def echo_stream(channel: grpc.aio.Channel) -> grpc.aio.StreamStreamCall[bytes, bytes]:
    """Open a stream to the echo server."""
    method: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream("/test.Echo/Stream")
    return method()
