"""The writer's secret: made at every start, held in memory, known to the registry as a hash alone."""

from __future__ import annotations

import secrets
from pathlib import Path

import bcrypt

from edge.app.ports import Credential

WRITER = "satellite"

# The registry hashes the password at every request. A random secret of 256 bits cannot be guessed however
# cheap the hash is, so the cheapest will do: 1 ms instead of 50.
_ROUNDS = 4


def new_writer() -> Credential:
    """Make a credential that nobody else can know."""
    return Credential(WRITER, secrets.token_urlsafe(32))


def write_htpasswd(path: Path, writer: Credential) -> None:
    """Write the one line that lets the writer in, readable by its owner alone."""
    line = f"{writer.username}:".encode() + bcrypt.hashpw(writer.password.encode(), bcrypt.gensalt(_ROUNDS))
    path.touch(mode=0o600)
    path.write_bytes(line + b"\n")
