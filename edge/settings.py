"""What one satellite process runs with, as a plain value: `edge.config` reads and checks it.

It is apart from its reading because what reads settings (pydantic, typer, rich) takes 25 MB of memory, which a
process that runs for years on a small machine should not hold.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings by the names that `edge.config` documents."""

    data_dir: Path
    registry: str = ""
    registry_username: str = ""
    registry_password: str = field(default="", repr=False)
    registry_ca: Path | None = None
    registry_prefix: str = ""
    listen: str = "127.0.0.1:5050"
    site_plaintext: bool = False
    allow_plain_http: tuple[str, ...] = ()
    https_proxy: str = field(default="", repr=False)
    http_proxy: str = field(default="", repr=False)
    no_proxy: tuple[str, ...] = ()
    proxy_hosts: tuple[str, ...] = ()
    spiffe_endpoint_socket: str = ""
    ground_control: str = ""
    ground_control_id: str = ""
    on_revoked: str = "serve"
    policy_signers: tuple[Path, ...] = ()
    policy_signers_threshold: int = 1
    log_level: str = "info"
    agent_version: str = ""
    """Which version runs: not to be set, but found out before the lean process starts."""

    def to_json(self) -> str:
        """Write it all, the password too: for another process's eyes only."""
        return json.dumps(asdict(self), default=str)


def from_json(text: str) -> Settings:
    """Read what `to_json` wrote."""
    found: dict[str, Any] = json.loads(text)
    ca = found.pop("registry_ca")
    found.update({name: tuple(found[name]) for name in ("allow_plain_http", "no_proxy", "proxy_hosts")})
    found["policy_signers"] = tuple(map(Path, found["policy_signers"]))
    return Settings(
        data_dir=Path(found.pop("data_dir")),
        registry_ca=Path(ca) if ca else None,
        **found,
    )
