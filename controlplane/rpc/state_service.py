"""StateService: desired state by stream and at once, and credentials to pull with."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from controlplane.domain.state import Binding, Resource, ScopeContent
from controlplane.rpc.caller import current_caller
from controlplane.rpc.errors import Context
from controlplane.rpc.stream import StreamParts, serve_stream
from controlplane.rpc.wire import within, write_position
from fleet.v1 import resource_pb2
from fleet.v1 import state_pb2 as pb

SERVICE = "fleet.v1.StateService"
MAX_REPOSITORIES = 1000


class StateService:
    """Serves satellites their own state, and operators whom they name."""

    def __init__(self, parts: StreamParts) -> None:
        self._parts = parts

    def handlers(self) -> grpc.GenericRpcHandler:
        """The service's handlers; StreamState answers raw bytes, which streams share."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "StreamState": grpc.stream_stream_rpc_method_handler(
                    self.stream_state, request_deserializer=pb.StreamStateRequest.FromString
                ),
                "GetState": grpc.unary_unary_rpc_method_handler(
                    self.get_state,
                    request_deserializer=pb.GetStateRequest.FromString,
                    response_serializer=pb.GetStateResponse.SerializeToString,
                ),
                "IssueSourceCredential": grpc.unary_unary_rpc_method_handler(
                    self.issue_source_credential,
                    request_deserializer=pb.IssueSourceCredentialRequest.FromString,
                    response_serializer=pb.IssueSourceCredentialResponse.SerializeToString,
                ),
            },
        )

    async def stream_state(self, requests: AsyncIterator[pb.StreamStateRequest], context: Context) -> None:
        """Keep the caller's state current."""
        await serve_stream(self._parts, current_caller(), requests, context)

    async def get_state(self, request: pb.GetStateRequest, context: Context) -> pb.GetStateResponse:
        """Answer a whole desired state at once."""
        caller = current_caller()
        whole = await self._parts.fleet.state(caller.name if caller.is_satellite else request.satellite)
        return pb.GetStateResponse(
            satellite=whole.satellite,
            position=write_position(whole.desired.position),
            scopes=map(_write_scope, whole.scopes),
            state_digest=whole.desired.state_digest,
        )

    async def issue_source_credential(
        self,
        request: pb.IssueSourceCredentialRequest,
        context: Context,
    ) -> pb.IssueSourceCredentialResponse:
        """Hand out what opens a source of the caller's own state."""
        repositories = tuple(within(request.repositories, MAX_REPOSITORIES, what="the list of repositories"))
        found = await self._parts.fleet.credential(current_caller().name, request.source, repositories)
        return pb.IssueSourceCredentialResponse(username=found.username, password=found.password)


def _write_scope(content: ScopeContent) -> pb.ScopeState:
    return pb.ScopeState(
        binding=_write_binding(content.binding),
        resources=map(_write_resource, content.resources),
        decoded=map(_decode, content.resources),
    )


def _write_binding(binding: Binding) -> pb.ScopeBinding:
    return pb.ScopeBinding(
        scope=binding.scope, generation=binding.generation, digest=binding.digest, precedence=binding.precedence
    )


def _write_resource(resource: Resource) -> resource_pb2.Resource:
    return resource_pb2.Resource(
        kind=resource_pb2.ResourceKind.ValueType(resource.kind),
        name=resource.name,
        payload=resource.payload,
        version=resource.version,
        signatures=[
            resource_pb2.ResourceSignature(key_id=one.key_id, signature=one.signature) for one in resource.signatures
        ],
    )


def _decode(resource: Resource) -> resource_pb2.ResourcePayload:
    try:
        return resource_pb2.ResourcePayload.FromString(resource.payload)
    except DecodeError:
        return resource_pb2.ResourcePayload()  # what is stored is not ours to judge here
