"""`satctl policy test`: what a site would say of an image, by the site's own code."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import sys
from base64 import b64encode
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from google.protobuf.message import Message

from controlplane.satctl.failure import Exit
from controlplane.satctl.options import AsJson
from controlplane.satctl.reading import read_scope
from controlplane.satctl.render import print_json
from controlplane.satctl.running import run
from controlplane.satctl.steps import Outcome, Step, show_steps
from fleet.errors import FleetError, Kind
from fleet.reference import parse_artifact_name
from fleet.v1 import fleet_pb2 as pb
from fleet.v1 import resource_pb2, state_pb2

if TYPE_CHECKING:
    from controlplane.satctl.client import FleetClient

FLEET = "fleet"


def register(app: typer.Typer) -> None:
    """Add the command to those of policies."""
    app.command("test")(judge)


def judge(
    context: typer.Context,
    *,
    image: Annotated[str, typer.Argument(help="SOURCE/REPOSITORY:TAG or SOURCE/REPOSITORY@DIGEST.")],
    satellite: Annotated[str, typer.Option(help="By the rules that this site has.", show_default=False)] = "",
    scope: Annotated[
        list[str] | None, typer.Option(help="By the rules of these scopes, beside the fleet's: group/NAME.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="By these rules instead, as `satctl policy apply` takes them.")
    ] = None,
    username: Annotated[str, typer.Option(help="At the source registry.", show_default=False)] = "",
    allow_plain_http: Annotated[
        list[str] | None, typer.Option(help="Host of a source that may be spoken to over plain http.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what a site would: judge an image here and now, by the code that sites judge by. Nothing is changed.

    satctl policy test hub/library/nginx:1.27 --satellite kiosk-1
    satctl policy test hub/library/nginx:1.27 -f policy.yaml

    The password is read from SATCTL_REGISTRY_PASSWORD, or asked for. Exit codes: 0 admitted, 1 refused.
    """
    name = parse_artifact_name(image)
    question = {
        "image": {"source": name.source, "repository": name.repository, "tag": name.tag, "digest": name.digest or ""},
        "credential": _credential(username),
        "scopes": run(context, lambda client: _rules(client, name.source, satellite, scope or [], file)),
    }
    verdict = asyncio.run(_ask_satellite(question, allow_plain_http or []))
    if as_json:
        print_json(verdict)
    else:
        _show_verdict(image, verdict)
    raise typer.Exit(0 if verdict["admitted"] else Exit.FAILED)


def _credential(username: str) -> dict[str, str] | None:
    if not username:
        return None
    password = os.environ.get("SATCTL_REGISTRY_PASSWORD") or getpass.getpass(f"password of {username}: ")
    return {"username": username, "password": password}


async def _rules(
    client: FleetClient, source: str, satellite: str, scopes: list[str], file: Path | None
) -> list[dict[str, Any]]:
    """Collect what the image is judged by: `→ scopes, as `satellite judge` reads them`."""
    found = await client.call(client.fleet.GetSource, pb.GetSourceRequest(name=source))
    own = resource_pb2.ResourcePayload(if_unknown=resource_pb2.IF_UNKNOWN_HOLD, source=found.source.spec)
    resources = [_resource(resource_pb2.RESOURCE_KIND_SOURCE, source, own)]
    if satellite:
        state = await client.call(client.state.GetState, state_pb2.GetStateRequest(satellite=satellite))
        return [{"name": "source", "resources": resources}, *_held(state)]
    wanted = {FLEET, *map(read_scope, scopes)}
    rules = [one for one in (_of_file(file) if file else await _of_fleet(client)) if file or wanted & set(one[2])]
    by_scope: dict[str, list[dict[str, Any]]] = {FLEET: resources}
    for kind, name, held_by, payload in rules:
        for one in held_by if file else sorted(wanted & set(held_by)):
            by_scope.setdefault(one, []).append(_resource(kind, name, payload))
    return [{"name": one, "resources": listed} for one, listed in by_scope.items()]


