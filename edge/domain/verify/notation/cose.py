"""The envelope of a Notary Project signature in CBOR (COSE_Sign1, RFC 9052)."""

from __future__ import annotations

import io
from collections.abc import Mapping
from datetime import datetime

from edge.domain.verify.notation.envelope import (
    AUTHENTIC_TIME,
    EXPIRY,
    MAX_BYTES,
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

_SIGN1 = 18
_ALGORITHM, _CRITICAL, _CONTENT_TYPE, _CHAIN = 1, 2, 3, 33
_ALGORITHMS = {-37: "PS256", -38: "PS384", -39: "PS512", -7: "ES256", -35: "ES384", -36: "ES512"}
_MAX_DEPTH = 8
Labels = Mapping[object, object]


def read_cose(raw: bytes) -> Envelope:
    """Read an envelope: `bytes → Envelope`.

    Raises:
        FleetError: MALFORMED `EVIDENCE_MALFORMED`, `DIGEST_MALFORMED`, `CERTIFICATE_MALFORMED`.
    """
    from cbor2 import CBORTag, dumps  # noqa: PLC0415 - where such a signature comes

    if len(raw) > MAX_BYTES:
        raise READER.fail("it is too large")
    message = _decoded(raw)
    parts = message.value if isinstance(message, CBORTag) and message.tag == _SIGN1 else None
    if not isinstance(parts, list | tuple) or len(parts) != 4:  # noqa: PLR2004 -- COSE_Sign1
        raise READER.fail("it is no COSE_Sign1")
    protected, loose, payload, signature = parts
    if not isinstance(protected, bytes) or not isinstance(payload, bytes) or not isinstance(signature, bytes):
        raise READER.fail("its parts are of another kind")
    header = _labels(_decoded(protected))
    _check_critical(header)
    if header.get(_CONTENT_TYPE) != PAYLOAD_TYPE:
        raise READER.fail("its payload is of another type")
    return _envelope(header, _labels(loose), payload, signature, dumps(["Signature1", protected, b"", payload]))


def _envelope(header: Labels, loose: Labels, payload: bytes, signature: bytes, signed: bytes) -> Envelope:
    algorithm, scheme, stamp = header.get(_ALGORITHM), header.get(SCHEME), loose.get(TIMESTAMP, b"")
    time = AUTHENTIC_TIME if scheme == SIGNING_AUTHORITY else SIGNING_TIME
    if not isinstance(algorithm, int) or not isinstance(scheme, str) or not isinstance(stamp, bytes):
        raise READER.fail("an attribute is of another kind")
    return check(
        Envelope(
            algorithm=_ALGORITHMS.get(algorithm, ""),
            signed=signed,
            signature=signature,
            payload=payload,
            certificates=_chain(loose.get(_CHAIN)),
            scheme=scheme,
            signing_time=_time(header.get(time)),
            expiry=_time(header[EXPIRY]) if EXPIRY in header else None,
            timestamp=stamp,
        )
    )


def _decoded(raw: bytes) -> object:
    """Decode one CBOR item and nothing behind it; the decoder allocates no more than there is."""
    from cbor2 import CBORDecodeError, CBORDecoder  # noqa: PLC0415 - as above

    stream = io.BytesIO(raw)
    try:
        found: object = CBORDecoder(
            stream, max_depth=_MAX_DEPTH, allow_indefinite=False, allow_duplicate_keys=False
        ).decode()
    except (CBORDecodeError, ValueError, TypeError, OverflowError, RecursionError, MemoryError) as error:
        raise READER.fail("it is not CBOR") from error
    if stream.read(1):
        raise READER.fail("something follows it")
    return found


def _labels(value: object) -> Labels:
    if not isinstance(value, Mapping):
        raise READER.fail("its header is no map")
    return value


def _check_critical(header: Labels) -> None:
    critical = header.get(_CRITICAL, [])
    known = {*UNDERSTOOD, _ALGORITHM, _CONTENT_TYPE}
    if not isinstance(critical, list | tuple) or not all(
        isinstance(one, str | int) and one in known for one in critical
    ):
        raise READER.fail("a critical attribute is not understood")
    if SCHEME not in critical or (EXPIRY in header and EXPIRY not in critical):
        raise READER.fail("an attribute that must be critical is not")


def _chain(value: object) -> tuple[bytes, ...]:
    found = value if isinstance(value, list | tuple) else [value]
    if not all(isinstance(one, bytes) for one in found):
        raise READER.fail("its certificates are of another kind")
    return tuple(one for one in found if isinstance(one, bytes))


def _time(value: object) -> datetime:
    """Read a time: CBOR's tag 1, in whole seconds."""
    if not isinstance(value, datetime):
        raise READER.fail("a time is none")
    return in_utc(value)
