"""Tag resolution against a simulated registry that asks for each kind of credential, and against a real one."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from controlplane.adapters.tags import OrasTagResolver
from controlplane.app.ports import Resolved
from controlplane.domain.entities import Credential
from controlplane.domain.specs import SourceSpec
from edge.app.ports import Credential as Login
from fleet.errors import FleetError, Kind
from fleet.reference import digest_of
from tests.rig.registries import running_central

IMAGE = json.dumps({"config": {"size": 10}, "layers": [{"size": 100}, {"size": 1000}]}).encode()
INDEX = json.dumps({"manifests": []}).encode()
WITHOUT_LAYERS = json.dumps({"config": {"size": 10}}).encode()
ROBOT = Credential("robot", "secret")
_BASIC = "Basic " + base64.b64encode(b"robot:secret").decode()


@dataclass
class Registry:
    """How the simulated registry behaves, and what it was sent."""

    auth: str = ""
    """`basic`, `token`, or nothing."""
    realm: str = ""
    manifests: dict[str, bytes] = field(default_factory=dict)
    claim: str = ""
    """A digest to lie with."""
    address: str = ""
    scheme: str = "http"
    authorizations: list[str] = field(default_factory=list)

    def answer(self, path: str, authorization: str) -> tuple[int, dict[str, str], bytes]:
        self.authorizations.append(authorization)
        if path.startswith("/token"):
            status = 200 if authorization == _BASIC else 401
            return status, {}, b'{"token": "granted"}' if status == 200 else b"{}"
        if challenge := self._challenge(authorization):
            return 401, {"Www-Authenticate": challenge}, b"{}"
        content = self.manifests.get(path)
        if content is None:
            return 404, {}, b"{}"
        return 200, {"Docker-Content-Digest": self.claim or digest_of(content)}, content

    def _challenge(self, authorization: str) -> str:
        match self.auth:
            case "basic" if authorization != _BASIC:
                return 'Basic realm="registry"'
            case "token" if authorization != "Bearer granted":
                realm = self.realm or f"{self.scheme}://{self.address}/token"
                return f'Bearer realm="{realm}",service="registry",scope="repository:library/nginx:pull"'
            case _:
                return ""


@contextmanager
def serving(registry: Registry, tls: ssl.SSLContext | None = None) -> Iterator[Registry]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, content = registry.answer(self.path, self.headers.get("Authorization", ""))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        registry.scheme = "https"
    registry.address = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


NGINX = "/v2/library/nginx/manifests/1"


async def resolve(registry: Registry, credential: Credential | None = None, **spec: Any) -> Resolved:
    source = SourceSpec(registry.address, **{"plain_http": True, **spec})
    return await OrasTagResolver().resolve(source, credential, "library/nginx", "1")


@contextmanager
def refused(reason: str, kind: Kind) -> Iterator[None]:
    with pytest.raises(FleetError) as caught:
        yield
    assert (caught.value.reason, caught.value.kind) == (reason, kind)
    assert "secret" not in f"{caught.value} {caught.value.detail}"


async def test_a_tag_of_an_image_gives_digest_and_size() -> None:
    with serving(Registry(manifests={NGINX: IMAGE})) as registry:
        assert await resolve(registry) == Resolved(digest_of(IMAGE), 1110 + len(IMAGE))


async def test_an_index_gives_its_digest_and_no_size() -> None:
    with serving(Registry(manifests={NGINX: INDEX})) as registry:
        assert await resolve(registry) == Resolved(digest_of(INDEX), 0)


async def test_an_artifact_without_layers_has_the_size_of_its_config() -> None:
    with serving(Registry(manifests={NGINX: WITHOUT_LAYERS})) as registry:
        assert await resolve(registry) == Resolved(digest_of(WITHOUT_LAYERS), len(WITHOUT_LAYERS) + 10)


async def test_a_tag_that_is_not_there_is_unresolved() -> None:
    with serving(Registry()) as registry, refused("TAG_UNRESOLVED", Kind.PRECONDITION):
        await resolve(registry)


async def test_a_registry_that_lies_about_its_digest_is_not_believed() -> None:
    lying = Registry(manifests={NGINX: IMAGE}, claim="sha256:" + "0" * 64)
    with serving(lying) as registry, refused("TAG_UNRESOLVED", Kind.PRECONDITION):
        await resolve(registry)


@pytest.mark.parametrize("content", [b"<html>", b"[]", b'{"layers": [{}]}', b"\xff"])
async def test_what_is_no_manifest_is_unresolved(content: bytes) -> None:
    with serving(Registry(manifests={NGINX: content})) as registry, refused("TAG_UNRESOLVED", Kind.PRECONDITION):
        await resolve(registry)


@pytest.mark.parametrize("claim", ["", digest_of(b"its payload alone")])
async def test_a_schema_1_manifest_is_named_as_such(claim: str) -> None:
    old = json.dumps({"schemaVersion": 1, "signatures": []}).encode()
    with (
        serving(Registry(manifests={NGINX: old}, claim=claim)) as registry,
        refused("SCHEMA1_UNSUPPORTED", Kind.PRECONDITION),
    ):
        await resolve(registry)


@pytest.mark.parametrize("auth", ["basic", "token"])
async def test_a_credential_opens_a_source(auth: str) -> None:
    with serving(Registry(auth, manifests={NGINX: IMAGE})) as registry:
        assert (await resolve(registry, ROBOT)).digest == digest_of(IMAGE)


@pytest.mark.parametrize("auth", ["basic", "token"])
@pytest.mark.parametrize("credential", [None, Credential("robot", "wrong")])
async def test_a_source_that_wants_another_credential_says_so(auth: str, credential: Credential | None) -> None:
    with serving(Registry(auth, manifests={NGINX: IMAGE})) as registry, refused("SOURCE_REFUSED", Kind.PRECONDITION):
        await resolve(registry, credential)


async def test_an_open_source_is_never_sent_the_secret() -> None:
    with serving(Registry(manifests={NGINX: IMAGE})) as registry:
        await resolve(registry, ROBOT)
        assert registry.authorizations == [""]


async def test_a_mirror_answers_where_the_address_does_not_and_gets_no_secret() -> None:
    with serving(Registry(manifests={NGINX: IMAGE})) as registry:
        source = SourceSpec("127.0.0.1:1", mirrors=(registry.address,), plain_http=True)
        found = await OrasTagResolver().resolve(source, ROBOT, "library/nginx", "1")
        assert found.digest == digest_of(IMAGE)
        assert registry.authorizations == [""]


async def test_a_source_that_is_away_is_unreachable_at_once() -> None:
    with refused("SOURCE_UNREACHABLE", Kind.UNAVAILABLE):
        await resolve(Registry(address="127.0.0.1:1"))


def _certificate(directory: Path) -> tuple[ssl.SSLContext, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "registry")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    (directory / "cert.pem").write_text(pem)
    (directory / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "cert.pem", directory / "key.pem")
    return context, pem


async def test_a_source_is_verified_by_its_own_ca(tmp_path: Path) -> None:
    tls, pem = _certificate(tmp_path)
    with serving(Registry("token", manifests={NGINX: IMAGE}), tls) as registry:
        assert (await resolve(registry, ROBOT, plain_http=False, ca_pem=pem)).digest == digest_of(IMAGE)


async def test_a_source_of_another_ca_gets_no_secret(tmp_path: Path) -> None:
    tls, _ = _certificate(tmp_path)
    with serving(Registry("basic", manifests={NGINX: IMAGE}), tls) as registry:
        with refused("SOURCE_UNREACHABLE", Kind.UNAVAILABLE):
            await resolve(registry, ROBOT, plain_http=False)
        assert registry.authorizations == []


async def test_a_secret_does_not_go_to_a_realm_in_clear_text(tmp_path: Path) -> None:
    tls, pem = _certificate(tmp_path)
    with serving(Registry()) as thief:
        luring = Registry("token", realm=f"http://{thief.address}/token", manifests={NGINX: IMAGE})
        with serving(luring, tls) as registry, refused("SOURCE_REFUSED", Kind.PRECONDITION):
            await resolve(registry, ROBOT, plain_http=False, ca_pem=pem)
        assert thief.authorizations == []


@pytest.mark.needs_registry
async def test_a_real_registry_answers_with_what_was_pushed(tmp_path: Path) -> None:
    with running_central(tmp_path / "central", login=Login("robot", "secret")) as central:
        pushed = central.push_image("library/nginx", "1")
        source = SourceSpec(central.url.removeprefix("http://"), plain_http=True)
        found = await OrasTagResolver().resolve(source, ROBOT, "library/nginx", "1")
        assert found.digest == pushed.digest
        assert found.size_bytes > len(pushed.raw)
        with refused("TAG_UNRESOLVED", Kind.PRECONDITION):
            await OrasTagResolver().resolve(source, ROBOT, "library/nginx", "2")
        with refused("SOURCE_REFUSED", Kind.PRECONDITION):
            await OrasTagResolver().resolve(source, None, "library/nginx", "1")
