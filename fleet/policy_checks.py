"""What a policy or block may say: what could never be satisfied is an error, with its remedy, before it is written.

Run by satctl, which knows the line, and by Ground Control, which believes nobody. A satellite judges for itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from fleet.conditions import check_condition
from fleet.errors import malformed
from fleet.policy import (
    Authority,
    BlockSpec,
    CertificateChain,
    Keyless,
    KeySet,
    LogEvidence,
    Notation,
    NotationLevel,
    PolicySpec,
    RequiredAttestation,
    SignatureFormat,
    SignerSetSpec,
    StaticVerdict,
)
from fleet.reference import parse_digest, parse_repository
from fleet.signer_checks import check_identities, check_keys, check_notation_identities, check_subjects

MAX_TEXT = 512
MAX_ATTESTATIONS = 16
MAX_EVIDENCE = 8
NOTATION_FORMATS = frozenset({SignatureFormat.NOTATION_JWS, SignatureFormat.NOTATION_COSE})
COSIGN_FORMATS = frozenset(SignatureFormat) - NOTATION_FORMATS

_GLOB = re.compile(r"[a-z0-9._*/-]+\Z")
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,128}\Z")
_HEX_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


def check_policy(spec: PolicySpec) -> PolicySpec:
    """Return a policy that some image could satisfy.

    Raises:
        FleetError: MALFORMED with the reason of the part that is wrong.
    """
    if not spec.images:
        raise malformed("IMAGES_MISSING", "a policy without images matches nothing: add a glob, as hub/**")
    for glob in spec.images:
        check_glob(glob)
    if not spec.authorities:
        text = "a policy without authorities refuses all that it matches: say so by a static authority that fails"
        raise malformed("AUTHORITY_MISSING", text)
    _check_names("AUTHORITY_MALFORMED", "each authority of a policy", [one.name for one in spec.authorities])
    for authority in spec.authorities:
        check_authority(authority)
        if spec.check_reference:
            _check_reference(authority)
    return spec


def check_glob(glob: str) -> str:
    """Return a glob that some `<source>/<repository>` could match; `IMAGE_MALFORMED`."""
    if not _GLOB.match(glob):
        text = "a glob is over SOURCE/REPOSITORY, in lower case and without host, tag or digest: hub/**"
        raise malformed("IMAGE_MALFORMED", text, subject=glob[:80])
    if "/" not in glob and "**" not in glob:
        text = "* stays within a segment, so this matches no SOURCE/REPOSITORY: write ** or SOURCE/**"
        raise malformed("IMAGE_MALFORMED", text, subject=glob[:80])
    return glob


def _check_names(reason: str, what: str, names: Sequence[str]) -> None:
    if len(names) != len(set(names)) or not all(map(_NAME.match, names)):
        raise malformed(reason, f"{what} has a name of its own, of at most 128 characters")


def _check_reference(authority: Authority) -> None:
    """See that signatures can name the repository: cosign's simple signing alone does, and attestations never."""
    if isinstance(authority.verifier, StaticVerdict):
        return
    if SignatureFormat.COSIGN_SIMPLE_SIGNING not in authority.formats or authority.attestations:
        text = "only signatures by simple-signing name a repository: add that format, or leave check_reference out"
        raise malformed("REFERENCE_UNSATISFIABLE", text, subject=authority.name)


def check_authority(authority: Authority) -> Authority:
    """Return an authority that could sign something, as far as it can be seen without its trust root."""
    match authority.verifier:
        case None:
            text = "an authority verifies by keys, keyless, certificates, notation or static: add one"
            raise malformed("VERIFIER_MISSING", text, subject=authority.name)
        case StaticVerdict(message=message):
            _check_looks_at_nothing(authority, "static")
            check_text(message)
            return authority
        case Notation(level=NotationLevel.SKIP):
            _check_looks_at_nothing(authority, "notation at level skip")
            return authority
        case KeySet():
            check_keys(authority.verifier.public_keys_pem, authority.verifier.threshold, subject=authority.name)
        case Keyless(identities=identities):
            check_identities(identities, subject=authority.name)
        case CertificateChain(subjects=subjects):
            check_subjects(subjects, authority.name)
        case Notation(trusted_identities=identities):
            check_notation_identities(identities, authority.name)
    _check_formats(authority)
    check_evidence(authority)
    _check_trust_root(authority)
    check_attestations(authority)
    if authority.signature_repository:
        parse_repository(authority.signature_repository)
    return authority


def _check_looks_at_nothing(authority: Authority, what: str) -> None:
    asked = {
        "formats": authority.formats,
        "trust_root": authority.trust_root,
        "log_evidence": authority.log_evidence,
        "attestations": authority.attestations,
        "signature_repository": authority.signature_repository,
    }
    if isinstance(authority.verifier, Notation):  # what it would look at, at another level
        del asked["formats"], asked["trust_root"]
    for name, value in asked.items():
        if value:
            text = f"{what} looks at no signature: leave {name} out"
            raise malformed("STATIC_MALFORMED", text, subject=authority.name)


