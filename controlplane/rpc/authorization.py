"""Who may call what: a table from (listener, RPC) to parties and an object rule; what is not in it is denied.

A test holds its keys against the descriptors, so that no RPC is ever served without a line here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, unique

from controlplane.rpc.caller import Caller, Party
from fleet.errors import FleetError, Kind
from fleet.v1 import fleet_pb2 as messages
from fleet.v1 import resource_pb2 as resources


@unique
class Listener(Enum):
    """Where a call came in."""

    FLEET = "fleet"
    """Mutual TLS: every caller has a certificate."""
    BOOTSTRAP = "bootstrap"
    """Server-authenticated TLS: callers have no certificate yet."""


@unique
class Objects(Enum):
    """Which objects an RPC may touch, beyond the caller's party."""

    ANY = "any"
    """Whatever the request names."""
    SELF = "self"
    """The caller alone, whatever the request says; naming another is refused."""
    SELF_OR_NAMED = "self or named"
    """A satellite: itself. An operator: whom the request names."""
    EACH_CHANGE = "each change"
    """Every change in the request by its own rule."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the table."""

    parties: frozenset[Party]
    objects: Objects = Objects.ANY


_ADMIN = frozenset({Party.ADMIN})
_EDITOR = _ADMIN | {Party.EDITOR}
_VIEWER = _EDITOR | {Party.VIEWER}
_SATELLITE = frozenset({Party.SATELLITE})
_ANYONE = frozenset({Party.ANYONE})
_IDENTIFIED = _VIEWER | _SATELLITE

_VIEWERS = [
    "GetSatellite",
    "ListSatellites",
    "GetGroup",
    "ListGroups",
    "GetSource",
    "ListSources",
    "GetArtifact",
    "ListArtifacts",
    "GetPolicy",
    "ListPolicies",
    "GetBlock",
    "ListBlocks",
    "GetTrustRoot",
    "ListTrustRoots",
    "ListSignerSets",
    "GetConfiguration",
    "ListConfigurations",
    "GetFleetStatus",
    "ListSatelliteStatuses",
    "GetSatelliteStatus",
    "ListChanges",
    "WatchFleet",
]
_EDITORS = [
    "CreateGroup",
    "UpdateGroup",
    "DeleteGroup",
    "CreateArtifact",
    "UpdateArtifact",
    "DeleteArtifact",
    "CreatePolicy",
    "UpdatePolicy",
    "DeletePolicy",
    "AddGroupMember",
    "RemoveGroupMember",
    "AssignArtifact",
    "UnassignArtifact",
]
_ADMINS = [
    "CreateSatellite",
    "UpdateSatellite",
    "DeleteSatellite",
    "CreateSource",
    "UpdateSource",
    "DeleteSource",
    "CreateBlock",
    "UpdateBlock",
    "DeleteBlock",
    "CreateTrustRoot",
    "UpdateTrustRoot",
    "DeleteTrustRoot",
    "ApproveSatellite",
    "RevokeSatellite",
    "ReinstateSatellite",
    "CreateJoinToken",
    "ListJoinTokens",
    "DeleteJoinToken",
    "SetSourceCredential",
    "SetConfiguration",
    "DeleteConfiguration",
    "ListOperators",
    "SetOperator",
    "DeleteOperator",
]

