"""Every metric of Ground Control: what an operator can ask for, and what it means."""

from __future__ import annotations

from controlplane.app.meter import Family, Kind

MESSAGE_KINDS = ("unchanged", "bindings", "delta", "snapshot", "exact", "inventory_request", "goodbye")

STREAMS = Family("streams", Kind.GAUGE, "Streams of satellites that are open.")
MESSAGES = Family(
    "stream_messages",
    Kind.COUNTER,
    "Messages that were handed to the streams of satellites.",
    ("kind",),
    known=tuple((kind,) for kind in MESSAGE_KINDS),
)

WORKER_UP = Family("worker_up", Kind.GAUGE, "1 while a worker tells its numbers.", ("worker",))

WORKERS = (STREAMS, MESSAGES)
"""What each worker counts, beside its label `worker`."""
OWN = (WORKER_UP,)
"""What the process that is asked for metrics knows by itself."""
