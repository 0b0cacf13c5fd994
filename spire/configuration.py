"""What spire-server and spire-agent are told: settings as values, written as the HCL that both programs read.

Source: SPIRE 1.15, configuration references of server, agent and their plugins.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from fleet.errors import malformed
from spire.hcl import Block, Value, render

MINIMUM_SVID_TTL = timedelta(seconds=4)
"""The least that an entry may ask for. SPIRE dates an SVID 10 s back and renews at half of that life, so one of 10 s or
less is renewed at every look of the agent. Of 2 s, with a look every second, 0.3 s were left at renewal; of 4 s, 2.3 s
(measured)."""
MINIMUM_DEFAULT_TTL = timedelta(seconds=30)
"""The least that a server may be told. Its own TLS certificate lives as long, and it looks at that every 5 s only: of
4 s it was expired at times, and no agent could attest (measured)."""
CA_LIVES_PER_SVID = 6
"""SPIRE's authority hands over at five sixths of its life; a shorter one would cut SVIDs short."""
MINIMUM_AVAILABILITY_TARGET = timedelta(hours=24)
_AVAILABILITY_GRACE = timedelta(hours=12)
_SOCKET_PATH_BYTES = 107  # sun_path less its terminating zero (unix(7))


@dataclass(frozen=True, slots=True)
class X509PopTrust:
    """Server side of x509pop: whose device certificates are taken."""

    ca_bundle: Path

    @property
    def plugin(self) -> tuple[str, Block]:
        """The plugin's name and data."""
        return "x509pop", {"ca_bundle_path": self.ca_bundle}


@dataclass(frozen=True, slots=True)
class TpmDevidTrust:
    """Server side of tpm_devid: whose DevID certificates and whose TPMs are taken."""

    devid_ca: Path
    endorsement_ca: Path

    @property
    def plugin(self) -> tuple[str, Block]:
        """The plugin's name and data."""
        data = {"devid_ca_path": self.devid_ca, "endorsement_ca_path": self.endorsement_ca}
        return "tpm_devid", data


@dataclass(frozen=True, slots=True)
class JoinTokenTrust:
    """Server side of join_token: one attestation for each token, none after it. For demonstrations."""

    @property
    def plugin(self) -> tuple[str, Block]:
        """The plugin's name and data."""
        return "join_token", {}


@dataclass(frozen=True, slots=True)
class X509Pop:
    """Agent side of x509pop: a device certificate and its key, PEM."""

    certificate: Path
    key: Path

    @property
    def plugin(self) -> tuple[str, Block]:
        """The plugin's name and data."""
        return "x509pop", {"certificate_path": self.certificate, "private_key_path": self.key}


@dataclass(frozen=True, slots=True)
class TpmDevid:
    """Agent side of tpm_devid: a DevID certificate (PEM) and the key blobs that only its TPM can load."""

    certificate: Path
    private_blob: Path
    public_blob: Path
    device: Path | None = None
    """The TPM's device file; None lets the agent find it."""

    @property
    def plugin(self) -> tuple[str, Block]:
        """The plugin's name and data."""
        data: dict[str, Value | Block] = {
            "devid_cert_path": self.certificate,
            "devid_priv_path": self.private_blob,
            "devid_pub_path": self.public_blob,
        }
        return "tpm_devid", data | ({"tpm_device_path": self.device} if self.device else {})


@dataclass(frozen=True, slots=True)
class JoinToken:
    """Agent side of join_token. The token is read from a file: a command line is everybody's to read."""

    token_file: Path

    @property
    def plugin(self) -> tuple[str, Block]:
        """The plugin's name and data."""
        return "join_token", {}


