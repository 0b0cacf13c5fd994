"""Every metric of Ground Control: what an operator can ask for, and what it means.

Names follow Prometheus' conventions: base units in the name, `_total` behind a counter.
"""

from __future__ import annotations

from controlplane.app.meter import Family, Kind, Labels

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_COARSE = (0.005, 0.025, 0.1, 0.5, 2.5, 10.0)
"""For what is told by method: each bound is a series more per method and worker."""


def _each(*values: str) -> tuple[Labels, ...]:
    return tuple((value,) for value in values)


# What each worker counts, beside its label `worker` ---------------------------------------------------------------

STREAMS = Family("streams", Kind.GAUGE, "Streams of satellites that are open.")
STREAMS_OPENED = Family("streams_opened", Kind.COUNTER, "Streams that satellites opened.")
STREAMS_ENDED = Family(
    "streams_ended",
    Kind.COUNTER,
    "Streams that ended, by the reason of their goodbye; left: the satellite hung up, or the connection broke.",
    ("reason",),
    known=_each(
        "left",
        "superseded",
        "revoked",
        "svid_expired",
        "draining",
        "store_behind",
        "upgrade_required",
        "protocol_violation",
    ),
)
MESSAGES = Family(
    "stream_messages",
    Kind.COUNTER,
    "Messages that were handed to streams; a snapshot is a delta from nothing, an exact one answers an inventory.",
    ("kind",),
    known=_each("unchanged", "bindings", "delta", "snapshot", "exact", "inventory_request", "goodbye"),
)
MESSAGE_BYTES = Family(
    "stream_message_bytes", Kind.COUNTER, "Bytes of these messages, before TLS.", ("kind",), known=MESSAGES.known
)
DELIVERY = Family(
    "change_delivery_seconds",
    Kind.HISTOGRAM,
    "From when a change was written to when the last message of its update was handed to one stream; clocks of several"
    " hosts as they are.",
    bounds=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
DELTA_REQUESTS = Family("delta_requests", Kind.COUNTER, "Deltas and snapshots that streams needed.")
DELTAS_MADE = Family(
    "deltas_made", Kind.COUNTER, "Deltas and snapshots that had to be made for it; the others were shared."
)
REPORTS = Family(
    "reports",
    Kind.COUNTER,
    "Reports that satellites sent on their streams; in_turn: they tell progress alone, and are written at a bounded"
    " rate.",
    ("written",),
    known=_each("at_once", "in_turn"),
)
REPORTS_WAITING = Family("reports_waiting", Kind.GAUGE, "Reports of progress that wait for their turn.")
HEALTH_REPORTS = Family("health_reports", Kind.COUNTER, "Healths that satellites told on their streams.")
HANDSHAKES = Family(
    "tls_handshakes",
    Kind.COUNTER,
    "TLS handshakes that were begun; whether one succeeds is known to gRPC alone: compare with attestations.",
    ("listener",),
    known=_each("fleet", "bootstrap"),
)
ATTESTATIONS = Family(
    "attestations",
    Kind.COUNTER,
    "Satellites that attested, by the lifecycle that they were told.",
    ("lifecycle",),
    known=_each("pending", "online", "stale", "revoked"),
)
RPCS = Family("rpcs", Kind.COUNTER, "Calls that ended, by gRPC's code.", ("method", "code"))
RPC_REFUSALS = Family(
    "rpc_refusals",
    Kind.COUNTER,
    "Calls that ended with an error of ours, by its reason: also who was not let in, and why.",
    ("method", "reason"),
)
RPC_SECONDS = Family(
    "rpc_seconds", Kind.HISTOGRAM, "How long calls took that answer once.", ("method",), bounds=_COARSE
)
FEED_POLLS = Family("feed_polls", Kind.COUNTER, "Looks at the end of the log.")
FEED_HINTS = Family("feed_hints", Kind.COUNTER, "Notifications from the database that the log may have grown.")
FEED_MISSED = Family(
    "feed_missed_hints", Kind.COUNTER, "Changes that a look found which no notification had told: late by up to 2 s."
)
FEED_LOST = Family("feed_connections_lost", Kind.COUNTER, "Connections for notifications that broke.")
LOG_REVISION = Family("log_revision", Kind.GAUGE, "The newest revision that this worker has seen.")
LOG_EPOCH = Family("log_epoch", Kind.GAUGE, "The epoch of that revision.")
TRANSACTIONS = Family(
    "database_transaction_seconds",
    Kind.HISTOGRAM,
    "How long transactions took, with their commit.",
    ("way",),
    known=_each("read", "write"),
    bounds=_FAST,
)
DATABASE_WAITS = Family(
    "database_wait_seconds",
    Kind.HISTOGRAM,
    "How long transactions waited for a connection of this worker's pool.",
    ("way",),
    known=_each("read", "write"),
    bounds=_FAST,
)
DATABASE_ERRORS = Family(
    "database_errors",
    Kind.COUNTER,
    "Transactions that the database did not take; other is a defect.",
    ("reason",),
    known=_each("store_unavailable", "store_full", "other"),
)
DATABASE_RETRIES = Family("database_retries", Kind.COUNTER, "Transactions that were run again: they had lost a race.")
SVIDS = Family(
    "svids_issued",
    Kind.COUNTER,
    "Certificates that the built-in authority issued to satellites and operators.",
    ("by",),
    known=_each("bootstrap", "renew"),
)
LIFECYCLE = Family(
    "lifecycle_changes",
    Kind.COUNTER,
    "What operators decided of satellites.",
    ("verb",),
    known=_each("approve", "revoke", "reinstate"),
)

WORKERS = (
    *(STREAMS, STREAMS_OPENED, STREAMS_ENDED, MESSAGES, MESSAGE_BYTES, DELIVERY, DELTA_REQUESTS, DELTAS_MADE),
    *(REPORTS, REPORTS_WAITING, HEALTH_REPORTS, HANDSHAKES, ATTESTATIONS, RPCS, RPC_REFUSALS, RPC_SECONDS),
    *(FEED_POLLS, FEED_HINTS, FEED_MISSED, FEED_LOST, LOG_REVISION, LOG_EPOCH),
    *(TRANSACTIONS, DATABASE_WAITS, DATABASE_ERRORS, DATABASE_RETRIES, SVIDS, LIFECYCLE),
)

# What the process that answers knows by itself ------------------------------------------------------------------------

WORKER_UP = Family("worker_up", Kind.GAUGE, "1 while a worker tells its numbers, 0 while it does not.", ("worker",))
DATABASE_UP = Family(
    "database_up", Kind.GAUGE, "1 while the database answers; without it nothing is told of the fleet."
)
BUILD_INFO = Family("build_info", Kind.GAUGE, "Always 1: what is running.", ("version", "python"))
PROCESS_RSS = Family("process_resident_memory_bytes", Kind.GAUGE, "Memory of a process of ours.", ("process",))
PROCESS_CPU = Family("process_cpu_seconds", Kind.COUNTER, "Time of a core that a process of ours took.", ("process",))
PROCESS_FDS = Family(
    "process_open_fds", Kind.GAUGE, "Files and connections that a process of ours has open.", ("process",)
)
PROCESS_MAX_FDS = Family("process_max_fds", Kind.GAUGE, "How many it may have: a stream takes one.", ("process",))
PROCESS_START = Family(
    "process_start_time_seconds",
    Kind.GAUGE,
    "When a process of ours was started, since 1970: a rise is a restart.",
    ("process",),
)

# The fleet, out of the database: the same from every Ground Control that shares it ------------------------------------

FLEET_SATELLITES = Family("fleet_satellites", Kind.GAUGE, "Satellites by lifecycle.", ("lifecycle",))
FLEET_BEHIND = Family(
    "fleet_satellites_behind",
    Kind.GAUGE,
    "Satellites that do not enforce yet what they should hold.",
    ("lifecycle",),
)
FLEET_BEHIND_OLDEST = Family(
    "fleet_behind_oldest_seconds",
    Kind.GAUGE,
    "For how long the satellite has not moved that has been behind for longest; 0 where none is.",
    ("lifecycle",),
)
FLEET_BEHIND_WORST = Family(
    "fleet_behind_worst_seconds",
    Kind.GAUGE,
    "The same for each of the ten online satellites that have been behind for longest.",
    ("satellite",),
)
FLEET_EXCEPTIONS = Family(
    "fleet_satellites_with_exceptions",
    Kind.GAUGE,
    "Approved satellites where an artifact was refused or has failed.",
)
FLEET_ARTIFACTS = Family(
    "fleet_artifacts",
    Kind.GAUGE,
    "Artifacts at approved satellites, each counted at each of them, by what became of it.",
    ("state",),
)
FLEET_REVISION = Family("fleet_log_revision", Kind.GAUGE, "The log's end in the database.")
FLEET_EPOCH = Family("fleet_log_epoch", Kind.GAUGE, "The epoch there; a rise is a recovery.")
FLEET_TOOK = Family("fleet_reading_seconds", Kind.GAUGE, "How long the database took to tell all this.")
FLEET_AT = Family("fleet_reading_timestamp_seconds", Kind.GAUGE, "When it did, since 1970.")

OWN = (
    *(WORKER_UP, DATABASE_UP, BUILD_INFO, PROCESS_RSS, PROCESS_CPU, PROCESS_FDS, PROCESS_MAX_FDS, PROCESS_START),
    *(FLEET_SATELLITES, FLEET_BEHIND, FLEET_BEHIND_OLDEST, FLEET_BEHIND_WORST, FLEET_EXCEPTIONS, FLEET_ARTIFACTS),
    *(FLEET_REVISION, FLEET_EPOCH, FLEET_TOOK, FLEET_AT),
)
