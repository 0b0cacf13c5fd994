"""Ground Control's settings: environment variables `GROUND_CONTROL_*`, over which command-line options win.

A wrong value fails at start and names its variable.
"""

from __future__ import annotations

import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from controlplane.domain.compaction import KEPT
from fleet.errors import FleetError, malformed
from fleet.identity import GroundControlId, check_name, parse_id

PREFIX = "GROUND_CONTROL_"
_ADDRESS = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9a-fA-F:.]{2,45}\]):[0-9]{1,5}\Z")
_MAX_PORT = 65535
_DATABASE = re.compile(r"(sqlite|postgres|postgresql)(\+\w+)?://")
_DURATION = re.compile(r"(?:(?P<d>\d+)d)?(?:(?P<h>\d+)h)?(?:(?P<m>\d+)m)?(?:(?P<s>\d+(?:\.\d+)?)s?)?\Z")


def default_data_dir() -> Path:
    """Where Ground Control keeps its files unless told otherwise: XDG's data directory of the user."""
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser() / "ground-control"


def _address(text: str) -> str:
    if not _ADDRESS.match(text) or int(text.rpartition(":")[2]) > _MAX_PORT:
        raise ValueError("not host:port (an IPv6 address stands in brackets)")
    return text


def _socket(text: str) -> str:
    if text and not text.removeprefix("unix:").startswith("/"):
        raise ValueError("not unix:///absolute/path")
    return text


def _database(url: SecretStr) -> SecretStr:
    if url.get_secret_value() and not _DATABASE.match(url.get_secret_value()):
        raise ValueError("not sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME")
    return url


def _advertised(text: str) -> str:
    return _address(text) if text else text


def _deployment(name: str) -> str:
    try:
        return check_name(name, what="deployment")
    except FleetError as error:
        raise ValueError(error.text) from error


def _trust_domain(name: str) -> str:
    try:
        parse_id(f"spiffe://{name}/gc/check")
    except FleetError as error:
        raise ValueError("a trust domain is 1 to 255 of a-z 0-9 . _ -") from error
    return name


def _duration(value: object) -> object:
    if not isinstance(value, str):
        return value
    matched = _DURATION.match(value.strip())
    if not matched or not value.strip():
        raise ValueError("not a duration: write 90s, 15m, 1h or a number of seconds")
    days, hours, minutes, seconds = (float(matched[unit] or 0) for unit in "dhms")
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)


