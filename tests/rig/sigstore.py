"""A private sigstore on loopback: real fulcio, rekor (tiles) and timestamp-server, our own OIDC issuer and CT log.

What signs is the real cosign; what verifies needs `trusted_root` alone, and no network.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import urllib3
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.rig import cosign
from tests.rig.http_source import Answer, Asked, http_source
from tests.rig.ports import keep_port
from tests.rig.programs import require

START_S = 30.0
POLL_S = 0.05
CLIENT_ID = "sigstore"
ORIGIN = "rekor.test"


def _b64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@dataclass
class Issuer:
    """An OpenID Connect issuer: discovery, one RSA key, and tokens for whoever asks this object."""

    url: str = ""
    key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))

    def __call__(self, asked: Asked) -> Answer:
        if asked.path.endswith("/openid-configuration"):
            found: dict[str, object] = {
                "issuer": self.url,
                "jwks_uri": f"{self.url}/keys",
                "id_token_signing_alg_values_supported": ["RS256"],
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
            }
            return Answer(200, json.dumps(found).encode())
        numbers = self.key.public_key().public_numbers()
        key = {
            "kty": "RSA",
            "use": "sig",
            "alg": "RS256",
            "kid": "1",
            "n": _b64url(numbers.n.to_bytes(256, "big")),
            "e": _b64url(numbers.e.to_bytes(3, "big")),
        }
        return Answer(200, json.dumps({"keys": [key]}).encode())

    def token(self, email: str) -> str:
        """Vouch for somebody, for five minutes."""
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": CLIENT_ID,
            "sub": email,
            "email": email,
            "email_verified": True,
            "iat": now,
            "nbf": now - 5,
            "exp": now + 300,
        }
        parts = ({"alg": "RS256", "kid": "1", "typ": "JWT"}, claims)
        signed = ".".join(_b64url(json.dumps(part).encode()) for part in parts)
        signature = self.key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_b64url(signature)}"


@dataclass
class CertificateLog:
    """A certificate transparency log that promises to include whatever it is sent (RFC 6962, section 3.2)."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def public(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def __call__(self, asked: Asked) -> Answer:
        chain = json.loads(asked.body)["chain"]
        certificate, issuer = (x509.load_der_x509_certificate(base64.b64decode(one)) for one in chain[:2])
        moment = int(time.time() * 1000)
        answer = {
            "sct_version": 0,
            "id": base64.b64encode(hashlib.sha256(self.public).digest()).decode(),
            "timestamp": moment,
            "extensions": "",
            "signature": base64.b64encode(self._signature(certificate, issuer, moment)).decode(),
        }
        return Answer(200, json.dumps(answer).encode())

    def _signature(self, certificate: x509.Certificate, issuer: x509.Certificate, moment: int) -> bytes:
        spki = issuer.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        body = _without_poison(certificate.tbs_certificate_bytes)
        signed = struct.pack(">BBQH", 0, 0, moment, 1) + hashlib.sha256(spki).digest()
        signed += len(body).to_bytes(3, "big") + body + b"\0\0"
        signature = self.key.sign(signed, ec.ECDSA(hashes.SHA256()))
        return bytes([4, 3]) + struct.pack(">H", len(signature)) + signature


_POISON = bytes.fromhex("060a2b06010401d679020403")
"""The object identifier that keeps a precertificate from being used as one."""


def _elements(content: bytes) -> list[bytes]:
    """Split DER into its elements."""
    found: list[bytes] = []
    while content:
        length, start = content[1], 2
        if length & 0x80:
            start += length & 0x7F
            length = int.from_bytes(content[2:start], "big")
        found.append(content[: start + length])
        content = content[start + length :]
    return found


def _inside(element: bytes) -> bytes:
    return element[2 + (element[1] & 0x7F if element[1] & 0x80 else 0) :]


def _element(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 128:
        return bytes([tag, size]) + content
    encoded = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(encoded)]) + encoded + content


