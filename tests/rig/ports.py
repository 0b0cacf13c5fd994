"""Ports for programs that are told theirs, and find it free however often they are started.

A port that is only looked up is anybody's between the looking and the listening, and again while the program is
down: the kernel gives it to the next connection that leaves this machine, or to the next who asks for any.
"""

from __future__ import annotations

import socket

_KEPT: list[socket.socket] = []


def keep_port(host: str = "127.0.0.1") -> int:
    """Choose a free TCP port and keep it for as long as this process lives.

    The socket that keeps it never listens, so that who listens with SO_REUSEADDR, as servers do, gets the port,
    who connects to it before is refused, and the kernel gives it to nobody else.
    """
    keeper = socket.socket()
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    keeper.bind((host, 0))
    _KEPT.append(keeper)
    port: int = keeper.getsockname()[1]
    return port
