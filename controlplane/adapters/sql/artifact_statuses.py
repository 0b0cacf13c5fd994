"""Each desired artifact of one satellite beside what the satellite says of it."""

from __future__ import annotations

from controlplane.domain.specs import ResourceKind
from controlplane.domain.state import ScopeContent, WholeState
from controlplane.domain.status import ArtifactState, ArtifactStatus, Report, ResourceException
from fleet.merge import Scope, Wanted, merge
from fleet.resources import Readable, read


def read_artifact_statuses(whole: WholeState, report: Report | None) -> tuple[ArtifactStatus, ...]:
    """Merge as the satellite does, and put its exceptions beside what it should have; by name."""
    wanted = merge(_readings(scope) for scope in whole.scopes).artifacts
    current = report is not None and report.held_digest == whole.desired.state_digest
    told = _exceptions(report)
    return tuple(
        _status(one, told.get(one.name), report, current=current)
        for one in sorted(wanted, key=lambda one: (one.name, one.artifact.digest))
    )


def _readings(scope: ScopeContent) -> Scope:
    read_bodies = {(each.kind, each.name): read(each.kind, each.payload) for each in scope.resources}
    usable = {key: found.body for key, found in read_bodies.items() if isinstance(found, Readable)}
    return Scope(scope.binding.scope, scope.binding.precedence, usable)


def _exceptions(report: Report | None) -> dict[str, ResourceException]:
    told = report.exceptions if report else ()
    return {each.name: each for each in told if each.kind == ResourceKind.ARTIFACT}


def _status(wanted: Wanted, told: ResourceException | None, report: Report | None, *, current: bool) -> ArtifactStatus:
    return ArtifactStatus(
        name=wanted.name,
        digest=wanted.artifact.digest,
        state=_state(told, report, current=current),
        reason=told.reason if told else "",
        text=told.text if told else "",
        scope=wanted.scopes[0],
        local_reference=f"{wanted.local_repository}:{wanted.tag}"
        if wanted.tag
        else f"{wanted.local_repository}@{wanted.artifact.digest}",
        done_bytes=told.done_bytes if told else 0,
        total_bytes=told.total_bytes if told else 0,
        retry_at=told.retry_at if told else None,
        rate_bytes_per_s=told.rate_bytes_per_s if told else 0,
        steps=told.steps if told else (),
    )


def _state(told: ResourceException | None, report: Report | None, *, current: bool) -> ArtifactState:
    """Silence of a complete report on the present state says that the artifact is published."""
    if told is not None:
        return told.state
    if report is None or not current or report.exceptions_omitted:
        return ArtifactState.UNREPORTED
    return ArtifactState.PUBLISHED
