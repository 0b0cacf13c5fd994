"""What is done on Ground Control's own host, on its database: the first operator, lost access, recovery."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from certs.authority_store import load_or_make_root
from controlplane.adapters.sql.migrate import migrate
from controlplane.app.fleet import Minted
from controlplane.bootstrap import Opened, open_fleet
from controlplane.config import Settings
from controlplane.domain.commands import EntityKind
from controlplane.domain.entities import Position
from controlplane.home import make_home
from controlplane.ports import Reserved
from fleet.errors import FleetError, Kind
from fleet.identity import GroundControlId, OperatorId, check_name, parse_id
from fleet.joinstring import JoinKind, JoinString


@dataclass(frozen=True, slots=True)
class Joined:
    """An operator, and what lets it in; no join string where identities come from SPIRE."""

    name: str
    spiffe_id: str
    join_string: str = field(repr=False)
    expires_at: datetime | None

    @property
    def facts(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "operator": self.name,
            "spiffe_id": self.spiffe_id,
            "join_string": self.join_string,
            "expires_at": self.expires_at.isoformat() if self.expires_at else None,
        }


def as_running(settings: Settings) -> Settings:
    """Take over who Ground Control is from the one that runs on this data directory, where one does."""
    facts = _running(settings)
    if not facts:
        return settings
    identity = parse_id(str(facts["spiffe_id"]))
    if not isinstance(identity, GroundControlId):
        return settings
    told = {
        "trust_domain": identity.trust_domain,
        "deployment": identity.deployment,
        "spiffe_endpoint_socket": str(facts["spiffe_endpoint_socket"]),
    }
    return settings.model_copy(update=told)


async def first_operator(settings: Settings, name: str, ttl: timedelta) -> Joined:
    """Make everything that a first start needs, an admin among it.

    Raises:
        FleetError: MALFORMED `NAME_MALFORMED`; PRECONDITION `ADDRESS_UNKNOWN` as `join_operator`.
    """
    check_name(name, what="operator")
    make_home(settings)
    migrate(settings.database)
    async with open_fleet(settings) as opened:
        await opened.fleet.init(name)
        return await _join(settings, opened, name, ttl)


async def join_operator(settings: Settings, name: str, ttl: timedelta) -> Joined:
    """Mint a join string for an operator that has a role.

    Raises:
        FleetError: UNKNOWN `OPERATOR_UNKNOWN`; PRECONDITION `ADDRESS_UNKNOWN` where a port is 0 and nothing serves.
    """
    check_name(name, what="operator")
    async with open_fleet(settings) as opened:
        return await _join(settings, opened, name, ttl)


async def recover_log(settings: Settings) -> Position:
    """Begin a new epoch."""
    async with open_fleet(settings) as opened:
        return await opened.fleet.recover(str(settings.ground_control))


async def _join(settings: Settings, opened: Opened, name: str, ttl: timedelta) -> Joined:
    spiffe_id = str(OperatorId(settings.trust_domain, name))
    if not settings.has_builtin_authority:
        return Joined(name, spiffe_id, "", None)
    address, bootstrap = _addresses(settings)
    minted: Minted = await opened.fleet.mint_token(str(settings.ground_control), EntityKind.OPERATOR, name, ttl=ttl)
    root = load_or_make_root(
        settings.authority_directory,
        settings.trust_domain,
        at=datetime.now(UTC),
        master_key_file=settings.authority_key,
    )
    line = JoinString(
        kind=JoinKind.OPERATOR,
        spiffe_id=spiffe_id,
        bootstrap=bootstrap,
        address=address,
        ground_control=str(settings.ground_control),
        roots=(root.certificate.public_bytes(Encoding.DER),),
        token_id=minted.token.id,
        secret=minted.secret,
    ).encode()
    return Joined(name, spiffe_id, line, minted.token.expires_at)


def _addresses(settings: Settings) -> tuple[str, str]:
    """Say where others reach us: as the running program found, else as the settings say."""
    running = _running(settings)
    address = settings.advertise or str(running.get("advertise", "")) or _reachable(settings.listen)
    bootstrap = (
        settings.bootstrap_advertise
        or str(running.get("bootstrap_advertise", ""))
        or _reachable(settings.bootstrap_listen)
    )
    return address, bootstrap


def _running(settings: Settings) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = json.loads(settings.ready_file.read_text())
        os.kill(int(facts["pid"]), 0)
        _ = facts["spiffe_id"], facts["spiffe_endpoint_socket"]
    except (OSError, ValueError, KeyError):
        return {}  # none runs, or one of another version
    return facts


def _reachable(listen: str) -> str:
    host, _, port = listen.rpartition(":")
    if port == "0":
        text = "the port is chosen when Ground Control starts: run `ground-control serve` first, or set the address"
        raise FleetError(Kind.PRECONDITION, "ADDRESS_UNKNOWN", text, subject=listen)
    return Reserved(host.strip("[]"), int(port)).reachable
