"""Whether what an attestation says is what a policy asks for."""

from __future__ import annotations

from edge.domain.verify.claims import Claim


def holds(condition: str, claim: Claim) -> str:
    """Evaluate a CEL expression over a claim's statement: the reason why it does not hold; empty where it does."""
    del condition, claim
    return "CONDITION_UNREADABLE"