def _without_poison(body: bytes) -> bytes:
    """Take the poison out of a precertificate's body: what is left is what the final one promises."""
    *fields, extensions = _elements(_inside(body))
    kept = [one for one in _elements(_inside(_inside(extensions))) if _POISON not in one]
    return _element(0x30, b"".join([*fields, _element(0xA3, _element(0x30, b"".join(kept)))]))


@dataclass
class Sigstore:
    """A private sigstore that runs."""

    directory: Path
    issuer: Issuer
    certificate_log: CertificateLog
    signing_config: Path
    trusted_root: Path
    fulcio: str
    stamps: str

    def sign(self, reference: str, email: str) -> None:
        """Sign `host:port/repository@digest` as somebody."""
        cosign.run("sign", *self._services, "--identity-token", self.issuer.token(email), reference)

    def sign_with_key(self, reference: str, key: cosign.KeyPair) -> None:
        """Sign with a key, in the log and with a timestamp."""
        cosign.run("sign", *self._services, "--key", key.private, reference)

    def attest(self, reference: str, email: str, predicate: Path, kind: str) -> None:
        """Attest a predicate of a kind (a word of cosign's, or a URI) as somebody."""
        what = ("--predicate", str(predicate), "--type", kind)
        cosign.run("attest", *self._services, "--identity-token", self.issuer.token(email), *what, reference)

    def sign_as_cosign_2(self, reference: str, email: str) -> None:
        """Sign as somebody in cosign 2's format: with a timestamp, for no log of version 1 is here."""
        cosign.run(
            *("sign", "--use-signing-config=false", "--tlog-upload=false", "--new-bundle-format=false"),
            *("--fulcio-url", self.fulcio, "--timestamp-server-url", f"{self.stamps}/api/v1/timestamp"),
            *("--identity-token", self.issuer.token(email), "--trusted-root", str(self.trusted_root)),
            *("--allow-http-registry", "-y", reference),
        )

    @property
    def _services(self) -> tuple[str, ...]:
        return (
            *("--signing-config", str(self.signing_config), "--trusted-root", str(self.trusted_root)),
            *("--allow-http-registry", "-y"),
        )


@contextmanager
def _running(directory: Path, name: str, *arguments: str | Path, port: int, path: str) -> Iterator[str]:
    """Run a program until it answers at a port of loopback: `→ its address`."""
    log_path, url = directory / f"{name}.log", f"http://127.0.0.1:{port}"
    with log_path.open("wb") as log:
        command = [str(require(name)), *map(str, arguments)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory)
    try:
        deadline = time.monotonic() + START_S
        while not _answers(url + path):
            assert process.poll() is None, f"{name} ended:\n{log_path.read_text()[-3000:]}"
            assert time.monotonic() < deadline, f"{name} does not answer:\n{log_path.read_text()[-3000:]}"
            time.sleep(POLL_S)
        yield url
    finally:
        process.terminate()
        process.wait(10)


def _answers(url: str) -> bool:
    try:
        return urllib3.request("GET", url, retries=False, timeout=5.0).status < 500
    except urllib3.exceptions.HTTPError:
        return False


@contextmanager
def sigstore(directory: Path) -> Iterator[Sigstore]:
    """Run a private sigstore, when no other one runs: timestamp-server's port for metrics cannot be chosen."""
    directory.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        lock = stack.enter_context((Path(tempfile.gettempdir()) / "harbor-satellite-sigstore.lock").open("w"))
        fcntl.flock(lock, fcntl.LOCK_EX)
        issuer, log = Issuer(), CertificateLog()
        issuer.url = stack.enter_context(http_source(issuer)).url
        ct_log = stack.enter_context(http_source(log)).url
        fulcio = stack.enter_context(_fulcio(directory, issuer, ct_log))
        stamps = stack.enter_context(_timestamp_server(directory))
        rekor, rekor_key = stack.enter_context(_rekor(directory))
        material = _Material(directory, fulcio, rekor, rekor_key, stamps)
        yield Sigstore(directory, issuer, log, material.signing_config(), material.trusted_root(log), fulcio, stamps)


