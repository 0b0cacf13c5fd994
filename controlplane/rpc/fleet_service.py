"""FleetService whole: the entities, and the verbs between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from controlplane.app.fleet import DEFAULT_TOKEN_LIFE, Fleet, Minted
from controlplane.domain.commands import DeletePair, EntityKind, Upsert
from controlplane.rpc.caller import current_caller
from controlplane.rpc.errors import Context
from controlplane.rpc.fleet_entities import OPERATOR, paging
from controlplane.rpc.rule_service import RuleService
from controlplane.rpc.watch import Watcher
from controlplane.rpc.wire import page_size, read_duration, read_position, request_id, within, write_position
from controlplane.rpc.wire_changes import read_change, write_record, write_result
from controlplane.rpc.wire_entities import (
    read_assignment,
    read_membership,
    refuse_unknown,
    write_artifact,
    write_operator,
    write_satellite,
    write_token,
)
from controlplane.rpc.wire_status import (
    without_exceptions,
    write_artifact_status,
    write_fleet_status,
    write_status,
)
from fleet.errors import FleetError, Kind, malformed
from fleet.joinstring import JoinKind, JoinString
from fleet.v1 import fleet_pb2 as pb

MAX_CHANGES = 1000
MAX_REASON = 512


@dataclass(frozen=True, slots=True)
class Invitation:
    """What a joiner is told besides its token."""

    bootstrap: str
    address: str
    ground_control: str
    roots: Callable[[], Sequence[bytes]]

    def join_string(self, minted: Minted, kind: JoinKind) -> str:
        """Write the one line that a joiner needs."""
        return JoinString(
            kind=kind,
            spiffe_id=minted.token.spiffe_id,
            bootstrap=self.bootstrap,
            address=self.address,
            ground_control=self.ground_control,
            roots=tuple(self.roots()),
            token_id=minted.token.id,
            secret=minted.secret,
        ).encode()


class FleetService(RuleService):
    """The operators' API; whoever gets here has the role that the table asks for."""

    def __init__(self, fleet: Fleet, *, watcher: Watcher, invitation: Invitation | None) -> None:
        """`invitation` is None where identities come from SPIRE: nobody joins by token then."""
        super().__init__(fleet)
        self._watcher = watcher
        self._invitation = invitation

    async def ApplyChanges(self, request: pb.ApplyChangesRequest, context: Context) -> pb.ApplyChangesResponse:
        """Do many changes in one revision, or none."""
        refuse_unknown(request)
        within(request.changes, MAX_CHANGES, what="a request's list of changes")
        applied = await self._fleet.apply(
            current_caller().spiffe_id,
            [read_change(change) for change in request.changes],
            request_id=request_id(request.request_id),
            reason=within(request.reason, MAX_REASON, what="a reason"),
            dry_run=request.dry_run,
        )
        results = map(write_result, applied.results)
        return pb.ApplyChangesResponse(position=write_position(applied.position), results=results)

    # Pairs ------------------------------------------------------------------------------------------------

    async def AddGroupMember(self, request: pb.AddGroupMemberRequest, context: Context) -> pb.AddGroupMemberResponse:
        """Put a satellite into a group."""
        applied = await self._verbs.apply(request, Upsert(read_membership(request.membership)))
        return pb.AddGroupMemberResponse(position=write_position(applied.position))

    async def RemoveGroupMember(
        self, request: pb.RemoveGroupMemberRequest, context: Context
    ) -> pb.RemoveGroupMemberResponse:
        """Take a satellite out of a group."""
        applied = await self._verbs.apply(request, DeletePair(read_membership(request.membership)))
        return pb.RemoveGroupMemberResponse(position=write_position(applied.position))

    async def AssignArtifact(self, request: pb.AssignArtifactRequest, context: Context) -> pb.AssignArtifactResponse:
        """Make a scope want an artifact."""
        applied = await self._verbs.apply(request, Upsert(read_assignment(request.assignment)))
        name = applied.results[0].name.partition(" ")[2]
        artifact = write_artifact(await self._fleet.get_artifact(name))
        return pb.AssignArtifactResponse(position=write_position(applied.position), artifact=artifact)

    async def UnassignArtifact(
        self, request: pb.UnassignArtifactRequest, context: Context
    ) -> pb.UnassignArtifactResponse:
        """Take an artifact back from a scope."""
        applied = await self._verbs.apply(request, DeletePair(read_assignment(request.assignment)))
        return pb.UnassignArtifactResponse(position=write_position(applied.position))

    # Lifecycle --------------------------------------------------------------------------------------------

    async def ApproveSatellite(
        self, request: pb.ApproveSatelliteRequest, context: Context
    ) -> pb.ApproveSatelliteResponse:
        """End pending."""
        satellite, position = await self._fleet.approve(
            current_caller().spiffe_id, request.name, reason=request.reason, request_id=request.request_id
        )
        return pb.ApproveSatelliteResponse(satellite=write_satellite(satellite), position=write_position(position))

    async def RevokeSatellite(self, request: pb.RevokeSatelliteRequest, context: Context) -> pb.RevokeSatelliteResponse:
        """Turn a satellite away."""
        satellite, position = await self._fleet.revoke(
            current_caller().spiffe_id, request.name, reason=request.reason, request_id=request.request_id
        )
        return pb.RevokeSatelliteResponse(satellite=write_satellite(satellite), position=write_position(position))

    async def ReinstateSatellite(
        self, request: pb.ReinstateSatelliteRequest, context: Context
    ) -> pb.ReinstateSatelliteResponse:
        """Let a revoked satellite join again."""
        satellite, position = await self._fleet.reinstate(
            current_caller().spiffe_id, request.name, reason=request.reason, request_id=request.request_id
        )
        return pb.ReinstateSatelliteResponse(satellite=write_satellite(satellite), position=write_position(position))

    # Tokens, credentials, operators -----------------------------------------------------------------------

    async def CreateJoinToken(self, request: pb.CreateJoinTokenRequest, context: Context) -> pb.CreateJoinTokenResponse:
        """Mint a token and write the join string around it."""
        if self._invitation is None:
            text = "identities come from SPIRE here: register the workload there, then approve the satellite"
            raise FleetError(Kind.PRECONDITION, "JOINING_BY_SPIRE", text)
        kind, name = _subject(request)
        minted = await self._fleet.mint_token(
            current_caller().spiffe_id,
            kind,
            name,
            region=request.region,
            ttl=read_duration(request, "ttl") or DEFAULT_TOKEN_LIFE,
            groups=tuple(request.groups),
        )
        return pb.CreateJoinTokenResponse(
            token=write_token(minted.token),
            join_string=self._invitation.join_string(minted, JoinKind(kind.value)),
            position=write_position(minted.position),
        )

    async def ListJoinTokens(self, request: pb.ListJoinTokensRequest, context: Context) -> pb.ListJoinTokensResponse:
        """Read a page of tokens, without secrets."""
        page = await self._fleet.list_tokens(*paging(request))
        return pb.ListJoinTokensResponse(tokens=map(write_token, page.items), next_page_token=page.next_page_token)

    async def DeleteJoinToken(self, request: pb.DeleteJoinTokenRequest, context: Context) -> pb.DeleteJoinTokenResponse:
        """Make a token useless."""
        position = await self._fleet.delete_token(current_caller().spiffe_id, request.id)
        return pb.DeleteJoinTokenResponse(position=write_position(position))

    async def SetSourceCredential(
        self, request: pb.SetSourceCredentialRequest, context: Context
    ) -> pb.SetSourceCredentialResponse:
        """Store, sealed, what satellites pull with."""
        position = await self._fleet.set_source_credential(
            current_caller().spiffe_id,
            request.source,
            within(request.username, MAX_REASON, what="a user name"),
            within(request.password, 16 * 1024, what="a password"),
        )
        return pb.SetSourceCredentialResponse(position=write_position(position))

    async def ListOperators(self, request: pb.ListOperatorsRequest, context: Context) -> pb.ListOperatorsResponse:
        """Read a page of operators."""
        page = await self._fleet.list_operators(*paging(request))
        operators = map(write_operator, page.items)
        return pb.ListOperatorsResponse(operators=operators, next_page_token=page.next_page_token)

    async def SetOperator(self, request: pb.SetOperatorRequest, context: Context) -> pb.SetOperatorResponse:
        """Give an operator a role."""
        return pb.SetOperatorResponse(**await self._verbs.set(OPERATOR, request))

    async def DeleteOperator(self, request: pb.DeleteOperatorRequest, context: Context) -> pb.DeleteOperatorResponse:
        """Take an operator's role."""
        return pb.DeleteOperatorResponse(**await self._verbs.delete(OPERATOR, request))

    # Status and the log -----------------------------------------------------------------------------------

    async def GetFleetStatus(self, request: pb.GetFleetStatusRequest, context: Context) -> pb.GetFleetStatusResponse:
        """Count the fleet."""
        return write_fleet_status(await self._fleet.fleet_status())

    async def ListSatelliteStatuses(
        self, request: pb.ListSatelliteStatusesRequest, context: Context
    ) -> pb.ListSatelliteStatusesResponse:
        """Read a page of statuses."""
        page = await self._fleet.satellite_statuses(*paging(request), group=request.group)
        statuses = [write_status(without_exceptions(status)) for status in page.items]
        return pb.ListSatelliteStatusesResponse(statuses=statuses, next_page_token=page.next_page_token)

    async def GetSatelliteStatus(
        self, request: pb.GetSatelliteStatusRequest, context: Context
    ) -> pb.GetSatelliteStatusResponse:
        """Read where one satellite stands."""
        status, artifacts = await self._fleet.satellite_status(request.name)
        return pb.GetSatelliteStatusResponse(
            status=write_status(status), artifacts=map(write_artifact_status, artifacts)
        )

    async def ListChanges(self, request: pb.ListChangesRequest, context: Context) -> pb.ListChangesResponse:
        """Read a page of the log."""
        page = await self._fleet.changes(read_position(request, "after"), page_size(request.page_size))
        return pb.ListChangesResponse(changes=map(write_record, page.records), more=page.more)

    async def WatchFleet(self, request: pb.WatchFleetRequest, context: Context) -> None:  # type: ignore[override] # grpc.aio's style with context.write
        """Stream changes and statuses."""
        after = read_position(request, "after")
        await self._watcher.watch(current_caller(), context, after=after, statuses=request.statuses)


def _subject(request: pb.CreateJoinTokenRequest) -> tuple[EntityKind, str]:
    match request.WhichOneof("subject"):
        case "satellite":
            return EntityKind.SATELLITE, request.satellite
        case "operator":
            return EntityKind.OPERATOR, request.operator
        case _:
            raise malformed("SUBJECT_MISSING", "a join token is for a satellite or for an operator: name one")
