"""A token realm for a registry that lets in by token alone: signs what Distribution's `auth: token` verifies.

Source: the distribution project's token authentication specification and its JSON Web Token implementation.
"""

from __future__ import annotations

import json
import math
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from edge.adapters.oci.auth import basic
from edge.app.ports import Credential
from tests.rig.http_source import Answer, Asked, http_source

ISSUER, SERVICE = "token-realm.test", "registry.test"
LEEWAY_S = 60
"""How long after its end Distribution still takes a token."""


@dataclass
class TokenRealm:
    """Grants what is asked for to whoever knows the login.

    Attributes:
        login: what it takes; may be changed at any time.
        life_s: how long the registry takes a token.
        says_s: how long it says that the registry does.
        ends: when each token ends at the registry, by this process's monotonic clock.
    """

    directory: Path
    login: Credential
    life_s: float
    says_s: float
    url: str = ""
    ends: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = _self_signed(self._key)
        (self.directory / "realm.pem").write_bytes(self._certificate.public_bytes(Encoding.PEM))

    @property
    def auth(self) -> dict[str, object]:
        """The registry's `auth` section."""
        bundle = str(self.directory / "realm.pem")
        return {"token": {"realm": self.url, "service": SERVICE, "issuer": ISSUER, "rootcertbundle": bundle}}

    def __call__(self, asked: Asked) -> Answer:
        if asked.authorization != basic(self.login):
            return Answer(401, b'{"errors": [{"code": "UNAUTHORIZED"}]}')
        scopes = parse_qs(urlsplit(asked.path).query).get("scope", [])
        answer = {"token": self._token(scopes), "expires_in": self.says_s}
        return Answer(200, json.dumps(answer).encode())

    def _token(self, scopes: list[str]) -> str:
        now = time.time()
        end = math.ceil(now + self.life_s)
        self.ends.append(time.monotonic() + end - now)
        claims = {
            "iss": ISSUER,
            "sub": self.login.username,
            "aud": SERVICE,
            "iat": int(now),
            "nbf": int(now) - LEEWAY_S,
            "exp": end - LEEWAY_S,
            "jti": f"{len(self.ends)}",
            "access": [_access(scope) for scope in scopes],
        }
        chain = [b64encode(self._certificate.public_bytes(Encoding.DER)).decode()]
        signed = ".".join(_encoded(json.dumps(part).encode()) for part in ({"alg": "ES256", "x5c": chain}, claims))
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_encoded(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


def _access(scope: str) -> dict[str, object]:
    kind, _, rest = scope.partition(":")
    name, _, actions = rest.rpartition(":")
    return {"type": kind, "name": name, "actions": actions.split(",")}


def _encoded(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def _self_signed(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ISSUER)]), datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )


@contextmanager
def token_realm(
    directory: Path, login: Credential, *, life_s: float = 300, says_s: float = 300
) -> Iterator[TokenRealm]:
    """Serve a realm until the end of the block."""
    directory.mkdir(parents=True, exist_ok=True)
    realm = TokenRealm(directory, login, life_s, says_s)
    with http_source(realm) as served:
        realm.url = served.url + "/token"
        yield realm
