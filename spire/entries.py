"""The fleet's members as registration entries.

Each identity has two: a *node entry* names its machine by what that proved at attestation, and a *workload entry*
under it says which process there gets the SVID.

    spiffe://<trust domain>/device/satellite/region/eu/shop-1   the machine, whatever certificate it has this year
    └ spiffe://<trust domain>/satellite/region/eu/shop-1        the process with unix:uid:1000 on it

So entries can be made before the machine is switched on, outlive its device certificate, and are the same for every
attestor; a join token takes the machine's ID with it and needs no node entry.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from fleet.errors import malformed
from fleet.identity import FleetId
from spire.answers import Entry
from spire.configuration import MINIMUM_SVID_TTL
from spire.device_certificate import place
from spire.registrar import Registrar

_SERVER_PATH = "/spire/server"


@dataclass(frozen=True, slots=True)
class Workload:
    """Which process gets the SVID, by what the agent's unix attestor sees.

    Attributes:
        uid: its user. One user for each identity of a machine: a Python program's path is the interpreter's.
        path: its executable; the agent must be told to find paths.
        sha256: its executable's digest, hexadecimal; likewise.
    """

    uid: int
    path: str = ""
    sha256: str = ""

    @property
    def selectors(self) -> frozenset[str]:
        """The selectors, all of which must hold."""
        chosen = {f"unix:uid:{self.uid}"}
        chosen |= {f"unix:path:{self.path}"} if self.path else set()
        return frozenset(chosen | ({f"unix:sha256:{self.sha256}"} if self.sha256 else set()))


def node_id(identity: FleetId) -> str:
    """Say what the machine that runs this identity is called, whatever it attests with."""
    return str(identity).replace(f"{identity.trust_domain}/", f"{identity.trust_domain}/device/", 1)


def device_selectors(identity: FleetId) -> frozenset[str]:
    """Say what the machine's device certificate must state (spire/device_certificate.py)."""
    return frozenset(f"x509pop:san:{name}:{value}" for name, value in place(identity).items())


def node_entry(identity: FleetId, selectors: frozenset[str] | None = None) -> Entry:
    """Make the entry that names a machine.

    Args:
        identity: what runs on it.
        selectors: what the machine proves; None takes our device certificates, another PKI's or a TPM's are
            given: `x509pop:subject:cn:…`, `tpm_devid:subject:cn:…`.

    Raises:
        FleetError: MALFORMED `SPIRE_SELECTORS_MALFORMED` for no selectors: that would be every machine.
    """
    chosen = device_selectors(identity) if selectors is None else selectors
    if not chosen:
        raise malformed("SPIRE_SELECTORS_MALFORMED", "a machine is named by one selector at least")
    return Entry(node_id(identity), f"spiffe://{identity.trust_domain}{_SERVER_PATH}", chosen)


def workload_entry(
    identity: FleetId,
    workload: Workload,
    *,
    dns_names: tuple[str, ...] = (),
    svid_ttl: timedelta | None = None,
    on: FleetId | None = None,
) -> Entry:
    """Make the entry that gives a process its SVID.

    Args:
        identity: the SVID's.
        workload: which process.
        dns_names: for Ground Control the names that grpcurl and browsers call it by; for others none.
        svid_ttl: its life; None is the server's default.
        on: the identity whose machine this one shares; None for a machine of its own.

    Raises:
        FleetError: MALFORMED `SPIRE_TTL_MALFORMED` for a life under 4 s.
    """
    if svid_ttl is not None and svid_ttl < MINIMUM_SVID_TTL:
        raise malformed("SPIRE_TTL_MALFORMED", "SVIDs live 4 s or longer", subject=str(svid_ttl))
    return Entry(str(identity), node_id(on or identity), workload.selectors, dns_names, svid_ttl)


async def register(registrar: Registrar, node: Entry | None, workload: Entry) -> None:
    """Make both entries of an identity; to repeat it does no harm.

    Args:
        registrar: the server's.
        node: the machine's; None where a join token or another identity's entry names it.
        workload: the process's.

    Raises:
        FleetError: UNAVAILABLE `SPIRE_UNREACHABLE`; PRECONDITION `SPIRE_REFUSED`.
    """
    if node is not None:
        await registrar.create(node)
    await registrar.create(workload)


async def revoke(registrar: Registrar, identity: FleetId) -> list[str]:
    """Take an identity away: its workload and node entries go, and its own machine's agents are banned.

    Ground Control's own revocation cuts streams at once; this ends what SPIRE would go on issuing. A return takes a
    new device certificate and new entries. A machine that it only shares is left alone.

    Returns:
        The IDs of the agents that were banned.

    Raises:
        FleetError: UNAVAILABLE `SPIRE_UNREACHABLE`; PRECONDITION `SPIRE_REFUSED`.
    """
    nodes = await registrar.entries(spiffe_id=node_id(identity))
    for entry in await registrar.entries(spiffe_id=str(identity)):
        await registrar.delete(entry.id)
    banned = [agent for agent in await _agents_of(registrar, nodes) if await registrar.ban(agent)]
    for entry in nodes:  # last: were it first, a failure on the way would leave no trace of which agents to ban
        await registrar.delete(entry.id)
    return banned


async def _agents_of(registrar: Registrar, nodes: list[Entry]) -> list[str]:
    agents = await registrar.agents()
    found = {
        agent.id
        for agent in agents
        for node in nodes
        if node.selectors <= agent.selectors or f"spiffe_id:{agent.id}" in node.selectors
    }
    return sorted(found)
