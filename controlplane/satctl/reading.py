"""What a person writes on the command line, read into the contract's values."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

from google.protobuf.duration_pb2 import Duration

from fleet.errors import malformed
from fleet.v1 import resource_pb2 as resources

FORMATS = {
    "bundle": resources.SIGNATURE_FORMAT_SIGSTORE_BUNDLE,
    "simple-signing": resources.SIGNATURE_FORMAT_COSIGN_SIMPLE_SIGNING,
    "notation-jws": resources.SIGNATURE_FORMAT_NOTATION_JWS,
    "notation-cose": resources.SIGNATURE_FORMAT_NOTATION_COSE,
}
"""Words for signature formats: cosign 3 writes bundles, cosign 2 simple signing, notation one of its two."""
MAX_FILE_BYTES = 256 * 1024
MAX_MATERIAL_BYTES = 1 << 20
_DURATION = re.compile(r"(?:(?P<days>\d+)d)?(?:(?P<hours>\d+)h)?(?:(?P<minutes>\d+)m)?(?:(?P<seconds>\d+)s)?\Z")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kKMGT]?)(i?)(B|bit)?\Z")
_HEX_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_PLATFORM_PARTS = (2, 3)


def read_text(path: Path) -> str:
    """Read a small text file.

    Raises:
        FleetError: MALFORMED `FILE_UNREADABLE`.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        text = content.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise malformed("FILE_UNREADABLE", "the file cannot be read as text", subject=str(path)) from error
    if len(content) > MAX_FILE_BYTES:
        raise malformed("FILE_UNREADABLE", "the file is larger than 256 KiB", subject=str(path))
    return text


