"""The authority's directory: the root at rest, encrypted, and the lock that keeps a second authority away.

<directory>/lock        held by the running authority
<directory>/root.pem    the root's certificate, and its key as encrypted PKCS#8
<directory>/master.key  32 random bytes that decrypt it; --master-key-file keeps them elsewhere
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from certs.ca import Root, make_root
from certs.private_file import create_private, private_directory, read_private
from fleet.errors import FleetError, Kind

_MASTER_BYTES = 32
_END = b"-----END CERTIFICATE-----\n"


def _precondition(reason: str, text: str, subject: object = "") -> FleetError:
    return FleetError(Kind.PRECONDITION, reason, text, subject=str(subject))


@contextmanager
def sole_authority(directory: Path) -> Iterator[None]:
    """Hold the directory for this process alone; the kernel lets go of it however the process ends.

    Raises:
        FleetError: PRECONDITION `AUTHORITY_RUNNING` where another one holds it.
    """
    descriptor = os.open(private_directory(directory) / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _precondition(
                "AUTHORITY_RUNNING",
                "another authority runs in this directory, and a trust domain has only one",
                directory,
            ) from error
        yield
    finally:
        os.close(descriptor)


def load_or_make_root(directory: Path, trust_domain: str, *, at: datetime, master_key_file: Path | None = None) -> Root:
    """Open the root in a directory, or make one at the first start.

    Raises:
        FleetError: PRECONDITION `MASTER_KEY_ABSENT` or `MASTER_KEY_WRONG` where the root cannot be decrypted,
            `TRUST_DOMAIN_DIFFERS` where it is another's, `PRIVATE_PATH_EXPOSED` where others can read it;
            CORRUPT `ROOT_UNREADABLE`.
    """
    private_directory(directory)
    path, master_path = directory / "root.pem", master_key_file or directory / "master.key"
    stored = read_private(path)
    if stored is None:
        _make(path, trust_domain, _make_master(master_path), at=at)
        stored = read_private(path) or b""
    master = read_private(master_path)
    if master is None:
        raise _precondition("MASTER_KEY_ABSENT", "the root key cannot be decrypted without its master key", master_path)
    root = _open(stored, trust_domain, master)
    _check_trust_domain(root)
    return root


def _make_master(path: Path) -> bytes:
    create_private(path, secrets.token_bytes(_MASTER_BYTES))  # one that is there already serves
    master = read_private(path)
    if not master:
        raise _precondition("MASTER_KEY_ABSENT", "the master key file is empty", path)
    return master


def _make(path: Path, trust_domain: str, master: bytes, *, at: datetime) -> None:
    root = make_root(trust_domain, at=at)
    key = root.key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(master),
    )
    create_private(path, root.certificate.public_bytes(serialization.Encoding.PEM) + key)


def _open(stored: bytes, trust_domain: str, master: bytes) -> Root:
    certificate_pem, end, key_pem = stored.partition(_END)
    try:
        certificate = x509.load_pem_x509_certificate(certificate_pem + end)
    except ValueError as error:
        raise FleetError(Kind.CORRUPT, "ROOT_UNREADABLE", "the root file is damaged: restore it") from error
    try:
        key = serialization.load_pem_private_key(key_pem, master)
    except (ValueError, TypeError) as error:
        raise _precondition("MASTER_KEY_WRONG", "the master key does not decrypt this root key") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise FleetError(Kind.CORRUPT, "ROOT_UNREADABLE", "the root's key and certificate do not belong together")
    return Root(trust_domain, certificate, key)


def _check_trust_domain(root: Root) -> None:
    names = root.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    if names.get_values_for_type(x509.UniformResourceIdentifier) != [f"spiffe://{root.trust_domain}"]:
        raise _precondition(
            "TRUST_DOMAIN_DIFFERS", "the root in this directory is of another trust domain", root.trust_domain
        )
