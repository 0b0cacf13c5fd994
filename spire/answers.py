"""SPIRE's answers as values: entries and agents, read from the JSON that spire-server prints.

Source: SPIRE API SDK, types.Entry and types.Agent, in protobuf's JSON (64-bit numbers are strings).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from spire.programs import malformed_answer

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """Who gets which SVID: whoever the agents under `parent` attest with all of the selectors.

    Attributes:
        spiffe_id: the ID of the SVID.
        parent: an agent's ID, a node entry's ID, or the server's own for a node entry.
        selectors: `type:value`, all of which must hold.
        dns_names: DNS names of the SVID.
        svid_ttl: life of the SVID; None is the server's default.
        id: SPIRE's name of the entry; empty until it is made.
    """

    spiffe_id: str
    parent: str
    selectors: frozenset[str]
    dns_names: tuple[str, ...] = ()
    svid_ttl: timedelta | None = None
    id: str = ""

    @property
    def arguments(self) -> list[str]:
        """The entry as options of `spire-server entry create` and `update`."""
        arguments = ["-spiffeID", self.spiffe_id, "-parentID", self.parent]
        for selector in sorted(self.selectors):
            arguments += ["-selector", selector]
        for name in self.dns_names:
            arguments += ["-dns", name]
        if self.svid_ttl is not None:
            arguments += ["-x509SVIDTTL", str(int(self.svid_ttl.total_seconds()))]
        return arguments


@dataclass(frozen=True, slots=True)
class Agent:
    """One machine that has attested."""

    id: str
    attestation: str
    selectors: frozenset[str]
    is_banned: bool
    can_reattest: bool
    expires_at: datetime


def _id(read: Json) -> str:
    return f"spiffe://{read['trust_domain']}{read['path']}"


def _selectors(read: Json) -> frozenset[str]:
    return frozenset(f"{one['type']}:{one['value']}" for one in read["selectors"])


def read_entry(read: Json) -> Entry:
    """Read a types.Entry.

    Raises:
        FleetError: INTERNAL `SPIRE_ANSWER_MALFORMED`.
    """
    try:
        ttl = int(read["x509_svid_ttl"])
        return Entry(
            spiffe_id=_id(read["spiffe_id"]),
            parent=_id(read["parent_id"]),
            selectors=_selectors(read),
            dns_names=tuple(read["dns_names"]),
            svid_ttl=timedelta(seconds=ttl) if ttl else None,
            id=str(read["id"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise malformed_answer(read) from error


def read_agent(read: Json) -> Agent:
    """Read a types.Agent.

    Raises:
        FleetError: INTERNAL `SPIRE_ANSWER_MALFORMED`.
    """
    try:
        return Agent(
            id=_id(read["id"]),
            attestation=str(read["attestation_type"]),
            selectors=_selectors(read),
            is_banned=bool(read["banned"]),
            can_reattest=bool(read["can_reattest"]),
            expires_at=datetime.fromtimestamp(int(read["x509svid_expires_at"]), UTC),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise malformed_answer(read) from error


def read_list(answer: Json, name: str) -> list[Json]:
    """Read the list of that name.

    Raises:
        FleetError: INTERNAL `SPIRE_ANSWER_MALFORMED`.
    """
    items = answer.get(name)
    if not isinstance(items, list):
        raise malformed_answer(answer)
    return items


def read_status(answer: Json) -> tuple[int, str, Json]:
    """Read the first of a batch's results: gRPC status code, message, and the result.

    Raises:
        FleetError: INTERNAL `SPIRE_ANSWER_MALFORMED`.
    """
    try:
        result = answer["results"][0]
        return int(result["status"]["code"]), str(result["status"]["message"]), result
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise malformed_answer(answer) from error
