"""Profiles: what `satctl login` leaves on disk, so that later calls find Ground Control and prove who they are.

    <home>/<profile>/device.key     0600, the only secret: it signs requests for certificates
    <home>/<profile>/profile.json   0600, where Ground Control is and the roots that vouch for it

No certificate and no key of a certificate is ever stored: each call gets a fresh one, in memory.
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from certs.device_key import FileDeviceKey, load_device_key, load_or_make_device_key
from certs.private_file import private_directory, read_private
from fleet.errors import FleetError, Kind
from fleet.identity import check_name
from fleet.joinstring import JoinKind, JoinString

PROFILE_FILE = "profile.json"
KEY_FILE = "device.key"


class ProfileStore:
    """One profile's directory."""

    def __init__(self, home: Path, name: str) -> None:
        """Raises FleetError: MALFORMED `NAME_MALFORMED`."""
        self.name = check_name(name, what="profile")
        self.directory = home / name

    def device_key(self) -> FileDeviceKey:
        """Read the device key.

        Raises:
            FleetError: UNIDENTIFIED `NOT_LOGGED_IN`; as `load_device_key`.
        """
        key = load_device_key(self.directory / KEY_FILE)
        if key is None:
            raise self._absent()
        return key

    def make_device_key(self) -> FileDeviceKey:
        """Read the device key, or make it."""
        private_directory(self.directory)
        return load_or_make_device_key(self.directory / KEY_FILE)

    def load(self) -> JoinString:
        """Read where Ground Control is.

        Raises:
            FleetError: UNIDENTIFIED `NOT_LOGGED_IN`; CORRUPT `PROFILE_UNREADABLE`; PRECONDITION `PRIVATE_PATH_EXPOSED`.
        """
        place = self.find()
        if place is None:
            raise self._absent()
        return place

    def find(self) -> JoinString | None:
        """Read where Ground Control is, or None before the first login."""
        stored = read_private(self.directory / PROFILE_FILE)
        if stored is None:
            return None
        try:
            return _read(json.loads(stored))
        except (ValueError, KeyError, TypeError, FleetError) as error:
            text = "the profile is damaged: `satctl logout`, then log in with a new join string"
            raise FleetError(Kind.CORRUPT, "PROFILE_UNREADABLE", text, subject=str(self.directory)) from error

    def save(self, place: JoinString) -> None:
        """Store where Ground Control is; the token, if there is one, is left out."""
        private_directory(self.directory)
        write_private(self.directory / PROFILE_FILE, json.dumps(_written(place), indent=2).encode() + b"\n")

    def forget(self) -> bool:
        """Remove the profile, device key and all; say whether there was one."""
        known = [self.directory / name for name in (PROFILE_FILE, KEY_FILE)]
        found = [path for path in known if path.exists()]
        for path in found:
            path.unlink()
        if found and not any(self.directory.iterdir()):
            self.directory.rmdir()
        return bool(found)

    def _absent(self) -> FleetError:
        text = "not logged in: run `satctl login JOIN_STRING` with the line that an admin gave you"
        return FleetError(Kind.UNIDENTIFIED, "NOT_LOGGED_IN", text, subject=f"profile {self.name}")


def write_private(path: Path, content: bytes) -> None:
    """Write a 0600 file whole, replacing what was there; nobody ever sees half of it."""
    staged = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)


def pem(certificates: tuple[bytes, ...]) -> str:
    """Write certificates: DER → PEM, one after the other."""
    written = (x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM) for der in certificates)
    return b"".join(written).decode()


def _written(place: JoinString) -> dict[str, Any]:
    return {
        "spiffe_id": place.spiffe_id,
        "ground_control": place.ground_control,
        "trust_domain": place.trust_domain,
        "address": place.address,
        "bootstrap": place.bootstrap,
        "roots": pem(place.roots),
    }


def _read(facts: dict[str, Any]) -> JoinString:
    roots = x509.load_pem_x509_certificates(facts["roots"].encode())
    return JoinString(
        kind=JoinKind.OPERATOR,
        spiffe_id=facts["spiffe_id"],
        bootstrap=facts["bootstrap"],
        address=facts["address"],
        ground_control=facts["ground_control"],
        roots=tuple(root.public_bytes(serialization.Encoding.DER) for root in roots),
    )
