"""Rules as JSON, for those who judge in a process of their own.

`{"by": "keys", "key": PEM}`; `{"by": "keyless", "trusted_root": text, "issuer", "subject"}`; `{"by": "notation",
"ca": PEM, "identity": text}`.
"""

from __future__ import annotations

from collections.abc import Mapping

from edge.domain.policy import Rules, TrustRoot
from fleet.policy import (
    Authority,
    Keyless,
    Notation,
    SignatureFormat,
    SignerIdentity,
    TextMatch,
    TrustRootSpec,
)
from tests.rig.judging import key_authority, policy_of

NOTATION = (SignatureFormat.NOTATION_JWS, SignatureFormat.NOTATION_COSE)
_ROOT = "private"


def rules_of(asked: Mapping[str, str]) -> Rules:
    """Make rules of one policy, for every image."""
    if asked["by"] == "keys":
        return Rules((policy_of(key_authority("key", asked["key"].encode())),))
    if asked["by"] == "keyless":
        who = SignerIdentity(TextMatch(asked["issuer"]), TextMatch(asked["subject"]))
        keyless = Authority("developers", Keyless((who,)), (SignatureFormat.SIGSTORE_BUNDLE,), trust_root=_ROOT)
        return _rooted(keyless, TrustRootSpec(asked["trusted_root"].encode()))
    notary = Authority("notary", Notation((asked["identity"],)), NOTATION, trust_root=_ROOT)
    return _rooted(notary, TrustRootSpec(ca_pem=(asked["ca"],)))


def _rooted(authority: Authority, trust: TrustRootSpec) -> Rules:
    return Rules((policy_of(authority),), {("fleet", _ROOT): TrustRoot(_ROOT, trust)})
