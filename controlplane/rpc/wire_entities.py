"""What operators write and read ⇄ domain entities.

Reading is strict where a policy could be weakened: an unknown field or enum value in what an operator writes is an
error, not something to leave out.
"""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf.message import Message

from controlplane.domain.entities import (
    Artifact,
    Assignment,
    Group,
    JoinToken,
    Membership,
    Operator,
    Satellite,
    Source,
)
from controlplane.domain.specs import ArtifactSpec, Platform, SourceSpec, Track
from controlplane.rpc.wire import read_role, within, write_lifecycle, write_role, write_time
from fleet.errors import malformed
from fleet.reference import parse_artifact_name
from fleet.resources import first_unknown
from fleet.v1 import fleet_pb2 as pb
from fleet.v1 import resource_pb2 as resources

_MAX_OWNER = 128


def refuse_unknown(message: Message) -> None:
    """Refuse a message of which this server does not understand all.

    Raises:
        FleetError: MALFORMED `FIELD_UNKNOWN`.
    """
    unknown = first_unknown(message)
    if unknown is not None:
        text = "this server does not understand all of the request: one of the two is too old"
        raise malformed("FIELD_UNKNOWN", text, subject=unknown)


def read_satellite(message: pb.Satellite) -> Satellite:
    """Read a satellite as an operator writes it."""
    return Satellite(
        message.name, message.region, within(message.description, 512, what="a description"), etag=message.etag
    )


def write_satellite(value: Satellite) -> pb.Satellite:
    """Show a satellite."""
    return pb.Satellite(
        name=value.name,
        region=value.region,
        description=value.description,
        spiffe_id=value.spiffe_id,
        lifecycle=write_lifecycle(value.lifecycle),
        groups=value.groups,
        created_at=write_time(value.created_at),
        etag=value.etag,
    )


def read_group(message: pb.Group) -> Group:
    """Read a group as an operator writes it."""
    return Group(
        message.name, message.precedence, within(message.description, 512, what="a description"), etag=message.etag
    )


def write_group(value: Group) -> pb.Group:
    """Show a group."""
    return pb.Group(
        name=value.name,
        precedence=value.precedence,
        description=value.description,
        satellites=value.satellites,
        artifacts=value.artifacts,
        etag=value.etag,
    )


def read_source(message: pb.Source) -> Source:
    """Read a source as an operator writes it."""
    spec = message.spec
    read = SourceSpec(
        address=spec.address,
        ca_pem=spec.ca_pem,
        mirrors=tuple(within(spec.mirrors, 16, what="a source's list of mirrors")),
        local_prefix=spec.local_prefix,
        needs_credential=spec.needs_credential,
        plain_http=spec.plain_http,
    )
    return Source(message.name, read, etag=message.etag)


def write_source(value: Source) -> pb.Source:
    """Show a source."""
    spec = value.spec
    written = resources.SourceSpec(
        address=spec.address,
        ca_pem=spec.ca_pem,
        mirrors=spec.mirrors,
        local_prefix=spec.local_prefix,
        needs_credential=spec.needs_credential,
        plain_http=spec.plain_http,
    )
    return pb.Source(name=value.name, spec=written, has_credential=value.has_credential, etag=value.etag)


def _platforms(messages: Iterable[resources.Platform]) -> tuple[Platform, ...]:
    return tuple(Platform(m.os, m.architecture, m.variant) for m in messages)


def read_artifact(message: pb.Artifact) -> Artifact:
    """Read an artifact as an operator writes it; without a source in its spec the name says the rest.

    Raises:
        FleetError: MALFORMED `ARTIFACT_MALFORMED` and others of `parse_artifact_name`.
    """
    spec = message.spec
    source, repository, tag, digest = spec.source, spec.repository, spec.tag, spec.digest
    if not source:
        named = parse_artifact_name(message.name)
        source, repository, tag = named.source, named.repository, named.tag
        digest = named.digest or digest
    read = ArtifactSpec(
        source=source,
        repository=repository,
        tag=tag,
        digest=digest,
        platforms=_platforms(within(spec.platforms, 64, what="a list of platforms")),
        priority=spec.priority,
        track=Track(spec.track or Track.PINNED),
        size_bytes=spec.size_bytes,
    )
    return Artifact(read, etag=message.etag)


def write_artifact(value: Artifact) -> pb.Artifact:
    """Show an artifact."""
    spec = value.spec
    written = resources.ArtifactSpec(
        source=spec.source,
        repository=spec.repository,
        tag=spec.tag,
        digest=spec.digest,
        platforms=[resources.Platform(os=p.os, architecture=p.architecture, variant=p.variant) for p in spec.platforms],
        priority=spec.priority,
        track=resources.Track.ValueType(int(spec.track)),
        size_bytes=spec.size_bytes,
    )
    return pb.Artifact(name=value.name, spec=written, scopes=value.scopes, etag=value.etag)


def read_membership(message: pb.Membership) -> Membership:
    """Read who goes where."""
    return Membership(message.satellite, message.group, within(message.owner, _MAX_OWNER, what="an owner"))


def read_assignment(message: pb.Assignment) -> Assignment:
    """Read what goes where."""
    return Assignment(message.artifact, message.scope, within(message.owner, _MAX_OWNER, what="an owner"))


def read_operator(message: pb.Operator) -> Operator:
    """Read an operator as an admin writes it."""
    return Operator(message.name, read_role(message.role), etag=message.etag)


def write_operator(value: Operator) -> pb.Operator:
    """Show an operator."""
    return pb.Operator(name=value.name, role=write_role(value.role), spiffe_id=value.spiffe_id, etag=value.etag)


def write_token(value: JoinToken) -> pb.JoinToken:
    """Show a join token; its secret is not in it."""
    return pb.JoinToken(
        id=value.id,
        spiffe_id=value.spiffe_id,
        created_at=write_time(value.created_at),
        expires_at=write_time(value.expires_at),
        used_at=write_time(value.used_at),
        refused_attempts=value.refused_attempts,
    )
