"""The envelope of a Notary Project signature in JSON (RFC 7515, flattened serialization)."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode
from datetime import datetime

from edge.domain.documents import Fields
from edge.domain.verify.notation.envelope import (
    AUTHENTIC_TIME,
    EXPIRY,
    MAX_BYTES,
    MAX_CERTIFICATES,
    PAYLOAD_TYPE,
    READER,
    SCHEME,
    SIGNING_AUTHORITY,
    SIGNING_TIME,
    TIMESTAMP,
    UNDERSTOOD,
    Envelope,
    check,
    in_utc,
)

_MAX_CRITICAL = 16


def read_jws(raw: bytes) -> Envelope:
    """Read an envelope: `bytes → Envelope`.

    Raises:
        FleetError: MALFORMED `EVIDENCE_MALFORMED`, `DIGEST_MALFORMED`, `CERTIFICATE_MALFORMED`.
    """
    if len(raw) > MAX_BYTES:
        raise READER.fail("it is too large")
    document = READER.parse(raw)
    protected, payload = READER.text(document, "protected"), READER.text(document, "payload")
    header, loose = READER.parse(_decoded(protected)), READER.fields(document, "header")
    _check_critical(header)
    if READER.text(header, "cty") != PAYLOAD_TYPE:
        raise READER.fail("its payload is of another type")
    scheme = READER.text(header, SCHEME)
    time = AUTHENTIC_TIME if scheme == SIGNING_AUTHORITY else SIGNING_TIME
    return check(
        Envelope(
            algorithm=READER.text(header, "alg"),
            signed=f"{protected}.{payload}".encode(),
            signature=_decoded(READER.text(document, "signature")),
            payload=_decoded(payload),
            certificates=tuple(READER.base64_list(loose, "x5c", limit=MAX_CERTIFICATES)),
            scheme=scheme,
            signing_time=_time(READER.text(header, time)),
            expiry=_time(READER.text(header, EXPIRY)) if EXPIRY in header else None,
            timestamp=READER.base64(loose, TIMESTAMP) if loose.get(TIMESTAMP) else b"",
        )
    )


def _check_critical(header: Fields) -> None:
    critical = header.get("crit", [])
    if (
        not isinstance(critical, list)
        or len(critical) > _MAX_CRITICAL
        or not all(isinstance(one, str) and one in UNDERSTOOD for one in critical)
    ):
        raise READER.fail("a critical attribute is not understood")
    if SCHEME not in critical or (EXPIRY in header and EXPIRY not in critical):
        raise READER.fail("an attribute that must be critical is not")


def _decoded(text: str) -> bytes:
    """Read base64url without padding (RFC 7515, section 2)."""
    if not text.isascii() or "=" in text or "+" in text or "/" in text:
        raise READER.fail("a part is not base64url")
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError) as error:
        raise READER.fail("a part is not base64url") from error


def _time(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise READER.fail("a time is none") from error
    return in_utc(moment)