Rule = tuple[int, str, tuple[str, ...], resource_pb2.ResourcePayload]
"""Kind, name, the scopes that hold it, payload."""


async def _of_fleet(client: FleetClient) -> list[Rule]:
    fleet = client.fleet
    policies = await client.pages(fleet.ListPolicies, pb.ListPoliciesRequest(), lambda page: page.policies)
    roots = await client.pages(fleet.ListTrustRoots, pb.ListTrustRootsRequest(), lambda page: page.trust_roots)
    blocks = await client.pages(fleet.ListBlocks, pb.ListBlocksRequest(), lambda page: page.blocks)
    return [_rule(one) for one in (*policies, *roots, *blocks)]


def _of_file(file: Path) -> list[Rule]:
    from controlplane.satctl.policy_file import read_rules  # noqa: PLC0415 - what help need not wait for

    return [_rule(one) for one in read_rules(file).rules]


def _rule(entity: Message) -> Rule:
    if not isinstance(entity, pb.Policy | pb.TrustRoot | pb.Block):
        raise TypeError("there are no other rules")
    payload = resource_pb2.ResourcePayload(if_unknown=resource_pb2.IF_UNKNOWN_HOLD)
    if not isinstance(entity, pb.Block) and entity.HasField("expires_at"):
        payload.expires_at.CopyFrom(entity.expires_at)
    held_by = tuple(entity.scopes) or (FLEET,)
    match entity:
        case pb.Policy():
            payload.policy.CopyFrom(entity.spec)
            return (resource_pb2.RESOURCE_KIND_POLICY, entity.name, held_by, payload)
        case pb.TrustRoot():
            payload.trust_root.CopyFrom(entity.spec)
            return (resource_pb2.RESOURCE_KIND_TRUST_ROOT, entity.name, held_by, payload)
        case _:
            payload.block.CopyFrom(entity.spec)
            return (resource_pb2.RESOURCE_KIND_BLOCK, entity.name, held_by, payload)


def _resource(kind: int, name: str, payload: resource_pb2.ResourcePayload) -> dict[str, Any]:
    return {"kind": kind, "name": name, "payload": b64encode(payload.SerializeToString()).decode()}


def _held(state: state_pb2.GetStateResponse) -> Iterable[dict[str, Any]]:
    for scope in state.scopes:
        yield {
            "name": scope.binding.scope,
            "precedence": scope.binding.precedence,
            "resources": [
                {"kind": int(one.kind), "name": one.name, "payload": b64encode(one.payload).decode()}
                for one in scope.resources
            ],
        }


async def _ask_satellite(question: dict[str, Any], plain_hosts: list[str]) -> dict[str, Any]:
    """Have the satellite's program judge: it is the site's own code, in a process of its own.

    Raises:
        FleetError: what it says where it reaches no verdict.
    """
    hosts = [part for host in plain_hosts for part in ("--allow-plain-http", host)]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "edge", "judge", *hosts),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    answer, said = await process.communicate(json.dumps(question).encode())
    if not answer:
        text = said.decode(errors="replace").strip()[-400:] or "the satellite's program gave no answer"
        raise FleetError(Kind.UNAVAILABLE, "NOT_JUDGED", text)
    verdict: dict[str, Any] = json.loads(answer)
    return verdict


def _show_verdict(image: str, verdict: dict[str, Any]) -> None:
    policies = ", ".join(verdict["policies"]) or "none"
    steps = [Step(f"the source has it at {verdict['digest']}", "passed"), Step(f"policies that match: {policies}", "")]
    for one in verdict["steps"]:
        outcome = "failed" if one["reason"] else "passed"
        what = f"{one['authority']}: {one['text'] or 'verified'}"
        steps.append(Step(what, outcome, one["reason"], one["signer"], one["evidence"]))
    steps += [Step(f"{one['policy']}: {one['text']}", "warned", one["reason"]) for one in verdict["warnings"]]
    word = "admitted" if verdict["admitted"] else "refused"
    show_steps(image, steps, Outcome(word, verdict["reason"], verdict["text"]))
