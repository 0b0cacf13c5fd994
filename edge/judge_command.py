"""`satellite judge`: one verdict for whoever asks, by the code that sites judge by.

In: {"image": {"source", "repository", "tag", "digest"}, "credential": {"username", "password"} or null,
     "scopes": [{"name", "precedence", "resources": [{"kind", "name", "payload": base64}]}]}
Out: {"admitted", "reason", "text", "digest", "policies": [names], "warnings": [{"policy", "reason", "text"}],
      "steps": [{"authority", "evidence", "signer", "reason", "text"}]}
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from edge.adapters.sources import SourceRegistries
from edge.app.evidence import fetch_manifest
from edge.app.judge import WantedArtifact, judge
from edge.app.ports import Credential, Upstream
from edge.domain.admission import Admission, Finding, Refused
from edge.domain.desired import enforce, read_holding
from edge.domain.holding import HeldScope, Holding, Resource
from edge.domain.moment import Moment
from edge.domain.policy import Rules
from edge.domain.verify.reasons import TEXTS
from fleet import resources
from fleet.digests import resource_version
from fleet.errors import FleetError, Kind, malformed
from fleet.reference import parse_digest, parse_repository, parse_tag

Document = Mapping[str, Any]


def judged(asked: Document, *, plain_hosts: frozenset[str]) -> dict[str, Any]:
    """Judge what is asked for.

    Raises:
        FleetError: MALFORMED `QUESTION_MALFORMED`, or what the source says where it gives no manifest.
    """
    try:
        image, holding = asked["image"], _holding(asked["scopes"])
        repository, source = parse_repository(image["repository"]), str(image["source"])
        reference = parse_digest(image["digest"]) if image.get("digest") else parse_tag(image["tag"])
    except (KeyError, TypeError, ValueError) as error:
        raise malformed("QUESTION_MALFORMED", "the question is not as `satctl policy test` asks it") from error
    rules = enforce(holding, {})[0].rules
    upstream = _upstream(holding, source, asked.get("credential"), plain_hosts)
    digest = fetch_manifest(upstream, repository, reference).digest
    wanted = WantedArtifact(f"{source}/{repository}", source, repository, digest, repository)
    return _answer(judge(wanted, upstream, rules, Moment(datetime.now(UTC))), rules, f"{source}/{repository}", digest)


def _holding(scopes: list[Document]) -> Holding:
    return {
        str(scope["name"]): HeldScope(
            b"",
            precedence=int(scope.get("precedence", 0)),
            resources={one.key: one for one in map(_resource, scope["resources"])},
        )
        for scope in scopes
    }


def _resource(written: Document) -> Resource:
    kind, payload = int(written["kind"]), b64decode(written["payload"], validate=True)
    return Resource(kind, str(written["name"]), payload, resource_version(kind, payload))


def _upstream(holding: Holding, name: str, credential: Document | None, plain_hosts: frozenset[str]) -> Upstream:
    known = Credential(str(credential["username"]), str(credential["password"])) if credential else None
    scopes = read_holding(holding, {}).scopes
    bodies = (body for scope in scopes for key, body in scope.readings.items() if key == (resources.SOURCE, name))
    source = next((body for body in bodies if isinstance(body, resources.Source)), None)
    if source is None:
        raise FleetError(Kind.UNKNOWN, "SOURCE_UNKNOWN", "there is no such source", subject=name[:80])
    return SourceRegistries(lambda _name, refused: None if refused else known, plain_hosts=plain_hosts).open(
        name, source
    )


def _answer(verdict: Admission | Refused, rules: Rules, image: str, digest: str) -> dict[str, Any]:
    is_admitted = isinstance(verdict, Admission)
    warnings = verdict.warnings if isinstance(verdict, Admission) else ()
    return {
        "admitted": is_admitted,
        "reason": verdict.reason if isinstance(verdict, Refused) else "",
        "text": verdict.text if isinstance(verdict, Refused) else "",
        "digest": digest,
        "policies": [policy.name for policy in rules.matching(image)],
        "warnings": [{"policy": one.policy, "reason": one.reason, "text": one.text} for one in warnings],
        "steps": [_step(one) for one in verdict.considered],
    }


def _step(finding: Finding) -> dict[str, str]:
    return {
        "authority": finding.authority,
        "evidence": finding.evidence,
        "signer": finding.signer,
        "reason": finding.reason,
        "text": TEXTS.get(finding.reason, ""),
    }
