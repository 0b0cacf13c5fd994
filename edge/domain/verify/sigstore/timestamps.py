"""Timestamps (RFC 3161) over signatures, by the timestamp authorities that are trusted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from edge.domain.verify.chains import Anchors, Path, find_path, load_certificate
from edge.domain.verify.sigstore.trusted_root import Authority

if TYPE_CHECKING:
    from rfc3161_client import TimeStampResponse

_MAX_BYTES = 64 << 10


def timestamp(response: bytes, signature: bytes, authorities: Iterable[Authority]) -> tuple[int, datetime] | None:
    """Find who says when a signature was there: `→ the authority's place in the list and the time`, or None.

    Args:
        response: a TimeStampResp, DER.
        signature: what it is over.
        authorities: who may say so.
    """
    stamp = _read(response)
    if stamp is None:
        return None
    for number, authority in enumerate(authorities):
        stamper, *rest = authority.certificates
        anchors = Anchors(rest[-1:] or [stamper], rest[:-1])
        if authority.valid.holds([stamp.moment]) and _made_by(stamper, anchors, stamp, signature):
            return number, stamp.moment
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
    roots = [one for one in listed if one.issuer == one.subject]
    stamp = _read(response) if roots else None
    if stamp is None:
        return None
    try:
        embedded = [load_certificate(one) for one in stamp.response.signed_data.certificates]
    except ValueError:
        return None
    others = [one for one in dict.fromkeys((*embedded, *listed)) if one not in roots]
    for stamper in others:
        anchors = Anchors(roots, [one for one in others if one != stamper])
        path = _made_by(stamper, anchors, stamp, signature)
        if path is not None:
            return path[-1], stamp.moment
    return None


@dataclass(frozen=True, slots=True)
class _Stamp:
    """A timestamp that can be read; who made it is open."""

    response: TimeStampResponse
    moment: datetime


def _read(response: bytes) -> _Stamp | None:
    from rfc3161_client import decode_timestamp_response  # noqa: PLC0415 - 2 MB

    if len(response) > _MAX_BYTES:
        return None
    try:
        decoded = decode_timestamp_response(response)
        said = decoded.tst_info.gen_time
    except ValueError:
        return None
    return _Stamp(decoded, said if said.tzinfo else said.replace(tzinfo=UTC))


def _made_by(stamper: x509.Certificate, anchors: Anchors, stamp: _Stamp, signature: bytes) -> Path | None:
    """Find how a certificate that made a timestamp over a signature leads to its anchors; None where it did not."""
    from rfc3161_client import VerificationError, VerifierBuilder  # noqa: PLC0415 - 2 MB

    path = find_path(stamper, anchors, stamp.moment, ExtendedKeyUsageOID.TIME_STAMPING)
    if isinstance(path, str):
        return None
    builder = VerifierBuilder(
        tsa_certificate=stamper, intermediates=list(anchors.intermediates), roots=list(anchors.roots)
    )
    try:
        builder.build().verify_message(stamp.response, signature)
    except (VerificationError, ValueError):
        return None
    return path