Trust = X509PopTrust | TpmDevidTrust | JoinTokenTrust
Attestor = X509Pop | TpmDevid | JoinToken


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """One spire-server, with SQLite beside it.

    Attributes:
        trust_domain: without scheme.
        directory: private; holds the datastore and, unless they are kept in memory, the authority's keys.
        socket: the admin API; whoever can open it rules the trust domain.
        port: TCP port of the agents' API; 0 only until a start has chosen one.
        trusts: how agents may attest.
        root_certificate: PEM of a long-lived root that signs SPIRE's own authorities. Without one SPIRE is its own
            root for `ca_ttl`, and an agent that was away for longer trusts nobody and cannot come back by itself.
        root_key: PEM of the root's key.
        svid_ttl: life of workloads' SVIDs, unless an entry says otherwise, and of the server's own certificate.
        agent_ttl: life of agents' own SVIDs. Not seconds: each renewal of an agent that can attest anew is an
            attestation, and the server takes one a second from an address.
        ca_ttl: life of each of SPIRE's own authorities.
        keys_in_memory: a restart makes new authorities; for demonstrations and tests.
        entry_reload: how old the server's view of the entries may be; None is SPIRE's 5 s.
    """

    trust_domain: str
    directory: Path
    socket: Path
    port: int
    trusts: tuple[Trust, ...]
    root_certificate: Path | None = None
    root_key: Path | None = None
    address: str = "127.0.0.1"
    svid_ttl: timedelta = timedelta(hours=1)
    agent_ttl: timedelta = timedelta(hours=1)
    ca_ttl: timedelta = timedelta(hours=24)
    keys_in_memory: bool = False
    entry_reload: timedelta | None = None

    def __post_init__(self) -> None:
        check_socket_path(self.socket)
        check_lives(self.svid_ttl, self.ca_ttl)
        if (self.root_certificate is None) != (self.root_key is None):
            raise malformed("SPIRE_ROOT_MALFORMED", "a root is a certificate and its key")

    @property
    def configuration(self) -> str:
        """The whole file, HCL."""
        return render({"server": self._server(), "plugins": self._plugins()})

    def _server(self) -> Block:
        server: dict[str, Value | Block] = {
            "bind_address": self.address,
            "bind_port": self.port,
            "socket_path": self.socket,
            "trust_domain": self.trust_domain,
            "data_dir": self.directory,
            "log_format": "json",
            "log_level": "INFO",
            "default_x509_svid_ttl": self.svid_ttl,
            "agent_ttl": self.agent_ttl,
            "ca_ttl": self.ca_ttl,
        }
        if self.entry_reload is not None:
            server["experimental"] = {"cache_reload_interval": self.entry_reload}
        return server

    def _plugins(self) -> Block:
        store: Block = {"database_type": "sqlite3", "connection_string": self.directory / "datastore.sqlite3"}
        plugins: dict[str, Value | Block] = {'DataStore "sql"': {"plugin_data": store}}
        keys: Block = {} if self.keys_in_memory else {"keys_path": self.directory / "keys.json"}
        plugins[f'KeyManager "{"memory" if self.keys_in_memory else "disk"}"'] = {"plugin_data": keys}
        for name, data in (trust.plugin for trust in self.trusts):
            plugins[f'NodeAttestor "{name}"'] = {"plugin_data": data}
        if self.root_certificate and self.root_key:
            upstream = {"cert_file_path": self.root_certificate, "key_file_path": self.root_key}
            plugins['UpstreamAuthority "disk"'] = {"plugin_data": upstream}
        return plugins


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """One spire-agent.

    Attributes:
        trust_domain: without scheme.
        directory: private; holds the trust bundle last seen and the agent's SVID.
        socket: the Workload API; its directory's mode says who may ask, the entries' selectors who gets what.
        server_address: host of the spire-server.
        server_port: port of the spire-server.
        trust_bundle: PEM of the trust domain's roots, for the first contact.
        attestor: how this machine proves itself.
        keys_on_disk: keep the agent's key. None: only where the agent cannot attest twice (join_token); elsewhere
            the device key is the only secret at rest.
        availability_target: how much life every SVID keeps in reserve for when the server is out of reach, from
            24 h; SVIDs must live 12 h longer than that, or SPIRE silently renews at half life.
        sync_interval: how often the agent asks the server what is new; None is SPIRE's 5 s.
        find_paths: offer the selectors `unix:path` and `unix:sha256` of the caller's program.
    """

    trust_domain: str
    directory: Path
    socket: Path
    server_address: str
    server_port: int
    trust_bundle: Path
    attestor: Attestor
    keys_on_disk: bool | None = None
    availability_target: timedelta | None = None
    sync_interval: timedelta | None = None
    find_paths: bool = False

    def __post_init__(self) -> None:
        check_socket_path(self.socket)
        if self.availability_target is not None and self.availability_target < MINIMUM_AVAILABILITY_TARGET:
            raise malformed("SPIRE_TTL_MALFORMED", "an availability target is 24 h or more")

    @property
    def configuration(self) -> str:
        """The whole file, HCL."""
        return render({"agent": self._agent(), "plugins": self._plugins()})

    def _agent(self) -> Block:
        agent: dict[str, Value | Block] = {
            "trust_domain": self.trust_domain,
            "data_dir": self.directory,
            "socket_path": self.socket,
            "server_address": self.server_address,
            "server_port": self.server_port,
            "trust_bundle_path": self.trust_bundle,
            "log_format": "json",
            "log_level": "INFO",
        }
        if self.sync_interval is not None:
            agent["experimental"] = {"sync_interval": self.sync_interval}
        if isinstance(self.attestor, JoinToken):
            agent["join_token_file"] = self.attestor.token_file
        if self.availability_target is not None:
            agent["availability_target"] = self.availability_target
        return agent

    def _plugins(self) -> Block:
        name, data = self.attestor.plugin
        on_disk = isinstance(self.attestor, JoinToken) if self.keys_on_disk is None else self.keys_on_disk
        keys: Block = {"directory": self.directory} if on_disk else {}
        return {
            f'NodeAttestor "{name}"': {"plugin_data": data},
            f'KeyManager "{"disk" if on_disk else "memory"}"': {"plugin_data": keys},
            'WorkloadAttestor "unix"': {"plugin_data": {"discover_workload_path": self.find_paths}},
        }


