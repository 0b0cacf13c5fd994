"""Timestamps (RFC 3161) over signatures, by the timestamp authorities that are trusted."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from cryptography.x509.oid import ExtendedKeyUsageOID

from edge.domain.verify.chains import Anchors, find_path
from edge.domain.verify.sigstore.trusted_root import Authority

_MAX_BYTES = 64 << 10


def timestamp(response: bytes, signature: bytes, authorities: Iterable[Authority]) -> tuple[int, datetime] | None:
    """Find who says when a signature was there: `→ the authority's place in the list and the time`, or None.

    Args:
        response: a TimeStampResp, DER.
        signature: what it is over.
        authorities: who may say so.
    """
    from rfc3161_client import VerificationError, VerifierBuilder, decode_timestamp_response  # noqa: PLC0415 - 2 MB

    if len(response) > _MAX_BYTES:
        return None
    try:
        decoded = decode_timestamp_response(response)
        said = decoded.tst_info.gen_time
    except ValueError:
        return None
    moment = said if said.tzinfo else said.replace(tzinfo=UTC)
    for number, authority in enumerate(authorities):
        stamper, *rest = authority.certificates
        roots = rest[-1:] or [stamper]
        if not authority.valid.holds([moment]):
            continue
        path = find_path(stamper, Anchors(roots, rest[:-1]), moment, ExtendedKeyUsageOID.TIME_STAMPING)
        if isinstance(path, str):
            continue
        builder = VerifierBuilder(tsa_certificate=stamper, intermediates=rest[:-1], roots=roots)
        try:
            builder.build().verify_message(decoded, signature)
        except (VerificationError, ValueError):
            continue
        return number, moment
    return None
