"""Ports for programs that are told theirs, and find it free however often they are started.

A port that is only looked up is anybody's between the looking and the listening, and again while the program is
down: the kernel gives it to the next connection that leaves this machine, or to the next who asks for any.
"""

from __future__ import annotations

from contextlib import ExitStack

from controlplane.ports import reserve

_KEPT = ExitStack()


def keep_port() -> int:
    """Choose a free TCP port of loopback and keep it for as long as this process lives.

    What keeps it never listens, so that who listens with SO_REUSEADDR, as servers do, gets the port, who connects to
    it before is refused, and the kernel gives it to nobody else.
    """
    return _KEPT.enter_context(reserve("127.0.0.1:0")).port