def _check_formats(authority: Authority) -> None:
    allowed, words = COSIGN_FORMATS, "bundle, simple-signing or both"
    if isinstance(authority.verifier, Notation):
        allowed, words = NOTATION_FORMATS, "notation-jws, notation-cose or both"
    if not authority.formats or not allowed.issuperset(authority.formats):
        text = f"the formats of such an authority are {words}"
        raise malformed("FORMATS_UNFIT", text, subject=authority.name)


def check_evidence(authority: Authority) -> None:
    """See that what must prove a signature's time could do so; `LOG_EVIDENCE_OUT_OF_RANGE`, `LOG_EVIDENCE_UNFIT`."""
    asked = authority.log_evidence
    if asked is None:
        return
    counts = (asked.log_entries, asked.timestamps, asked.observed_times, asked.certificate_timestamps)
    if not all(0 <= count <= MAX_EVIDENCE for count in counts):
        raise malformed(
            "LOG_EVIDENCE_OUT_OF_RANGE", "of each kind of log evidence 0 to 8 count", subject=authority.name
        )
    if isinstance(authority.verifier, Notation):
        text = "with notation the level says what must prove the time: leave log_evidence out"
        raise malformed("LOG_EVIDENCE_UNFIT", text, subject=authority.name)
    if asked.certificate_timestamps and not isinstance(authority.verifier, Keyless):
        text = "certificate timestamps are in short-lived certificates alone: write certificate_timestamps: 0"
        raise malformed("LOG_EVIDENCE_UNFIT", text, subject=authority.name)


def _check_trust_root(authority: Authority) -> None:
    if authority.trust_root:
        return
    if not isinstance(authority.verifier, KeySet):
        text = "certificates are verified by a trust root: name one (`satctl trust create` makes it)"
        raise malformed("TRUST_ROOT_MISSING", text, subject=authority.name)
    if authority.asked_evidence != LogEvidence():
        text = "log evidence is verified by a trust root: name one (`satctl trust create` makes it)"
        raise malformed("TRUST_ROOT_MISSING", text, subject=authority.name)


def check_attestations(authority: Authority) -> None:
    """See that attestations can be made by this authority; `ATTESTATION_MALFORMED`, `CONDITION_MALFORMED`."""
    asked = authority.attestations
    if not asked:
        return
    if isinstance(authority.verifier, Notation):
        text = "notation signs images, not attestations: give them an authority of another kind"
        raise malformed("ATTESTATION_UNFIT", text, subject=authority.name)
    if len(asked) > MAX_ATTESTATIONS:
        raise malformed("ATTESTATION_MALFORMED", "an authority has at most 16 attestations", subject=authority.name)
    _check_names("ATTESTATION_MALFORMED", "each attestation of an authority", [one.name for one in asked])
    for one in asked:
        check_attestation(one)


def check_attestation(required: RequiredAttestation) -> RequiredAttestation:
    """Return an attestation with a predicate type and a condition that can be evaluated."""
    if not required.predicate_type or len(required.predicate_type) > MAX_TEXT:
        text = "an attestation has a predicate type of at most 512 characters, as https://slsa.dev/provenance/v1"
        raise malformed("ATTESTATION_MALFORMED", text, subject=required.name[:80])
    if required.condition:
        check_condition(required.condition)
    return required


def check_block(spec: BlockSpec) -> BlockSpec:
    """Return a block that blocks something; `BLOCK_EMPTY`, `DIGEST_MALFORMED`, `SIGNER_MALFORMED`, as identities."""
    if not (spec.digests or spec.signers or spec.identities):
        raise malformed("BLOCK_EMPTY", "a block that names no digest, signer or identity blocks nothing: name one")
    for digest in spec.digests:
        parse_digest(digest)
    for signer in spec.signers:
        if not _HEX_SHA256.match(signer):
            text = "a signer is the SHA-256 of its public key: 64 hexadecimal digits in lower case"
            raise malformed("SIGNER_MALFORMED", text, subject=signer[:80])
    if spec.identities:
        check_identities(spec.identities, subject="block")
    check_text(spec.reason)
    return spec


def check_signer_set(spec: SignerSetSpec) -> SignerSetSpec:
    """Return a signer set whose threshold can be met."""
    check_keys(spec.public_keys_pem, spec.threshold, subject="signer set")
    return spec


def check_text(text: str) -> str:
    """Return a text for people that is short and printable; `TEXT_TOO_LONG`, `TEXT_MALFORMED`."""
    if len(text) > MAX_TEXT:
        raise malformed("TEXT_TOO_LONG", "a text for people has at most 512 characters")
    if any((ord(one) < ord(" ") and one not in "\t\n") or one == "\x7f" for one in text):
        raise malformed("TEXT_MALFORMED", "a text for people has no control characters")
    return text
