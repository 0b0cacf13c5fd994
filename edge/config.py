"""The satellite's settings: environment variables `SATELLITE_*`, over which command-line options win.

A wrong value fails at start and names its variable.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from edge.adapters.oci.proxy import parse_proxy
from edge.settings import Settings
from fleet.errors import FleetError, malformed
from fleet.identity import GroundControlId, parse_id

PREFIX = "SATELLITE_"
_SECRETS = {("proxy",), ("registry_password",)}
_ADDRESS = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9a-fA-F:.]{2,45}\]):[0-9]{1,5}\Z")


def default_data_dir() -> Path:
    """Where the satellite keeps its files unless told otherwise: XDG's data directory of the user."""
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser() / "satellite"


def _address(text: str) -> str:
    if text and not _ADDRESS.match(text):
        raise ValueError("not host:port (an IPv6 address stands in brackets)")
    return text


def _registry(text: str) -> str:
    if text and text not in {"zot", "distribution"} and "://" not in text:
        raise ValueError("a registry is zot, distribution or a URL")
    return text


def _ground_control(text: str) -> str:
    try:
        if text and not isinstance(parse_id(text), GroundControlId):
            raise ValueError("not spiffe://<trust domain>/gc/<deployment>")
    except FleetError as error:
        raise ValueError("not spiffe://<trust domain>/gc/<deployment>") from error
    return text


def _socket(text: str) -> str:
    if text and not text.removeprefix("unix:").startswith("/"):
        raise ValueError("not unix:///absolute/path")
    return text


def _names(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _proxy(secret: SecretStr) -> SecretStr:
    try:
        if secret.get_secret_value():
            parse_proxy(secret.get_secret_value())
    except FleetError as error:
        raise ValueError(error.text) from None
    return secret


Address = Annotated[str, AfterValidator(_address)]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)]


class Environment(BaseSettings):
    """What one satellite process runs with."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True, use_attribute_docstrings=True)

    data_dir: Path = default_data_dir()
    """Journal, device key and registry of this satellite; one process at a time."""
    registry: Annotated[str, AfterValidator(_registry)] = ""
    """`zot`, `distribution`, the URL of a registry of your own, or nothing for what is at hand."""
    registry_username: str = ""
    """User of a registry of your own."""
    registry_password: SecretStr = SecretStr("")
    """Its password."""
    registry_ca: Path | None = None
    """PEM file to verify it by."""
    registry_prefix: str = ""
    """Put before every repository path in it."""
    listen: Address = "127.0.0.1:5050"
    """Where workloads pull: `address:port`; port 0 takes a free one."""
    site_plaintext: bool = False
    """Serve plain http beyond loopback."""
    allow_plain_http: Names = ()
    """Hosts of sources, `host[:port]`, that may be spoken to over plain http, separated by commas."""
    proxy: Annotated[SecretStr, AfterValidator(_proxy)] = SecretStr("")
    """Proxy to all sources, `http[s]://[user:password@]host:port`. Nothing: HTTPS_PROXY and HTTP_PROXY, as usual."""
    proxy_hosts: Names = ()
    """Hosts, `host[:port]`, that alone are reached through the proxy, separated by commas; loopback too, where it is
    named. Nothing: all but loopback and what NO_PROXY names."""
    spiffe_endpoint_socket: Annotated[str, AfterValidator(_socket)] = ""
    """SPIRE's Workload API, `unix:///path`. Nothing: the identity comes from joining."""
    ground_control: Address = ""
    """Ground Control's fleet listener, `host:port`; joining tells it otherwise."""
    ground_control_id: Annotated[str, AfterValidator(_ground_control)] = ""
    """Ground Control's exact SPIFFE ID; joining tells it otherwise."""
    on_revoked: Literal["serve", "stop"] = "serve"
    """Whether workloads can go on pulling when Ground Control has revoked this satellite."""
    policy_signers: Annotated[tuple[Path, ...], NoDecode, BeforeValidator(_names)] = ()
    """PEM files of public keys, separated by commas: only what their holders signed decides what is served here."""
    policy_signers_threshold: Annotated[int, Field(ge=1, le=64)] = 1
    """How many of them must have signed."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """debug, info, warning or error."""

    def settings(self) -> Settings:
        """Say the same as a plain value."""
        found = self.model_dump()
        found["registry_password"] = self.registry_password.get_secret_value()
        own = found.pop("proxy").get_secret_value()
        found["https_proxy"] = own or _usual_proxy("HTTPS_PROXY")
        found["http_proxy"] = own or _usual_proxy("HTTP_PROXY")
        found["no_proxy"] = _names(_usual("NO_PROXY"))
        return Settings(**found)


def _usual(variable: str) -> str:
    """Read a variable that all programs share; the lower-case spelling wins, as it does elsewhere."""
    return os.environ.get(variable.lower()) or os.environ.get(variable, "")


def _usual_proxy(variable: str) -> str:
    value = _usual(variable)
    try:
        if value:
            parse_proxy(value)
    except FleetError as error:
        raise malformed("SETTING_INVALID", f"{variable}: {error.text}") from None  # never what is in it
    return value


def load_settings(**options: Any) -> Settings:  # noqa: ANN401 - options as typer parsed them
    """Read the environment, options over it; None means not given.

    Raises:
        FleetError: MALFORMED `SETTING_INVALID`, which names the variable.
    """
    try:
        environment = Environment(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        variable = PREFIX + "_".join(str(part) for part in first["loc"][:1]).upper()
        text = f"{variable}: {str(first['msg']).removeprefix('Value error, ')}"
        if first["loc"][:1] in _SECRETS:
            raise malformed("SETTING_INVALID", text) from None
        raise malformed("SETTING_INVALID", text, subject=str(first.get("input", ""))[:120]) from error
    settings = environment.settings()
    if bool(settings.ground_control) != bool(settings.ground_control_id):
        text = f"{PREFIX}GROUND_CONTROL and {PREFIX}GROUND_CONTROL_ID are given together or not at all"
        raise malformed("SETTING_INVALID", text)
    if settings.spiffe_endpoint_socket and not settings.ground_control:
        text = f"{PREFIX}SPIFFE_ENDPOINT_SOCKET needs {PREFIX}GROUND_CONTROL and {PREFIX}GROUND_CONTROL_ID"
        raise malformed("SETTING_INVALID", text)
    return settings
