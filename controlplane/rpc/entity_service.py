"""FleetService, the named things: satellites, groups, sources, artifacts."""

from __future__ import annotations

from controlplane.app.fleet import Fleet
from controlplane.rpc.errors import Context
from controlplane.rpc.fleet_entities import (
    ARTIFACT,
    GROUP,
    SATELLITE,
    SOURCE,
    EntityVerbs,
    page_of,
    paging,
)
from fleet.v1 import fleet_pb2 as pb
from fleet.v1.fleet_pb2_grpc import FleetServiceServicer


class EntityService(FleetServiceServicer):
    """Create, read, replace and remove by name."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._verbs = EntityVerbs(fleet)

    async def CreateSatellite(self, request: pb.CreateSatelliteRequest, context: Context) -> pb.CreateSatelliteResponse:
        """Make a satellite."""
        return pb.CreateSatelliteResponse(**await self._verbs.create(SATELLITE, request))

    async def UpdateSatellite(self, request: pb.UpdateSatelliteRequest, context: Context) -> pb.UpdateSatelliteResponse:
        """Replace a satellite."""
        return pb.UpdateSatelliteResponse(**await self._verbs.replace(SATELLITE, request))

    async def DeleteSatellite(self, request: pb.DeleteSatelliteRequest, context: Context) -> pb.DeleteSatelliteResponse:
        """Remove a satellite."""
        return pb.DeleteSatelliteResponse(**await self._verbs.delete(SATELLITE, request))

    async def GetSatellite(self, request: pb.GetSatelliteRequest, context: Context) -> pb.GetSatelliteResponse:
        """Read one satellite."""
        return pb.GetSatelliteResponse(**await self._verbs.read(SATELLITE, request))

    async def ListSatellites(self, request: pb.ListSatellitesRequest, context: Context) -> pb.ListSatellitesResponse:
        """Read a page of satellites."""
        page = await self._fleet.list_satellites(*paging(request), group=request.group)
        return pb.ListSatellitesResponse(**page_of(SATELLITE, page))

    async def CreateGroup(self, request: pb.CreateGroupRequest, context: Context) -> pb.CreateGroupResponse:
        """Make a group."""
        return pb.CreateGroupResponse(**await self._verbs.create(GROUP, request))

    async def UpdateGroup(self, request: pb.UpdateGroupRequest, context: Context) -> pb.UpdateGroupResponse:
        """Replace a group."""
        return pb.UpdateGroupResponse(**await self._verbs.replace(GROUP, request))

    async def DeleteGroup(self, request: pb.DeleteGroupRequest, context: Context) -> pb.DeleteGroupResponse:
        """Remove a group."""
        return pb.DeleteGroupResponse(**await self._verbs.delete(GROUP, request))

    async def GetGroup(self, request: pb.GetGroupRequest, context: Context) -> pb.GetGroupResponse:
        """Read one group."""
        return pb.GetGroupResponse(**await self._verbs.read(GROUP, request))

    async def ListGroups(self, request: pb.ListGroupsRequest, context: Context) -> pb.ListGroupsResponse:
        """Read a page of groups."""
        page = await self._fleet.list_groups(*paging(request))
        return pb.ListGroupsResponse(**page_of(GROUP, page))

    async def CreateSource(self, request: pb.CreateSourceRequest, context: Context) -> pb.CreateSourceResponse:
        """Make a source."""
        return pb.CreateSourceResponse(**await self._verbs.create(SOURCE, request))

    async def UpdateSource(self, request: pb.UpdateSourceRequest, context: Context) -> pb.UpdateSourceResponse:
        """Replace a source."""
        return pb.UpdateSourceResponse(**await self._verbs.replace(SOURCE, request))

    async def DeleteSource(self, request: pb.DeleteSourceRequest, context: Context) -> pb.DeleteSourceResponse:
        """Remove a source."""
        return pb.DeleteSourceResponse(**await self._verbs.delete(SOURCE, request))

    async def GetSource(self, request: pb.GetSourceRequest, context: Context) -> pb.GetSourceResponse:
        """Read one source."""
        return pb.GetSourceResponse(**await self._verbs.read(SOURCE, request))

    async def ListSources(self, request: pb.ListSourcesRequest, context: Context) -> pb.ListSourcesResponse:
        """Read a page of sources."""
        page = await self._fleet.list_sources(*paging(request))
        return pb.ListSourcesResponse(**page_of(SOURCE, page))

    async def CreateArtifact(self, request: pb.CreateArtifactRequest, context: Context) -> pb.CreateArtifactResponse:
        """Make an artifact."""
        return pb.CreateArtifactResponse(**await self._verbs.create(ARTIFACT, request))

    async def UpdateArtifact(self, request: pb.UpdateArtifactRequest, context: Context) -> pb.UpdateArtifactResponse:
        """Replace an artifact."""
        return pb.UpdateArtifactResponse(**await self._verbs.replace(ARTIFACT, request))

    async def DeleteArtifact(self, request: pb.DeleteArtifactRequest, context: Context) -> pb.DeleteArtifactResponse:
        """Remove an artifact."""
        return pb.DeleteArtifactResponse(**await self._verbs.delete(ARTIFACT, request))

    async def GetArtifact(self, request: pb.GetArtifactRequest, context: Context) -> pb.GetArtifactResponse:
        """Read one artifact."""
        return pb.GetArtifactResponse(**await self._verbs.read(ARTIFACT, request))

    async def ListArtifacts(self, request: pb.ListArtifactsRequest, context: Context) -> pb.ListArtifactsResponse:
        """Read a page of artifacts."""
        page = await self._fleet.list_artifacts(*paging(request), scope=request.scope)
        return pb.ListArtifactsResponse(**page_of(ARTIFACT, page))
