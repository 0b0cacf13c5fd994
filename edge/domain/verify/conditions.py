"""Whether what an attestation says is what a policy asks for.

Only what a trusted signer said gets here; its size is bounded all the same before lists are walked within lists.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from edge.domain.verify.claims import Claim
from fleet.conditions import compile_condition
from fleet.errors import FleetError

MAX_WALKED = 3000
"""Values in a statement whose lists are walked within each other: a few seconds at the most."""


def holds(expression: str, claim: Claim) -> str:
    """Evaluate a CEL expression over a claim's statement: the reason why it does not hold; empty where it does."""
    try:
        condition = compile_condition(expression)
    except FleetError:
        return "CONDITION_UNREADABLE"
    if condition.nesting > 1 and sum(1 for _ in islice(_values(claim.predicate), MAX_WALKED + 1)) > MAX_WALKED:
        return "CONDITION_TOO_COSTLY"
    try:
        answer = condition.program.execute({"predicate": claim.predicate, "subject": list(claim.subjects)})
    except Exception:  # noqa: BLE001 - the library's errors are of many kinds; a statement without the field is one
        return "CONDITION_FALSE"
    return "" if answer is True else "CONDITION_FALSE"


def _values(value: object) -> Iterator[None]:
    """Count what is in a JSON value."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        yield None
        if isinstance(one, dict):
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
