"""spire-server's administration: entries, agents, join tokens, the trust bundle.

By `spire-server … -output json` rather than its gRPC API: no foreign proto files to keep in step, the program is
always the server's own version, it works where grpc is not loaded, and one call costs 50 ms on a path that runs once
for each satellite. Whoever may open the server's socket may do all of this; nobody else can.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from fleet.errors import FleetError, Kind
from spire.answers import Agent, Entry, Json, read_agent, read_entry, read_list, read_status
from spire.programs import ask, ask_json, malformed_answer

_OK, _NOT_FOUND, _ALREADY_EXISTS = 0, 5, 6
TOKEN_TTL = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Registrar:
    """The administration of one spire-server.

    Attributes:
        program: spire-server.
        socket: its admin socket.
    """

    program: Path
    socket: Path

    async def create(self, entry: Entry) -> Entry:
        """Make an entry, or bring the one there is to these DNS names and this life; return it with its id.

        Two entries are the same if ID, parent and selectors are. To repeat it, or to race another, does no harm.

        Raises:
            FleetError: UNAVAILABLE `SPIRE_UNREACHABLE`; PRECONDITION `SPIRE_REFUSED` with the server's reason.
        """
        code, message, result = read_status(await self._ask("entry", "create", *entry.arguments))
        if code == _ALREADY_EXISTS:
            return await self._match(entry)
        if code != _OK:
            raise _refused(entry.spiffe_id, message)
        return read_entry(result["entry"])

    async def entries(self, *, spiffe_id: str = "", parent: str = "") -> list[Entry]:
        """List the entries, all or those of an ID or a parent.

        Raises:
            FleetError: UNAVAILABLE `SPIRE_UNREACHABLE`; PRECONDITION `SPIRE_REFUSED`.
        """
        arguments = ["-spiffeID", spiffe_id] if spiffe_id else []
        arguments += ["-parentID", parent] if parent else []
        answer = await self._ask("entry", "show", *arguments)
        return [read_entry(read) for read in read_list(answer, "entries")]

    async def delete(self, entry_id: str) -> bool:
        """Delete an entry; False where there is none. Its SVIDs are not renewed; those issued live to their end.

        Raises:
            FleetError: UNAVAILABLE `SPIRE_UNREACHABLE`; PRECONDITION `SPIRE_REFUSED`.
        """
        code, message, _ = read_status(await self._ask("entry", "delete", "-entryID", entry_id))
        if code not in {_OK, _NOT_FOUND}:
            raise _refused(entry_id, message)
        return code == _OK

    async def agents(self, *, selectors: frozenset[str] = frozenset()) -> list[Agent]:
        """List the agents that have attested, all or those that bear all of these selectors.

        Raises:
            FleetError: UNAVAILABLE `SPIRE_UNREACHABLE`; PRECONDITION `SPIRE_REFUSED`.
        """
        answer = await self._ask("agent", "list")
        agents = [read_agent(read) for read in read_list(answer, "agents")]
        return [agent for agent in agents if selectors <= agent.selectors]

    async def ban(self, agent_id: str) -> bool:
        """Shut an agent out for good, and its device certificate with it; False where no such agent attested.

        Raises:
            FleetError: UNAVAILABLE `SPIRE_UNREACHABLE`; PRECONDITION `SPIRE_REFUSED`.
        """
        return await self._on_agent("ban", agent_id)

    async def evict(self, agent_id: str) -> bool:
        """Forget an agent, and its ban: it may attest anew if its attestor allows. False where there is none.

        Raises:
            FleetError: UNAVAILABLE `SPIRE_UNREACHABLE`; PRECONDITION `SPIRE_REFUSED`.
        """
        return await self._on_agent("evict", agent_id)

    async def join_token(self, node_id: str, *, ttl: timedelta = TOKEN_TTL) -> str:
        """Mint a token for one attestation of one machine, which then also bears `node_id`.

        Raises:
            FleetError: UNAVAILABLE `SPIRE_UNREACHABLE`; PRECONDITION `SPIRE_REFUSED`.
        """
        seconds = str(int(ttl.total_seconds()))
        answer = await self._ask("token", "generate", "-spiffeID", node_id, "-ttl", seconds)
        token = answer.get("value")
        if not isinstance(token, str) or not token:
            raise malformed_answer("a join token's answer without a token")  # the answer may hold the secret
        return token

    async def bundle(self) -> str:
        """Fetch the trust domain's roots, PEM.

        Raises:
            FleetError: UNAVAILABLE `SPIRE_UNREACHABLE`; PRECONDITION `SPIRE_REFUSED`.
        """
        arguments = ["bundle", "show", "-format", "pem", "-socketPath", str(self.socket)]
        return await ask(self.program, arguments)

    async def _ask(self, noun: str, verb: str, *arguments: str) -> Json:
        return await ask_json(self.program, [noun, verb, "-socketPath", str(self.socket), *arguments])

    async def _match(self, entry: Entry) -> Entry:
        """Bring the entry that is in the way to what is wanted."""
        for there in await self.entries(spiffe_id=entry.spiffe_id, parent=entry.parent):
            if there.selectors != entry.selectors:
                continue
            wanted = replace(entry, id=there.id)
            if wanted == there:
                return there
            arguments = ["-entryID", there.id, *entry.arguments]
            code, message, _ = read_status(await self._ask("entry", "update", *arguments))
            if code == _OK:
                return wanted
            raise _refused(entry.spiffe_id, message)
        text = "an entry came and went meanwhile: try again"
        raise FleetError(Kind.CONFLICT, "SPIRE_ENTRY_MOVED", text, subject=entry.spiffe_id)

    async def _on_agent(self, verb: str, agent_id: str) -> bool:
        try:
            await self._ask("agent", verb, "-spiffeID", agent_id)
        except FleetError as error:
            if error.kind is Kind.UNKNOWN:
                return False
            raise
        return True


def _refused(subject: str, message: str) -> FleetError:
    text = "SPIRE refused this"
    return FleetError(Kind.PRECONDITION, "SPIRE_REFUSED", text, subject=f"{subject}: {message}"[:300])