TABLE: dict[tuple[Listener, str], Rule] = {
    (Listener.BOOTSTRAP, "/fleet.v1.AttestationService/GetChallenge"): Rule(_ANYONE),
    (Listener.BOOTSTRAP, "/fleet.v1.AttestationService/Bootstrap"): Rule(_ANYONE),
    (Listener.BOOTSTRAP, "/fleet.v1.AttestationService/Renew"): Rule(_ANYONE),
    (Listener.FLEET, "/fleet.v1.AttestationService/Attest"): Rule(_SATELLITE, Objects.SELF),
    (Listener.FLEET, "/fleet.v1.StateService/StreamState"): Rule(_SATELLITE, Objects.SELF),
    (Listener.FLEET, "/fleet.v1.StateService/GetState"): Rule(_IDENTIFIED, Objects.SELF_OR_NAMED),
    (Listener.FLEET, "/fleet.v1.StateService/IssueSourceCredential"): Rule(_SATELLITE, Objects.SELF),
    (Listener.FLEET, "/fleet.v1.HealthService/ReportHealth"): Rule(_SATELLITE, Objects.SELF),
    (Listener.FLEET, "/fleet.v1.FleetService/ApplyChanges"): Rule(_EDITOR, Objects.EACH_CHANGE),
    **{(Listener.FLEET, f"/fleet.v1.FleetService/{name}"): Rule(_VIEWER) for name in _VIEWERS},
    **{(Listener.FLEET, f"/fleet.v1.FleetService/{name}"): Rule(_EDITOR) for name in _EDITORS},
    **{(Listener.FLEET, f"/fleet.v1.FleetService/{name}"): Rule(_ADMIN) for name in _ADMINS},
    (Listener.FLEET, "/grpc.health.v1.Health/Check"): Rule(_IDENTIFIED),
    (Listener.FLEET, "/grpc.health.v1.Health/List"): Rule(_IDENTIFIED),
    (Listener.FLEET, "/grpc.health.v1.Health/Watch"): Rule(_IDENTIFIED),
    (Listener.FLEET, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"): Rule(_IDENTIFIED),
}
"""Every RPC that is served. The contract's comments say the same in words."""

_CHANGES = {
    "satellite": _ADMIN,
    "group": _EDITOR,
    "source": _ADMIN,
    "artifact": _EDITOR,
    "policy": _EDITOR,
    "block": _ADMIN,
    "trust_root": _ADMIN,
    "membership": _EDITOR,
    "assignment": _EDITOR,
    "operator": _ADMIN,
    "configuration": _ADMIN,
}
"""Who may write or delete an entity of a kind."""


def _refused(reason: str, text: str, subject: str = "") -> FleetError:
    return FleetError(Kind.REFUSED, reason, text, subject=subject)


def rule_for(listener: Listener, method: str) -> Rule:
    """Find an RPC's rule: `/package.Service/Method → rule`.

    Raises:
        FleetError: REFUSED `RPC_NOT_SERVED_HERE` for what is not in the table.
    """
    rule = TABLE.get((listener, method))
    if rule is None:
        raise _refused("RPC_NOT_SERVED_HERE", "this listener does not serve this call", method)
    return rule


def check_party(rule: Rule, caller: Caller) -> None:
    """Check that a caller is one of those whom a rule admits.

    Raises:
        FleetError: REFUSED `ROLE_MISSING`.
    """
    if caller.party in rule.parties:
        return
    if caller.is_satellite:
        raise _refused("ROLE_MISSING", "satellites may not make this call", caller.spiffe_id)
    least = next((p for p in (Party.VIEWER, Party.EDITOR, Party.ADMIN) if p in rule.parties), None)
    needed = f"this call needs the role {least.value}" if least else "only satellites make this call"
    raise _refused("ROLE_MISSING", needed, caller.spiffe_id)


def check_objects(rule: Rule, caller: Caller, request: object) -> None:
    """Check what a request names by the rule's object rule.

    Raises:
        FleetError: REFUSED `NOT_YOURS` where a satellite names another, `ROLE_MISSING` for a change that takes
            more; MALFORMED `SATELLITE_UNNAMED` where an operator names nobody.
    """
    match rule.objects:
        case Objects.ANY:
            return
        case Objects.SELF:
            _check_self(caller, str(getattr(request, "satellite", "")))
        case Objects.SELF_OR_NAMED:
            named = str(getattr(request, "satellite", ""))
            if caller.is_satellite:
                _check_self(caller, named)
            elif not named:
                raise FleetError(Kind.MALFORMED, "SATELLITE_UNNAMED", "name the satellite whose state you want")
        case Objects.EACH_CHANGE:
            if isinstance(request, messages.ApplyChangesRequest):
                for change in request.changes:
                    check_party(Rule(parties_for(change)), caller)


def _check_self(caller: Caller, named: str) -> None:
    if named and named != caller.name:
        raise _refused("NOT_YOURS", "a satellite speaks for itself alone", named[:63])


def parties_for(change: messages.Change) -> frozenset[Party]:
    """Say who may make a change; one that does nothing yet known takes an admin to be told that it is malformed."""
    action = change.WhichOneof("action") or ""
    if action == "signed":
        return _EDITOR if change.signed.kind == resources.RESOURCE_KIND_POLICY else _ADMIN
    entity = (change.delete.WhichOneof("entity") or "") if action == "delete" else action
    return _CHANGES.get(entity, _ADMIN)
