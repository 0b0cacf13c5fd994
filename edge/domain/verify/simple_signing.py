"""cosign 2's format: a manifest at the tag `sha256-<hex>.sig`, each layer a simple-signing payload.

The signature is the layer's annotation, base64, over the payload's bytes. Source: containers/image
`docs/containers-signature.5.md` (the payload), sigstore/cosign `specs/SIGNATURE_SPEC.md` (where it lies).
"""

from __future__ import annotations

import base64
import binascii

from edge.domain.content import Descriptor
from edge.domain.documents import Reader
from edge.domain.verify.claims import Claim
from fleet.policy import SignatureFormat
from fleet.reference import Digest, parse_digest

PAYLOAD_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE = "dev.cosignproject.cosign/signature"
_CLAIM_TYPES = frozenset({"cosign container image signature", "https://sigstore.dev/cosign/sign/v1"})
_MAX_PAYLOAD_BYTES = 64 << 10
_READER = Reader("EVIDENCE_MALFORMED", "simple-signing payload")


def signature_tag(digest: Digest) -> str:
    """Name the tag under which cosign 2 keeps an image's signatures."""
    return f"{digest.replace(':', '-')}.sig"


def _repository(reference: str) -> str:
    """Cut host, tag and digest off a reference: what is left means the same behind a mirror."""
    name = reference.partition("@")[0]
    first, slash, rest = name.partition("/")
    path = rest if slash and (first == "localhost" or {".", ":"} & set(first)) else name
    return path.partition(":")[0]


def read_payload(layer: Descriptor, payload: bytes) -> Claim:
    """Read one layer of a signature manifest: `descriptor and its bytes → Claim`.

    Raises:
        FleetError: MALFORMED `EVIDENCE_MALFORMED` unless both are what cosign writes.
    """
    # 1. It is a payload by its media type and size, and its signature is beside it.
    if layer.media_type != PAYLOAD_TYPE or len(payload) > _MAX_PAYLOAD_BYTES:
        raise _READER.fail("the layer is of another media type or too large")
    try:
        signature = base64.b64decode(layer.annotations.get(SIGNATURE, ""), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _READER.fail("the signature is not base64") from error
    # 2. The payload says that it is an image signature, and of what.
    critical = _READER.fields(_READER.parse(payload), "critical")
    if _READER.text(critical, "type") not in _CLAIM_TYPES:
        raise _READER.fail("critical.type is no image signature's")
    digest = parse_digest(_READER.text(_READER.fields(critical, "image"), "docker-manifest-digest"))
    reference = _READER.text(_READER.maybe_fields(critical, "identity"), "docker-reference", default="")
    return Claim(
        form=SignatureFormat.COSIGN_SIMPLE_SIGNING,
        signed=payload,
        signatures=(signature,),
        digests=frozenset({digest}),
        repository=_repository(reference),
    )