def check_socket_path(path: Path) -> None:
    """Refuse a path that no unix socket can have.

    Raises:
        FleetError: MALFORMED `SOCKET_PATH_MALFORMED` where it is relative or longer than 107 bytes.
    """
    if not path.is_absolute() or len(os.fsencode(path)) > _SOCKET_PATH_BYTES:
        text = "a unix socket's path is absolute and has 107 bytes at most"
        raise malformed("SOCKET_PATH_MALFORMED", text, subject=str(path))


def check_lives(svid_ttl: timedelta, ca_ttl: timedelta) -> None:
    """Refuse lives that SPIRE would cut short.

    Raises:
        FleetError: MALFORMED `SPIRE_TTL_MALFORMED`.
    """
    if svid_ttl < MINIMUM_DEFAULT_TTL:
        text = "a server's SVIDs live 30 s or longer; an entry's may live 4 s"
        raise malformed("SPIRE_TTL_MALFORMED", text, subject=str(svid_ttl))
    if ca_ttl < CA_LIVES_PER_SVID * svid_ttl:
        text = "SPIRE's authority lives six times as long as its SVIDs, or longer"
        raise malformed("SPIRE_TTL_MALFORMED", text, subject=str(ca_ttl))


def check_availability(target: timedelta, svid_ttl: timedelta) -> None:
    """Refuse an availability target that SVIDs of this life cannot keep.

    Raises:
        FleetError: MALFORMED `SPIRE_TTL_MALFORMED` unless SVIDs live at least 12 h longer than the target.
    """
    if svid_ttl < target + _AVAILABILITY_GRACE:
        text = "SVIDs live at least 12 h longer than the availability target"
        raise malformed("SPIRE_TTL_MALFORMED", text, subject=str(svid_ttl))
