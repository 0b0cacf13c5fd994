"""`trusted_root.json`: whose certificates, logs and timestamps count, and for which time.

Source: sigstore/protobuf-specs `sigstore_trustroot.proto` (TrustedRoot, media types v0.1 and v0.2).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from cryptography import x509

from edge.domain.documents import Fields, Reader
from edge.domain.verify.chains import Anchors, load_certificate
from edge.domain.verify.keys import Verifier, load_key
from fleet.errors import FleetError

_READER = Reader("TRUST_ROOT_MALFORMED", "sigstore trusted root")
_MEDIA_TYPES = frozenset(
    {
        "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
        "application/vnd.dev.sigstore.trustedroot+json;version=0.2",
        "application/vnd.dev.sigstore.trustedroot.v0.1+json",
        "application/vnd.dev.sigstore.trustedroot.v0.2+json",
    }
)
_MOST = 64
_LONG_AGO, _FAR_AHEAD = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Span:
    """A time in which something counts, its ends included."""

    start: datetime = _LONG_AGO
    end: datetime = _FAR_AHEAD

    def holds(self, moments: Iterable[datetime]) -> bool:
        """Say whether all of these lie in it."""
        return all(self.start <= moment <= self.end for moment in moments)


@dataclass(frozen=True, slots=True)
class Log:
    """A transparency log, of signatures or of certificates."""

    key_id: bytes
    verifies: Verifier
    valid: Span


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate or timestamp authority."""

    certificates: tuple[x509.Certificate, ...]
    """As listed: what issues first, the root last; a timestamp authority's own certificate before them."""
    valid: Span

    @property
    def anchors(self) -> Anchors:
        """What paths end at and lead over."""
        return Anchors(self.certificates[-1:], self.certificates[:-1])


@dataclass(frozen=True, slots=True)
class TrustedRoot:
    """All of a trusted root."""

    authorities: tuple[Authority, ...]
    logs: tuple[Log, ...]
    certificate_logs: tuple[Log, ...]
    timestamp_authorities: tuple[Authority, ...]
    timestamp_certificates: tuple[x509.Certificate, ...] = ()
    """Of further timestamp authorities, which are listed beside it."""


@lru_cache(maxsize=16)
def read_trusted_root(raw: bytes) -> TrustedRoot:
    """Read it: `bytes → TrustedRoot`; a log with a key that is not understood is none.

    Raises:
        FleetError: MALFORMED `TRUST_ROOT_MALFORMED`; `CERTIFICATE_MALFORMED`.
    """
    document = _READER.parse(raw)
    if _READER.text(document, "mediaType") not in _MEDIA_TYPES:
        raise _READER.fail("it is of another version")
    return TrustedRoot(
        authorities=tuple(map(_authority, _READER.objects(document, "certificateAuthorities", limit=_MOST))),
        logs=_logs(document, "tlogs"),
        certificate_logs=_logs(document, "ctlogs"),
        timestamp_authorities=tuple(map(_authority, _READER.objects(document, "timestampAuthorities", limit=_MOST))),
    )


def _span(fields: Fields) -> Span:
    found = _READER.maybe_fields(fields, "validFor")
    return Span(_time(found, "start", _LONG_AGO), _time(found, "end", _FAR_AHEAD))


def _time(fields: Fields, key: str, otherwise: datetime) -> datetime:
    text = _READER.text(fields, key, default="")
    if not text:
        return otherwise
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise _READER.fail(f"{key} is no time") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _authority(fields: Fields) -> Authority:
    chain = _READER.objects(_READER.fields(fields, "certChain"), "certificates", limit=_MOST)
    if not chain:
        raise _READER.fail("an authority has no certificate")
    return Authority(tuple(load_certificate(_READER.base64(one, "rawBytes")) for one in chain), _span(fields))


def _logs(document: Fields, key: str) -> tuple[Log, ...]:
    return tuple(log for one in _READER.objects(document, key, limit=_MOST) if (log := _log(one)))


def _log(fields: Fields) -> Log | None:
    key = _READER.fields(fields, "publicKey")
    try:
        verifies = load_key(_READER.base64(key, "rawBytes"))
    except FleetError as error:
        if error.reason == "KEY_UNSUPPORTED":
            return None
        raise
    return Log(_READER.base64(_READER.fields(fields, "logId"), "keyId"), verifies, _span(key))
