"""Timestamps (RFC 3161) over signatures, by the timestamp authorities that are trusted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from edge.domain.verify.chains import Anchors, find_path, load_certificate
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


def timestamp_below(
    response: bytes, signature: bytes, listed: Sequence[x509.Certificate]
) -> tuple[x509.Certificate, datetime] | None:
    """Find who says when a signature was there, below certificates that are listed: `→ the root and the time`, or None.

    Args:
        response: a TimeStampResp, DER; the authority's own certificate comes in it, or is listed.
        signature: what it is over.
        listed: roots, which issued themselves, and what leads there.
    """
    from rfc3161_client import VerificationError, VerifierBuilder, decode_timestamp_response  # noqa: PLC0415 - 2 MB

    roots = [one for one in listed if one.issuer == one.subject]
    if not roots or len(response) > _MAX_BYTES:
        return None
    try:
        decoded = decode_timestamp_response(response)
        said = decoded.tst_info.gen_time
        embedded = [load_certificate(one) for one in decoded.signed_data.certificates]
    except ValueError:
        return None
    moment = said if said.tzinfo else said.replace(tzinfo=UTC)
    others = [one for one in dict.fromkeys((*embedded, *listed)) if one not in roots]
    for stamper in others:
        rest = [one for one in others if one != stamper]
        path = find_path(stamper, Anchors(roots, rest), moment, ExtendedKeyUsageOID.TIME_STAMPING)
        if isinstance(path, str):
            continue
        builder = VerifierBuilder(tsa_certificate=stamper, intermediates=rest, roots=roots)
        try:
            builder.build().verify_message(decoded, signature)
        except (VerificationError, ValueError):
            continue
        return path[-1], moment
    return None
