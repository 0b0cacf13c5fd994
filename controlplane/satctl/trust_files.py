"""Trust material in files: a `trusted_root.json`, certificates, revocation lists."""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from controlplane.satctl.reading import read_bytes, read_text
from fleet.errors import malformed
from fleet.trust_checks import check_certificates, check_revocation_list, check_trusted_root

_PEM_LIST = b"-----BEGIN X509 CRL-----"


def read_document(path: Path) -> bytes:
    """Read a `trusted_root.json`, byte for byte; `TRUSTED_ROOT_MALFORMED`."""
    content = read_bytes(path)
    check_trusted_root(content)
    return content


def read_certificates(path: Path) -> str:
    """Read PEM certificates; a private key must never leave this machine.

    Raises:
        FleetError: MALFORMED `KEY_PRIVATE`, `CA_MALFORMED`, `FILE_UNREADABLE`.
    """
    text = read_text(path)
    if "PRIVATE KEY" in text:
        raise malformed("KEY_PRIVATE", "there is a private key in it, which was not sent", subject=str(path))
    return check_certificates(text)


def read_revocation_lists(path: Path) -> list[bytes]:
    """Read revocation lists, DER or PEM, as DER; `CRL_MALFORMED`."""
    content = read_bytes(path)
    if _PEM_LIST not in content:
        return [check_revocation_list(content)]
    end = b"-----END X509 CRL-----"
    blocks = [_PEM_LIST + block.split(_PEM_LIST, 1)[1] + end for block in content.split(end) if _PEM_LIST in block]
    try:
        return [x509.load_pem_x509_crl(block).public_bytes(Encoding.DER) for block in blocks]
    except ValueError as error:
        raise malformed("CRL_MALFORMED", "a revocation list is DER or PEM (RFC 5280)", subject=str(path)) from error
