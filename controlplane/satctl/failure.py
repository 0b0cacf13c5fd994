"""How a command fails: one sentence with the reason and the remedy, and an exit code that scripts can act on."""

from __future__ import annotations

from enum import IntEnum

from controlplane.satctl.render import say
from fleet.errors import FleetError, Kind


class Exit(IntEnum):
    """Exit codes, as help says them."""

    FAILED = 1
    USAGE = 2
    REFUSED = 3
    UNREACHABLE = 4


_EXITS = {
    Kind.MALFORMED: Exit.USAGE,
    Kind.REFUSED: Exit.REFUSED,
    Kind.UNIDENTIFIED: Exit.REFUSED,
    Kind.UNAVAILABLE: Exit.UNREACHABLE,
}
_REMEDIES = {
    "ROLE_MISSING": "an admin gives roles: `satctl operator set NAME --role editor`",
    "REVOKED": "an admin must let you in again",
    "TOKEN_USED": "the join string was used with other keys: ask for a new one, and for what happened to this one",
    "TOKEN_EXPIRED": "ask for a new join string",
    "TOKEN_INVALID": "ask for a new join string",
    "SATELLITE_UNKNOWN": "`satctl satellite list` shows those there are",
    "GROUP_UNKNOWN": "`satctl group list` shows those there are, `satctl group create NAME` makes one",
    "SOURCE_UNKNOWN": "`satctl source list` shows those there are, `satctl source create NAME --address …` makes one",
    "ARTIFACT_UNKNOWN": "`satctl artifact list` shows those there are",
    "POLICY_UNKNOWN": "`satctl policy list` shows those there are",
    "TRUST_ROOT_UNKNOWN": "`satctl trust list` shows those there are, `satctl trust create NAME` makes one",
    "BLOCK_UNKNOWN": "`satctl block list` shows those there are",
    "OPERATOR_UNKNOWN": "`satctl operator set NAME --role viewer` makes one",
    "TOKEN_UNKNOWN": "`satctl token list` shows those there are",
    "SATELLITE_EXISTS": "`satctl satellite update` changes it",
    "GROUP_EXISTS": "`satctl group update` changes it",
    "SOURCE_EXISTS": "`satctl source update` changes it",
    "ARTIFACT_EXISTS": "`satctl artifact update` changes it",
    "POLICY_EXISTS": "`satctl policy apply` changes it",
    "TRUST_ROOT_EXISTS": "`satctl trust apply` changes it",
    "BLOCK_EXISTS": "`satctl policy apply` changes it, by a document with `kind: Block`",
    "GC_ID_MISMATCH": "somebody else answers at this address: do not log in there, and tell your admin",
    "GC_UNTRUSTED": "its certificate is from another authority: somebody else may answer at this address",
}
"""What a person does next, where the error's own text does not say it."""


def exit_code(error: FleetError) -> Exit:
    """Say how the program ends on an error."""
    return _EXITS.get(error.kind, Exit.FAILED)


def tell(error: FleetError) -> None:
    """Say what went wrong and what to do."""
    remedy = _REMEDIES.get(error.reason)
    say(f"{error.reason}: {error.public}" + (f"; {remedy}" if remedy else ""), style="red")