@contextmanager
def _fulcio(directory: Path, issuer: Issuer, ct_log: str) -> Iterator[str]:
    known = {issuer.url: {"issuer-url": issuer.url, "client-id": CLIENT_ID, "type": "email"}}
    config = directory / "fulcio.yaml"  # as JSON its fields have other names
    config.write_text(yaml.safe_dump({"oidc-issuers": known}))
    http, grpc, metrics = keep_port(), keep_port(), keep_port()
    arguments = (
        *("serve", "--ca=ephemeralca", f"--ct-log-url={ct_log}", "--config-path", config),
        *("--host", "127.0.0.1", "--port", str(http), "--grpc-host", "127.0.0.1", "--grpc-port", str(grpc)),
        *("--metrics-port", str(metrics)),
        *("--legacy-unix-domain-socket", f"@{directory}"),  # of its own: several may run at once
    )
    with _running(directory, "fulcio", *arguments, port=http, path="/api/v2/trustBundle") as url:
        yield url


@contextmanager
def _timestamp_server(directory: Path) -> Iterator[str]:
    http = keep_port()
    arguments = ("serve", "--timestamp-signer", "memory", "--host", "127.0.0.1", "--port", str(http))
    with _running(
        directory,
        "timestamp-server",
        *arguments,
        "--disable-ntp-monitoring",
        "--include-chain-in-response",
        port=http,
        path="/api/v1/timestamp/certchain",
    ) as url:
        yield url


@contextmanager
def _rekor(directory: Path) -> Iterator[tuple[str, Path]]:
    """Run a log: `→ its address, its public key`."""
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = directory / "rekor.key", directory / "rekor.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    http, grpc, metrics = keep_port(), keep_port(), keep_port()
    arguments = (
        *("serve", "--storage-dir", directory / "rekor", "--signer-filepath", private, "--hostname", ORIGIN),
        *("--http-port", str(http), "--grpc-port", str(grpc), "--http-metrics-port", str(metrics)),
        *("--checkpoint-interval", "500ms"),
    )
    with _running(directory, "rekor", *arguments, port=http, path="/healthz") as url:
        yield url, public


@dataclass(frozen=True, slots=True)
class _Material:
    """What signers and verifiers are given."""

    directory: Path
    fulcio: str
    rekor: str
    rekor_key: Path
    stamps: str

    @property
    def start(self) -> str:
        return (datetime.now(UTC) - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def signing_config(self) -> Path:
        out = self.directory / "signing-config.json"
        rest = f"start-time={self.start},operator=test"
        cosign.run(
            *("signing-config", "create", "--out", str(out)),
            f"--fulcio=url={self.fulcio},api-version=1,{rest}",
            *(f"--rekor=url={self.rekor},api-version=2,{rest}", "--rekor-config=ANY"),
            *(f"--tsa=url={self.stamps}/api/v1/timestamp,api-version=1,{rest}", "--tsa-config=ANY"),
        )
        return out

    def trusted_root(self, log: CertificateLog) -> Path:
        out, fulcio, stamps = (self.directory / name for name in ("trusted_root.json", "fulcio.pem", "tsa.pem"))
        chains = json.loads(urllib3.request("GET", f"{self.fulcio}/api/v2/trustBundle").data)["chains"]
        fulcio.write_text("".join(chains[0]["certificates"]))
        stamps.write_bytes(urllib3.request("GET", f"{self.stamps}/api/v1/timestamp/certchain").data)
        ct_key = self.directory / "ctlog.pub"
        ct_key.write_bytes(log.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        cosign.run(
            *("trusted-root", "create", "--out", str(out)),
            f"--fulcio=url={self.fulcio},certificate-chain={fulcio}",
            f"--rekor=url=http://{ORIGIN},public-key={self.rekor_key},start-time={self.start},origin={ORIGIN}",
            f"--ctfe=url=http://ct.test,public-key={ct_key},start-time={self.start}",
            f"--tsa=url={self.stamps}/api/v1/timestamp,certificate-chain={stamps}",
        )
        return out
