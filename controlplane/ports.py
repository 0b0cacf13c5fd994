"""Ports taken before anyone listens, so that port 0 is one port for all workers and stays so over restarts."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fleet.errors import FleetError, Kind, malformed

_ANY = {"0.0.0.0", "::", ""}  # noqa: S104 - recognized, not bound


@dataclass(frozen=True, slots=True)
class Reserved:
    """A port that is ours."""

    host: str
    port: int

    @property
    def address(self) -> str:
        """`host:port` to listen on."""
        return _join(self.host, self.port)

    @property
    def reachable(self) -> str:
        """`host:port` for others, as well as it can be guessed: this machine's name where we listen everywhere."""
        return _join(socket.gethostname() if self.host in _ANY else self.host, self.port)


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextmanager
def reserve(address: str) -> Iterator[Reserved]:
    """Hold `host:port` (0: any free one) for processes that listen with SO_REUSEPORT.

    The socket never listens, so it gets no connection.

    Raises:
        FleetError: PRECONDITION `ADDRESS_IN_USE`, MALFORMED `ADDRESS_UNKNOWN`.
    """
    host, _, port = address.rpartition(":")
    bare = host.strip("[]")
    try:
        family, *_, where = socket.getaddrinfo(bare, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except OSError as error:
        raise malformed("ADDRESS_UNKNOWN", "this host has no such address", subject=address) from error
    _check_free(family, where, address)
    with socket.socket(family, socket.SOCK_STREAM) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            held.bind(where)
        except OSError as error:
            raise _in_use(address) from error
        yield Reserved(bare, held.getsockname()[1])


def _check_free(family: int, where: tuple[object, ...], address: str) -> None:
    """Refuse a port on which another listens: SO_REUSEPORT would share it in silence."""
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(where)
        except OSError as error:
            raise _in_use(address) from error


def _in_use(address: str) -> FleetError:
    text = "this address cannot be listened on: another program may have it"
    return FleetError(Kind.PRECONDITION, "ADDRESS_IN_USE", text, subject=address)
