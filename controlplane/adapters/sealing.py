"""Source credentials at rest: AES-256-GCM under a key that is in no database and no backup of one."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from certs.private_file import create_private, private_directory, read_private
from controlplane.domain.entities import Credential
from fleet.errors import FleetError, Kind

_KEY_BYTES = 32
_NONCE_BYTES = 12
_VERSION = b"\x01"


def _associated(source: str) -> bytes:
    return b"fleet.v1.source-credential\0" + source.encode()


class FileKeySealer:
    """Seals with the key in one file, 0600, made at the first start."""

    def __init__(self, path: Path) -> None:
        private_directory(path.parent)
        create_private(path, secrets.token_bytes(_KEY_BYTES))  # does nothing where there is one
        key = read_private(path)
        if key is None or len(key) != _KEY_BYTES:
            text = (
                "the file does not hold a sealing key: restore it, or remove it and set every source's credential again"
            )
            raise FleetError(Kind.CORRUPT, "SEALING_KEY_UNREADABLE", text, subject=str(path))
        self._cipher = AESGCM(key)

    def seal(self, source: str, credential: Credential) -> bytes:
        """Encrypt a credential; the source's name is associated data, so that rows cannot be swapped."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        plain = json.dumps([credential.username, credential.password]).encode()
        return _VERSION + nonce + self._cipher.encrypt(nonce, plain, _associated(source))

    def unseal(self, source: str, sealed: bytes) -> Credential:
        """Decrypt a credential.

        Raises:
            FleetError: CORRUPT `CREDENTIAL_UNREADABLE` where the key or the source is another, or bytes changed.
        """
        text = "the stored credential cannot be read with this sealing key: set it again"
        unreadable = FleetError(Kind.CORRUPT, "CREDENTIAL_UNREADABLE", text, subject=source)
        if not sealed.startswith(_VERSION):
            raise unreadable
        nonce, cipher = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            plain = self._cipher.decrypt(nonce, cipher, _associated(source))
        except (InvalidTag, ValueError) as error:
            raise unreadable from error
        username, password = json.loads(plain)
        return Credential(username, password)
