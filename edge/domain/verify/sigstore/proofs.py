"""What proves that a signature was seen, and when; counted as a policy asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from edge.domain.verify.claims import Claim
from edge.domain.verify.sigstore.entries import is_about, is_logged, promised_time
from edge.domain.verify.sigstore.timestamps import timestamp, timestamp_below
from edge.domain.verify.sigstore.trusted_root import TrustedRoot
from fleet.policy import LogEvidence

MOST = 8
"""Entries and timestamps of one signature that are looked at."""


@dataclass(frozen=True, slots=True)
class Proofs:
    """What holds of the proofs that came with one signature; each log and authority counts once."""

    log_entries: int
    timestamps: int
    times: tuple[datetime, ...]
    observed: int
    """How many different logs and authorities proved a time."""

    def lack(self, asked: LogEvidence) -> str:
        """Say what is missing of what is asked for; empty where nothing is."""
        if self.log_entries < asked.log_entries:
            return "LOG_ENTRY_MISSING"
        if self.timestamps < asked.timestamps:
            return "TIMESTAMP_MISSING"
        return "TIME_UNPROVEN" if self.observed < asked.observed_times else ""


NONE = Proofs(0, 0, (), 0)


def find_proofs(claim: Claim, signer: bytes, root: TrustedRoot) -> Proofs:
    """Check the log entries and timestamps of a claim's signature by this key (SubjectPublicKeyInfo, DER)."""
    logged: dict[bytes, datetime | None] = {}
    for entry in claim.log_entries[:MOST]:
        log = next((one for one in root.logs if one.key_id == entry.log_id), None)
        if log is None or not is_about(entry, claim, signer) or not is_logged(entry, log):
            continue
        time = promised_time(entry)
        if time is None or log.valid.holds([time]):
            logged[log.key_id] = logged.get(log.key_id) or time
    stamped: dict[int | x509.Certificate, datetime] = dict(
        found
        for response in claim.timestamps[:MOST]
        for signature in claim.signatures[:1]
        if (
            found := timestamp(response, signature, root.timestamp_authorities)
            or timestamp_below(response, signature, root.timestamp_certificates)
        )
    )
    promised = [time for time in logged.values() if time]
    # A log that says no time was written to at those times that others prove.
    silent = {one.key_id: one for one in root.logs if one.key_id in logged and logged[one.key_id] is None}
    times = (*promised, *stamped.values())
    kept = [key for key in logged if key not in silent or silent[key].valid.holds(times)]
    return Proofs(len(kept), len(stamped), times, len(promised) + len(stamped))
