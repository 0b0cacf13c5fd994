"""Resources on the wire: payloads serialized once, when they are written, and deltas made of stored payloads.

`deterministic=True` orders map fields; nothing here relies on two libraries agreeing, since a payload's bytes are
stored and never made again.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from controlplane.domain.specs import ArtifactSpec, ConfigurationSpec, ResourceKind, SourceSpec, Spec
from controlplane.domain.state import Key, Resource
from fleet.digests import resource_version
from fleet.errors import FleetError, Kind
from fleet.policy import BlockSpec, PolicySpec, TrustRootSpec
from fleet.policy_wire import write_block, write_policy, write_trust_root
from fleet.resources import write_link
from fleet.v1 import resource_pb2, state_pb2

MAX_PAYLOAD_BYTES = 1024 * 1024

_IGNORED = resource_pb2.IF_UNKNOWN_IGNORE
_KINDS: dict[type[Any], ResourceKind] = {
    ArtifactSpec: ResourceKind.ARTIFACT,
    SourceSpec: ResourceKind.SOURCE,
    PolicySpec: ResourceKind.POLICY,
    TrustRootSpec: ResourceKind.TRUST_ROOT,
    BlockSpec: ResourceKind.BLOCK,
    ConfigurationSpec: ResourceKind.CONFIGURATION,
}


def make_resource(
    name: str, spec: Spec, *, serial: int = 0, issued_at: datetime | None = None, expires_at: datetime | None = None
) -> Resource:
    """Serialize a content, for good.

    Raises:
        FleetError: EXHAUSTED `LIMIT_EXCEEDED` past 1 MiB.
    """
    payload = resource_pb2.ResourcePayload(
        # Policies, trust roots and blocks are HOLD by the contract. Artifacts and sources too: to replicate what one
        # does not understand would be a guess. A setting is nothing to stop replication for.
        if_unknown=_IGNORED if isinstance(spec, ConfigurationSpec) else resource_pb2.IF_UNKNOWN_HOLD,
        serial=serial,
    )
    if issued_at is not None:
        payload.issued_at.FromDatetime(issued_at)
    if expires_at is not None:
        payload.expires_at.FromDatetime(expires_at)
    _fill(payload, spec)
    serialized = payload.SerializeToString(deterministic=True)
    if len(serialized) > MAX_PAYLOAD_BYTES:
        raise FleetError(Kind.EXHAUSTED, "LIMIT_EXCEEDED", "a resource has at most 1 MiB", subject=name)
    kind = _KINDS[type(spec)]
    return Resource(kind, name, serialized, resource_version(kind, serialized))


def _fill(payload: resource_pb2.ResourcePayload, spec: Spec) -> None:
    match spec:
        case ArtifactSpec():
            payload.artifact.CopyFrom(_artifact(spec))
        case SourceSpec():
            payload.source.CopyFrom(_source(spec))
        case PolicySpec():
            payload.policy.CopyFrom(write_policy(spec))
        case TrustRootSpec():
            payload.trust_root.CopyFrom(write_trust_root(spec))
        case BlockSpec():
            payload.block.CopyFrom(write_block(spec))
        case ConfigurationSpec():
            payload.configuration.CopyFrom(_configuration(spec))


def _configuration(spec: ConfigurationSpec) -> resource_pb2.ConfigurationSpec:
    written = resource_pb2.ConfigurationSpec(concurrent_images=spec.concurrent_images)
    if spec.link is not None:
        written.link.CopyFrom(write_link(spec.link))
    return written


def _artifact(spec: ArtifactSpec) -> resource_pb2.ArtifactSpec:
    return resource_pb2.ArtifactSpec(
        source=spec.source,
        repository=spec.repository,
        tag=spec.tag,
        digest=spec.digest,
        platforms=[
            resource_pb2.Platform(os=platform.os, architecture=platform.architecture, variant=platform.variant)
            for platform in spec.platforms
        ],
        priority=spec.priority,
        track=resource_pb2.Track.ValueType(spec.track),
        size_bytes=spec.size_bytes,
    )


def _source(spec: SourceSpec) -> resource_pb2.SourceSpec:
    return resource_pb2.SourceSpec(
        address=spec.address,
        ca_pem=spec.ca_pem,
        mirrors=spec.mirrors,
        local_prefix=spec.local_prefix,
        needs_credential=spec.needs_credential,
        plain_http=spec.plain_http,
    )


def write_resource(resource: Resource) -> resource_pb2.Resource:
    """Show a resource as it travels."""
    return resource_pb2.Resource(
        kind=resource_pb2.ResourceKind.ValueType(resource.kind),
        name=resource.name,
        payload=resource.payload,
        version=resource.version,
        signatures=[
            resource_pb2.ResourceSignature(key_id=one.key_id, signature=one.signature) for one in resource.signatures
        ],
    )


def encode_delta(upserts: Iterable[Resource], deletes: Iterable[Key]) -> bytes:
    """Serialize a fleet.v1.Delta; both come sorted by (kind, name)."""
    delta = state_pb2.Delta(
        upserts=map(write_resource, upserts),
        deletes=[
            resource_pb2.ResourceKey(kind=resource_pb2.ResourceKind.ValueType(kind), name=name)
            for kind, name in deletes
        ],
    )
    return delta.SerializeToString(deterministic=True)
