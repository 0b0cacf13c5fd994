"""The real cosign, offline: keys, signatures in both formats, verification."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edge.app.ports import Credential
from fleet.policy import SignatureFormat
from tests.rig.programs import require

_TIMEOUT_S = 60
FLAGS = {
    SignatureFormat.SIGSTORE_BUNDLE: (),
    SignatureFormat.COSIGN_SIMPLE_SIGNING: ("--new-bundle-format=false",),
}


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A key pair as cosign keeps it: the private half encrypted with an empty password."""

    private: Path
    public: Path

    @property
    def pem(self) -> bytes:
        return self.public.read_bytes()


class CosignError(Exception):
    """cosign said no; the text is its own."""


def run(*arguments: str | Path, directory: Path | None = None, repository: str = "") -> str:
    """Run cosign and return what it printed.

    Raises:
        CosignError: it ended with another code than 0.
    """
    command = [require("cosign"), *arguments]
    environment = {**os.environ, "COSIGN_PASSWORD": ""} | ({"COSIGN_REPOSITORY": repository} if repository else {})
    done = subprocess.run(
        command, env=environment, cwd=directory, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    )
    if done.returncode:
        raise CosignError(done.stderr[-2000:])
    return done.stdout


def generate_key(directory: Path, name: str) -> KeyPair:
    """Make cosign's own kind of key: ECDSA P-256."""
    run("generate-key-pair", "--output-key-prefix", name, directory=directory)
    return KeyPair(directory / f"{name}.key", directory / f"{name}.pub")


def new_private_key(kind: str) -> PrivateKeyTypes:
    """Make a key: `p256`, `p384`, `p521`, `rsa-<bits>` or `ed25519`."""
    curves: dict[str, ec.EllipticCurve] = {"p256": ec.SECP256R1(), "p384": ec.SECP384R1(), "p521": ec.SECP521R1()}
    if kind in curves:
        return ec.generate_private_key(curves[kind])
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(65537, int(kind.removeprefix("rsa-")))


def import_key(directory: Path, kind: str) -> KeyPair:
    """Make a key of a kind and have cosign import it."""
    encoded = new_private_key(kind).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (directory / f"{kind}.pem").write_bytes(encoded)
    run("import-key-pair", "-y", "--key", f"{kind}.pem", "--output-key-prefix", kind, directory=directory)
    return KeyPair(directory / f"{kind}.key", directory / f"{kind}.pub")


def sign(
    reference: str,
    key: KeyPair,
    form: SignatureFormat = SignatureFormat.SIGSTORE_BUNDLE,
    *,
    repository: str = "",
) -> None:
    """Sign `host:port/repository@digest` over plain HTTP, without a log; the signature may go to another repository."""
    offline = ("--use-signing-config=false", "--tlog-upload=false", "--allow-http-registry", "-y")
    run("sign", *offline, *FLAGS[form], "--key", key.private, reference, repository=repository)


def attest(
    reference: str,
    key: KeyPair,
    predicate: Path,
    kind: str,
    form: SignatureFormat = SignatureFormat.SIGSTORE_BUNDLE,
) -> None:
    """Attest a predicate of a kind (a word of cosign's, or a URI), without a log."""
    offline = ("--use-signing-config=false", "--tlog-upload=false", "--allow-http-registry", "-y")
    what = ("--predicate", predicate, "--type", kind)
    run("attest", *offline, *FLAGS[form], *what, "--key", key.private, reference)


def verify(
    reference: str,
    key: KeyPair,
    form: SignatureFormat = SignatureFormat.SIGSTORE_BUNDLE,
    *,
    login: Credential | None = None,
) -> str:
    """Verify as a stranger would, or as somebody whom the registry knows.

    Raises:
        CosignError: it does not verify.
    """
    offline = ("--insecure-ignore-tlog=true", "--allow-http-registry")
    known = ("--registry-username", login.username, "--registry-password", login.password) if login else ()
    return run("verify", *offline, *known, *FLAGS[form], "--key", key.public, reference)