def _names(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


Address = Annotated[str, AfterValidator(_address)]
Advertised = Annotated[str, AfterValidator(_advertised)]
Duration = Annotated[timedelta, BeforeValidator(_duration)]


class Settings(BaseSettings):
    """All that can be set; each field's variable is `GROUND_CONTROL_` and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    data_dir: Path = Field(default_factory=default_data_dir)
    """Directory for the database, the authority and keys: 0700."""
    listen: Address = "0.0.0.0:8443"
    """Where satellites and operators connect, by mutual TLS. Port 0 takes a free one and reports it."""
    bootstrap_listen: Address = "0.0.0.0:8444"
    """Where joiners connect, who have no certificate yet. Unused with SPIRE."""
    advertise: Advertised = ""
    """`host:port` of the fleet listener as others reach it, for join strings. Empty: from `listen`."""
    bootstrap_advertise: Advertised = ""
    """`host:port` of the bootstrap listener as others reach it, for join strings. Empty: from `bootstrap_listen`."""
    trust_domain: Annotated[str, AfterValidator(_trust_domain)] = "fleet.internal"
    """The SPIFFE trust domain of this fleet."""
    deployment: Annotated[str, AfterValidator(_deployment)] = "main"
    """The last part of Ground Control's SPIFFE ID."""
    database_url: Annotated[SecretStr, AfterValidator(_database)] = SecretStr("")
    """`sqlite:///PATH` or `postgresql+psycopg://…`. Empty: SQLite in the data directory."""
    secrets_dir: Path | None = None
    """Directory, 0700, of the keys that open everything else and that all hosts of one deployment share: put it on
    another medium than the data. Absent: in the data directory."""
    workers: int | None = Field(default=None, ge=1, le=256)
    """Processes that serve streams. Absent: one with SQLite, one per core with PostgreSQL."""
    dns_names: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)] = ("localhost",)
    """DNS names in Ground Control's certificate, separated by commas, for clients that check nothing else (grpcurl)."""
    svid_ttl: Duration = Field(default=timedelta(hours=1), ge=timedelta(seconds=1), le=timedelta(hours=1))
    """Life of the certificates that the built-in authority issues."""
    intermediate_ttl: Duration = Field(default=timedelta(hours=24), ge=timedelta(seconds=2))
    """Life of the built-in authority's intermediates; replaced at half of it."""
    spiffe_endpoint_socket: Annotated[str, AfterValidator(_socket)] = ""
    """SPIRE's Workload API, `unix:///path`. Empty: the built-in authority, started by this program."""
    authority_dir: Path | None = None
    """Directory of a built-in authority that runs on its own on this host. Absent: `serve` starts one."""
    health_interval: Duration = Field(default=timedelta(seconds=30), ge=timedelta(seconds=1), le=timedelta(hours=1))
    """Time between two health reports of one satellite."""
    reconnect_window: Duration = Field(default=timedelta(seconds=5), ge=timedelta(0), le=timedelta(minutes=10))
    """Satellites spread their reconnects over this."""
    history: Duration = Field(default=KEPT, ge=timedelta(seconds=10))
    """How much of the past is kept: the log of changes, and earlier contents of scopes. A satellite that was away for
    longer is asked what it holds, and sent the difference."""
    drain: Duration = Field(default=timedelta(seconds=30), ge=timedelta(0), le=timedelta(minutes=5))
    """How long calls under way may take to end when the program is told to stop."""
    metrics: Advertised = ""
    """Where metrics, health and readiness are read over HTTP, `127.0.0.1:9464`. Empty: nowhere."""
    metrics_plaintext: bool = False
    """Whether `metrics` may lie beyond loopback, where whoever reaches it reads all of it, satellites' names too."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """What is worth a line."""

    @property
    def ground_control(self) -> GroundControlId:
        """Ground Control's own SPIFFE ID."""
        return GroundControlId(self.trust_domain, self.deployment)

    @property
    def database(self) -> str:
        """The database's URL; it may hold a password, so it is never logged."""
        url = self.database_url.get_secret_value()
        return url or f"sqlite:///{self.data_dir.absolute() / 'ground-control.db'}"

    @property
    def uses_sqlite(self) -> bool:
        """Say whether the database is a file, which one process writes."""
        return self.database.startswith("sqlite")

    @property
    def authority_directory(self) -> Path:
        """Where the built-in authority's sockets are."""
        return (self.authority_dir or self.data_dir / "authority").absolute()

    @property
    def secrets_directory(self) -> Path:
        """Where the keys are that seal credentials and sign challenges."""
        return self.secrets_dir or self.data_dir / "secrets"

    @property
    def authority_key(self) -> Path | None:
        """What decrypts the root key of the authority that this program starts: kept with the other keys.

        None for an authority that runs on its own, which keeps it beside its root.
        """
        return None if self.authority_dir else self.secrets_directory.absolute() / "authority.key"

    @property
    def workload_socket(self) -> Path:
        """The Workload API that gives this program its identity."""
        given = self.spiffe_endpoint_socket.removeprefix("unix:")
        return Path("/" + given.lstrip("/")) if given else self.authority_directory / "workload.sock"

    @property
    def has_builtin_authority(self) -> bool:
        """Say whether identities come from the built-in authority, wherever it runs."""
        return not self.spiffe_endpoint_socket

    @property
    def ready_file(self) -> Path:
        """Written when all listeners answer: their real addresses, as JSON."""
        return self.data_dir / "ground-control.ready"

    def environment(self) -> dict[str, str]:
        """Write the settings as variables for a child process."""
        return {PREFIX + name.upper(): _text(value) for name, value in self if value is not None}


def _text(value: object) -> str:
    match value:
        case SecretStr():
            return value.get_secret_value()
        case timedelta():
            return str(value.total_seconds())
        case tuple():
            return ",".join(map(str, value))
        case _:
            return str(value)


def load_settings(**options: Any) -> Settings:  # noqa: ANN401 - pydantic judges what the command line gave
    """Read the environment, over which options that are not None win.

    Raises:
        FleetError: MALFORMED `CONFIGURATION_INVALID`, which names the variable, and the option where there is one.
    """
    given = {name: value for name, value in options.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        reason = first["msg"].removeprefix("Value error, ")
        option = f" (--{name.replace('_', '-')})" if name in options else ""
        text = f"{PREFIX}{name.upper()}{option} is wrong: {reason}"
        raise malformed("CONFIGURATION_INVALID", text) from error


def read_duration(text: str) -> timedelta:
    """Read a span of time as people write it: `90s`, `15m`, `1h`, `30d`.

    Raises:
        FleetError: MALFORMED `DURATION_MALFORMED`.
    """
    try:
        span = _duration(text)
    except ValueError as error:
        raise malformed("DURATION_MALFORMED", str(error), subject=text[:40]) from error
    if not isinstance(span, timedelta):
        raise malformed("DURATION_MALFORMED", "not a duration", subject=text[:40])
    return span
