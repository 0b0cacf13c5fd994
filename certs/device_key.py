"""The device key: what makes a machine itself, for as long as it is not revoked.

It signs requests for certificates and nothing else. In a file today, in a TPM later: both are a `DeviceKey`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from certs.private_file import create_private, private_directory, read_private
from fleet.errors import FleetError, Kind


class DeviceKey(Protocol):
    """An ECDSA P-256 key that signs and never leaves."""

    @property
    def public_der(self) -> bytes:
        """Its SubjectPublicKeyInfo, DER."""

    def sign(self, claim: bytes) -> bytes:
        """Sign: ECDSA with SHA-256, DER."""


class FileDeviceKey:
    """A device key in a 0600 file."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key

    @property
    def public_der(self) -> bytes:
        """Its SubjectPublicKeyInfo, DER."""
        return self._key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def sign(self, claim: bytes) -> bytes:
        """Sign: ECDSA with SHA-256, DER."""
        return self._key.sign(claim, ec.ECDSA(hashes.SHA256()))


def load_device_key(path: Path) -> FileDeviceKey | None:
    """Read a device key, or None where there is none yet.

    Raises:
        FleetError: CORRUPT `DEVICE_KEY_UNREADABLE`; PRECONDITION `PRIVATE_PATH_EXPOSED`.
    """
    stored = read_private(path)
    if stored is None:
        return None
    try:
        key = serialization.load_pem_private_key(stored, None)
    except (ValueError, TypeError) as error:
        raise _unreadable(path) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _unreadable(path)
    return FileDeviceKey(key)


def load_or_make_device_key(path: Path) -> FileDeviceKey:
    """Read a device key, or make it at the first start.

    Raises:
        FleetError: as `load_device_key`.
    """
    private_directory(path.parent)
    key = load_device_key(path)
    if key is None:
        made = ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        create_private(path, made)  # the name may be taken by now: whichever came first is the key
        key = load_device_key(path)
    if key is None:
        raise _unreadable(path)
    return key


def _unreadable(path: Path) -> FleetError:
    return FleetError(
        Kind.CORRUPT,
        "DEVICE_KEY_UNREADABLE",
        "the device key is damaged: join again with a new token",
        subject=str(path),
    )
