"""Why an image is refused or warned of: stable words, and what they mean to people."""

from __future__ import annotations

TEXTS = {
    "AGENT_TOO_OLD": "a policy, trust root or block is newer than this satellite can read: upgrade the satellite",
    "BLOCKED": "the image or a part of it is blocked",
    "NO_POLICY": "no policy matches the image: add one that says who must have signed it",
    "POLICY_EMPTY": "a policy that matches has no authority that anybody could satisfy",
    "EVIDENCE_LIMIT": "more than 100 signatures and referrers, or more than 32 MiB of them",
    "STATIC_FAIL": "the policy refuses it, whoever signed it",
    "UNSIGNED": "no signature was found for the image",
    "EVIDENCE_MALFORMED": "the signatures that were found cannot be read",
    "FORMAT_NOT_ALLOWED": "it is signed only in a format that the policy does not count",
    "VERIFIER_UNSUPPORTED": "the policy asks for a kind of signer that the signature is not made by",
    "KEY_UNUSABLE": "the policy's key cannot be read",
    "TRUST_ROOT_MISSING": "the policy relies on a trust root that is not there",
    "TRUST_EXPIRED": "the policy or a trust root that it relies on has expired",
    "CLOCK_UNKNOWN": "the verdict needs the present time, which is not known here",
    "TRUST_ROOT_MALFORMED": "the policy relies on a trust root that cannot be read",
    "SIGNATURE_INVALID": "no signature was made by a signer that the policy trusts",
    "LOG_ENTRY_MISSING": "it is signed, but not in as many transparency logs of the trust root as the policy asks for",
    "TIMESTAMP_MISSING": "it is signed, but without as many timestamps of the trust root as the policy asks for",
    "TIMESTAMP_INVALID": "its timestamp is none of the trust root's timestamp authorities",
    "TIME_UNPROVEN": "it is signed with a short-lived certificate, and nothing that is trusted proves when",
    "CERTIFICATE_UNTRUSTED": "it is signed with a certificate of another authority, or not one for signing code",
    "CERTIFICATE_EXPIRED": "the certificate was not valid when it was signed",
    "SIGNATURE_EXPIRED": "the signature itself has expired",
    "REVOCATION_UNKNOWN": "the certificate could be revoked, and the trust root has no current list that tells",
    "CERTIFICATE_REVOKED": "the certificate has been revoked",
    "CERTIFICATE_TIMESTAMP_MISSING": "the certificate is not in as many certificate logs as the policy asks for",
    "IDENTITY_OTHER": "the certificate is another's than those whom the policy names",
    "SIGNER_BLOCKED": "it is signed, but by a signer that is blocked",
    "DIGEST_NOT_SIGNED": "the signature is a trusted signer's but for another digest",
    "NOT_A_SIGNATURE": "a trusted signer attests something about the image but does not sign it",
    "PREDICATE_OTHER": "a trusted signer attests something else than the policy asks for",
    "ATTESTATION_MISSING": "no trusted signer made an attestation that the policy asks for",
    "CONDITION_UNREADABLE": "the policy's condition cannot be evaluated",
    "CONDITION_TOO_COSTLY": "the policy's condition walks lists within lists, for which the attestation is too large",
    "CONDITION_FALSE": "an attestation is there but does not satisfy the policy's condition",
    "REFERENCE_NOT_SIGNED": "the signature does not name the repository, which the policy demands",
    "THRESHOLD_NOT_MET": "too few of the policy's keys have signed it",
}
"""The public text of each reason."""
FURTHEST = tuple(TEXTS)
"""Of several failures the one that came furthest is told: it is the one to mend."""
_OF_RULES = frozenset(
    {
        *("VERIFIER_UNSUPPORTED", "KEY_UNUSABLE", "TRUST_ROOT_MISSING", "TRUST_ROOT_MALFORMED"),
        *("TRUST_EXPIRED", "CLOCK_UNKNOWN"),
    }
)
OF_SIGNATURES = frozenset(FURTHEST[FURTHEST.index("UNSIGNED") + 1 :]) - _OF_RULES
"""What can be wrong with a signature that is there; the rest is of rules and of time, and passes with them."""