def read_bytes(path: Path) -> bytes:
    """Read a file of trust material, byte for byte.

    Raises:
        FleetError: MALFORMED `FILE_UNREADABLE`.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_MATERIAL_BYTES + 1)
    except OSError as error:
        raise malformed("FILE_UNREADABLE", "the file cannot be read", subject=str(path)) from error
    if len(content) > MAX_MATERIAL_BYTES:
        raise malformed("FILE_UNREADABLE", "the file is larger than 1 MiB", subject=str(path))
    return content


def read_signer(text: str) -> str:
    """Read a signer to block: the SHA-256 of its public key, or the file of the key.

    Raises:
        FleetError: MALFORMED `SIGNER_MALFORMED`, `FILE_UNREADABLE`, `KEY_PRIVATE`, `KEY_MALFORMED`.
    """
    from fleet.public_keys import key_id  # noqa: PLC0415 - half of what help would wait for

    if _HEX_SHA256.match(text):
        return text
    if re.fullmatch(r"[0-9A-Fa-f]{40,}", text):
        remedy = "a signer is the SHA-256 of its public key, 64 hexadecimal digits in lower case, or the key's file"
        raise malformed("SIGNER_MALFORMED", remedy, subject=text[:80])
    return key_id(check_public_key(read_text(Path(text)), subject=text).encode())


def check_public_key(text: str, *, subject: str) -> str:
    """Return a PEM public key if it is one; a private key must never leave this machine.

    Raises:
        FleetError: MALFORMED `KEY_PRIVATE`, `KEY_MALFORMED`.
    """
    if "PRIVATE KEY" in text:
        remedy = "this is a private key, which was not sent: give the public one (cosign.pub)"
        raise malformed("KEY_PRIVATE", remedy, subject=subject)
    if "-----BEGIN PUBLIC KEY-----" not in text:
        remedy = "a public key is PEM and begins with -----BEGIN PUBLIC KEY----- (cosign.pub)"
        raise malformed("KEY_MALFORMED", remedy, subject=subject)
    return text


def read_formats(words: list[str]) -> list[resources.SignatureFormat.ValueType]:
    """Read signature formats: `["bundle,simple-signing"] → numbers`.

    Raises:
        FleetError: MALFORMED `SIGNATURE_FORMAT_UNKNOWN`.
    """
    named = [word.strip() for text in words for word in text.split(",") if word.strip()]
    for word in named:
        if word not in FORMATS:
            text = "a signature format is bundle (cosign 3), simple-signing (cosign 2), notation-jws or notation-cose"
            raise malformed("SIGNATURE_FORMAT_UNKNOWN", text, subject=word[:40])
    return [FORMATS[word] for word in named]


def read_platform(text: str) -> resources.Platform:
    """Read `os/architecture[/variant]`.

    Raises:
        FleetError: MALFORMED `PLATFORM_MALFORMED`.
    """
    parts = text.strip().split("/")
    if len(parts) not in _PLATFORM_PARTS or not all(parts):
        raise malformed(
            "PLATFORM_MALFORMED", "a platform is os/architecture[/variant], as linux/amd64", subject=text[:40]
        )
    return resources.Platform(os=parts[0], architecture=parts[1], variant=parts[2] if parts[2:] else "")


def write_platform(platform: resources.Platform) -> str:
    """Write a platform as people do."""
    return "/".join(filter(None, (platform.os, platform.architecture, platform.variant)))


def read_duration(text: str) -> timedelta:
    """Read a span of time: `90s`, `15m`, `1h`, `30d`, `1h30m`.

    Raises:
        FleetError: MALFORMED `DURATION_MALFORMED`.
    """
    matched = _DURATION.match(text.strip())
    if not matched or not text.strip():
        raise malformed("DURATION_MALFORMED", "a duration is 90s, 15m, 1h or 30d", subject=text[:40])
    return timedelta(**{unit: int(count) for unit, count in matched.groupdict().items() if count})


def read_size(text: str) -> int:
    """Read a number of bytes: `2GB` and `500kB` count by 1,000, `64MiB` by 1,024, `16Mbit` in bits; `none` is 0.

    Raises:
        FleetError: MALFORMED `SIZE_MALFORMED`.
    """
    if text.strip().lower() == "none":
        return 0
    matched = _SIZE.match(text.strip())
    if not matched:
        raise malformed("SIZE_MALFORMED", "a size is 500kB, 2GB, 64MiB, 16Mbit or none", subject=text[:40])
    number, prefix, binary, unit = matched.groups()
    size = float(number)
    for _ in range(" KMGT".index(prefix.upper() or " ")):
        size *= 1024 if binary else 1000
    return round(size / 8 if unit == "bit" else size)


def read_rate(text: str) -> int:
    """Read bytes a second: `2MB/s`, `16Mbit/s`; the `/s` may be left out. `none` is 0.

    Raises:
        FleetError: MALFORMED `SIZE_MALFORMED`.
    """
    return read_size(text.strip().removesuffix("/s"))


def read_window(text: str) -> resources.SyncWindow:
    """Read five cron fields and a duration: `0 22 * * * 6h`.

    Raises:
        FleetError: MALFORMED `WINDOW_MALFORMED`, `DURATION_MALFORMED`.
    """
    *cron, duration = text.split()
    if not cron:
        remedy = "a window is five cron fields and a duration: '0 22 * * * 6h'"
        raise malformed("WINDOW_MALFORMED", remedy, subject=text[:80])
    seconds = round(read_duration(duration).total_seconds())
    return resources.SyncWindow(cron=" ".join(cron), duration=Duration(seconds=seconds))


def read_scope(text: str) -> str:
    """Return a scope if it is one: `fleet`, `group/<name>`, `satellite/<name>`.

    Raises:
        FleetError: MALFORMED `SCOPE_MALFORMED`.
    """
    kind, slash, name = text.partition("/")
    if text != "fleet" and not (kind in {"group", "satellite"} and slash and name):
        raise malformed("SCOPE_MALFORMED", "a scope is fleet, group/NAME or satellite/NAME", subject=text[:80])
    return text
