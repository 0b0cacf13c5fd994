"""FleetService, the rules: policies, trust roots, blocks, settings."""

from __future__ import annotations

from controlplane.rpc.entity_service import EntityService
from controlplane.rpc.errors import Context
from controlplane.rpc.fleet_entities import BLOCK, CONFIGURATION, POLICY, TRUST_ROOT, page_of, paging
from controlplane.rpc.wire import write_position
from controlplane.rpc.wire_rules import write_signer_set
from fleet.v1 import fleet_pb2 as pb


class RuleService(EntityService):
    """Create, read, replace and remove by name; settings are set."""

    async def CreatePolicy(self, request: pb.CreatePolicyRequest, context: Context) -> pb.CreatePolicyResponse:
        """Make a policy."""
        return pb.CreatePolicyResponse(**await self._verbs.create(POLICY, request))

    async def UpdatePolicy(self, request: pb.UpdatePolicyRequest, context: Context) -> pb.UpdatePolicyResponse:
        """Replace a policy."""
        return pb.UpdatePolicyResponse(**await self._verbs.replace(POLICY, request))

    async def DeletePolicy(self, request: pb.DeletePolicyRequest, context: Context) -> pb.DeletePolicyResponse:
        """Remove a policy."""
        return pb.DeletePolicyResponse(**await self._verbs.delete(POLICY, request))

    async def GetPolicy(self, request: pb.GetPolicyRequest, context: Context) -> pb.GetPolicyResponse:
        """Read one policy."""
        return pb.GetPolicyResponse(**await self._verbs.read(POLICY, request))

    async def ListPolicies(self, request: pb.ListPoliciesRequest, context: Context) -> pb.ListPoliciesResponse:
        """Read a page of policies."""
        page = await self._fleet.list_policies(*paging(request))
        return pb.ListPoliciesResponse(**page_of(POLICY, page))

    async def CreateBlock(self, request: pb.CreateBlockRequest, context: Context) -> pb.CreateBlockResponse:
        """Make a block."""
        return pb.CreateBlockResponse(**await self._verbs.create(BLOCK, request))

    async def UpdateBlock(self, request: pb.UpdateBlockRequest, context: Context) -> pb.UpdateBlockResponse:
        """Replace a block."""
        return pb.UpdateBlockResponse(**await self._verbs.replace(BLOCK, request))

    async def DeleteBlock(self, request: pb.DeleteBlockRequest, context: Context) -> pb.DeleteBlockResponse:
        """Remove a block."""
        return pb.DeleteBlockResponse(**await self._verbs.delete(BLOCK, request))

    async def GetBlock(self, request: pb.GetBlockRequest, context: Context) -> pb.GetBlockResponse:
        """Read one block."""
        return pb.GetBlockResponse(**await self._verbs.read(BLOCK, request))

    async def ListBlocks(self, request: pb.ListBlocksRequest, context: Context) -> pb.ListBlocksResponse:
        """Read a page of blocks."""
        page = await self._fleet.list_blocks(*paging(request))
        return pb.ListBlocksResponse(**page_of(BLOCK, page))

    async def CreateTrustRoot(self, request: pb.CreateTrustRootRequest, context: Context) -> pb.CreateTrustRootResponse:
        """Make a trust root."""
        return pb.CreateTrustRootResponse(**await self._verbs.create(TRUST_ROOT, request))

    async def UpdateTrustRoot(self, request: pb.UpdateTrustRootRequest, context: Context) -> pb.UpdateTrustRootResponse:
        """Replace a trust root."""
        return pb.UpdateTrustRootResponse(**await self._verbs.replace(TRUST_ROOT, request))

    async def DeleteTrustRoot(self, request: pb.DeleteTrustRootRequest, context: Context) -> pb.DeleteTrustRootResponse:
        """Remove a trust root."""
        return pb.DeleteTrustRootResponse(**await self._verbs.delete(TRUST_ROOT, request))

    async def GetTrustRoot(self, request: pb.GetTrustRootRequest, context: Context) -> pb.GetTrustRootResponse:
        """Read one trust root."""
        return pb.GetTrustRootResponse(**await self._verbs.read(TRUST_ROOT, request))

    async def ListTrustRoots(self, request: pb.ListTrustRootsRequest, context: Context) -> pb.ListTrustRootsResponse:
        """Read a page of trust roots."""
        page = await self._fleet.list_trust_roots(*paging(request))
        return pb.ListTrustRootsResponse(**page_of(TRUST_ROOT, page))

    async def ListSignerSets(self, request: pb.ListSignerSetsRequest, context: Context) -> pb.ListSignerSetsResponse:
        """Read a page of signer sets."""
        page = await self._fleet.list_signer_sets(*paging(request))
        return pb.ListSignerSetsResponse(
            signer_sets=map(write_signer_set, page.items),
            next_page_token=page.next_page_token,
            position=write_position(page.position),
        )

    async def SetConfiguration(
        self, request: pb.SetConfigurationRequest, context: Context
    ) -> pb.SetConfigurationResponse:
        """Make or replace a scope's settings."""
        return pb.SetConfigurationResponse(**await self._verbs.set(CONFIGURATION, request))

    async def DeleteConfiguration(
        self, request: pb.DeleteConfigurationRequest, context: Context
    ) -> pb.DeleteConfigurationResponse:
        """Remove a scope's settings."""
        return pb.DeleteConfigurationResponse(**await self._verbs.delete(CONFIGURATION, request))

    async def GetConfiguration(
        self, request: pb.GetConfigurationRequest, context: Context
    ) -> pb.GetConfigurationResponse:
        """Read a scope's settings."""
        return pb.GetConfigurationResponse(**await self._verbs.read(CONFIGURATION, request))

    async def ListConfigurations(
        self, request: pb.ListConfigurationsRequest, context: Context
    ) -> pb.ListConfigurationsResponse:
        """Read a page of scopes' settings."""
        page = await self._fleet.list_configurations(*paging(request))
        return pb.ListConfigurationsResponse(**page_of(CONFIGURATION, page))
