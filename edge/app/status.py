"""Where the site stands, for Ground Control (a report) and for people at the site (a document)."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from edge.app.control import LinkStatus
from edge.app.journal import StateStore
from edge.app.ports import SupervisedRegistry
from edge.app.progress import ProgressBoard
from edge.app.reconcile import Standing
from edge.app.scrub import ScrubState
from edge.domain.clock import Reading
from edge.domain.link import LinkStanding
from edge.domain.plan import Site, is_settled
from edge.domain.progress import time_left
from edge.domain.report import Report, Row, State, is_final, rows, summarize
from fleet.errors import FleetError


@dataclass(frozen=True, slots=True)
class IdentityStatus:
    """Who we are, and until when."""

    spiffe_id: str = ""
    not_after: datetime | None = None
    provider: str = ""
    error: str = ""


class Desk:
    """Makes reports and status of what everybody knows.

    Args:
        standing: where the site stands.
        state: the journal.
        registry: the site's.
        progress: of transfers.
        allowed: what the link to the sources allows.
        notes: what else people at the site should know, beside resources' problems.
    """

    def __init__(
        self,
        standing: Callable[[], Standing],
        state: StateStore,
        registry: SupervisedRegistry,
        progress: ProgressBoard,
        *,
        allowed: Callable[[], LinkStanding],
        notes: tuple[Row, ...] = (),
    ) -> None:
        self._standing = standing
        self._state = state
        self._registry = registry
        self._progress = progress
        self._allowed = allowed
        self._notes = notes

    def rows(self) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
        """Say of each artifact where it stands, and what is wrong with other resources."""
        standing = self._standing()
        return rows(standing.enforced, standing.site, standing.since, self._progress.snapshot())

    def report(self) -> Report:
        """Make the report of this moment; remember what is enforced in full."""
        standing = self._standing()
        artifacts, problems = rows(standing.enforced, standing.site, standing.since, self._progress.snapshot())
        counts, exceptions, omitted = summarize(artifacts, problems)
        held, enforced = standing.enforced.digest, self._state.enforced()
        if enforced != held and is_final(counts) and _is_settled(standing):
            with suppress(FleetError):  # what cannot be journaled is not claimed; the next report tries again
                self._state.remember_enforced(held)
                enforced = held
        with suppress(FleetError):  # as above
            self._state.reach_revocation_epoch(standing.enforced.rules.blocks.epoch)
        return Report(
            position=self._state.position(),
            held_digest=held,
            enforced_digest=enforced,
            counts=counts,
            exceptions=exceptions,
            omitted=omitted,
            foreign_withdrawn=standing.foreign_withdrawn,
            registry_kind=self._registry.kind,
            registry_exclusive=self._registry.site.capabilities.sole_writer,
            revocation_epoch=self._state.revocation_epoch(),
        )

    def document(self, *, link: LinkStatus, identity: IdentityStatus, clock: Reading, pid: int) -> dict[str, Any]:
        """Write it all down for `satellite status`."""
        report = self.report()
        artifacts, problems = self.rows()
        return {
            "pid": pid,
            "at": _time(clock.now),
            "clock": clock.state.value,
            "link": {
                "state": link.state,
                "text": link.text,
                "since": _time(link.since),
                "session": link.session_number,
                "satellite": link.satellite,
                "retry_at": _time(link.retry_at),
            },
            "fetching": _fetching(self._allowed()),
            "identity": {
                "spiffe_id": identity.spiffe_id,
                "not_after": _time(identity.not_after),
                "provider": identity.provider,
                "error": identity.error,
            },
            "registry": {
                "kind": self._registry.kind,
                "why": self._registry.why,
                "url": self._registry.public_url,
                "exclusive": report.registry_exclusive,
                "foreign_withdrawn": report.foreign_withdrawn,
            },
            "state": {
                "position": str(report.position) if report.position else None,
                "held": report.held_digest.hex(),
                "enforced": report.enforced_digest.hex(),
                "revocation_epoch": report.revocation_epoch,
                **{state.name.lower(): count for state, count in report.counts.items()},
            },
            "artifacts": [_row(row) for row in artifacts],
            "problems": [_row(row) for row in (*problems, *self._notes)],
        }


def _is_settled(standing: Standing) -> bool:
    enforced = standing.enforced
    return is_settled(enforced.wanted, standing.site, enforced.versions, are_held=enforced.are_held)


def scrub_document(state: ScrubState, site: Site) -> dict[str, Any]:
    """Write down the newest scrub, with what is not repaired yet."""
    return {
        "id": state.id,
        "began": _time(state.began),
        "ended": _time(state.ended),
        "done_bytes": state.done_bytes,
        "total_bytes": state.total_bytes,
        "contents": state.contents,
        "damaged": list(state.damaged),
        "lacking": sorted({one.name for one in state.lacking}),
        "repairing": sorted({one.name for one in state.lacking if one not in site.published}),
        "reason": state.reason or None,
        "text": state.text or None,
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "state": row.state.name.lower() if row.state is not State.NONE else None,
        "local": row.local_repository,
        "tag": row.tag,
        "digest": row.digest,
        "serving_digest": row.serving_digest or None,
        "reason": row.reason or None,
        "text": row.text or None,
        "scope": row.scope or None,
        "since": _time(row.since),
        "done_bytes": row.done_bytes,
        "total_bytes": row.total_bytes,
        "left_bytes": row.total_bytes - row.done_bytes,
        "rate_bytes_per_s": row.rate_bytes_per_s,
        "eta_s": _seconds(time_left(row.done_bytes, row.total_bytes, row.rate_bytes_per_s)),
        "retry_at": _time(row.until),
        "steps": [
            {
                "authority": one.authority,
                "evidence": one.evidence or None,
                "signer": one.signer or None,
                "reason": one.reason or None,
            }
            for one in row.steps
        ],
    }


def _seconds(span: timedelta | None) -> int | None:
    return math.ceil(span.total_seconds()) if span is not None else None


def _fetching(standing: LinkStanding) -> dict[str, Any]:
    """Say what may be fetched from sources now."""
    link, now = standing.link, standing.opening
    return {
        "open": now.is_open,
        "until": _time(now.until),
        "rate_bytes_per_second": link.rate_bytes_per_second or None,
        "exempt_priority": link.exempt_priority,
        "budgets": [
            {
                "period": budget.period.value,
                "limit_bytes": budget.limit_bytes,
                "left_bytes": budget.left_bytes,
                "renews_at": _time(budget.renews_at),
            }
            for budget in standing.budgets
        ],
    }


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="seconds") if moment else None
