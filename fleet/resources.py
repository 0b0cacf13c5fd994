"""Read resources: opaque payload bytes in, typed values or a reason out.

A payload is stored before it is read (design: held is not enforced). Reading is strict: an unknown kind, field or
enum value at any depth makes a HOLD resource unusable, and whoever asked keeps the last good reading in force.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from fleet.errors import FleetError, malformed
from fleet.link import Link, Window, check_link
from fleet.policy import BlockSpec, PolicySpec, SignerSetSpec, TrustRootSpec
from fleet.policy_wire import read_block, read_policy, read_signer_set, read_trust_root
from fleet.reference import Digest, parse_digest, parse_repository, parse_tag
from fleet.v1 import resource_pb2 as pb

ARTIFACT: int = pb.RESOURCE_KIND_ARTIFACT
SOURCE: int = pb.RESOURCE_KIND_SOURCE
POLICY: int = pb.RESOURCE_KIND_POLICY
TRUST_ROOT: int = pb.RESOURCE_KIND_TRUST_ROOT
BLOCK: int = pb.RESOURCE_KIND_BLOCK
CONFIGURATION: int = pb.RESOURCE_KIND_CONFIGURATION
SIGNER_SET: int = pb.RESOURCE_KIND_SIGNER_SET

MAX_PAYLOAD_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, order=True)
class Platform:
    """One `os/architecture[/variant]`; an empty variant matches any."""

    os: str
    architecture: str
    variant: str = ""


@dataclass(frozen=True, slots=True)
class Artifact:
    """One thing to replicate."""

    source: str
    repository: str
    tag: str
    digest: Digest
    platforms: frozenset[Platform]
    """Empty: all."""
    priority: int
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Source:
    """An upstream registry."""

    address: str
    ca_pem: str
    mirrors: tuple[str, ...]
    local_prefix: str
    needs_credential: bool
    plain_http: bool


@dataclass(frozen=True, slots=True)
class Configuration:
    """Settings of the satellite that Ground Control decides."""

    concurrent_images: int = 0
    """Zero: nothing is said of it."""
    link: Link | None = None
    """None: nothing is said of it."""


Body = Artifact | Source | PolicySpec | TrustRootSpec | BlockSpec | SignerSetSpec | Configuration


@dataclass(frozen=True, slots=True)
class Readable:
    """A payload that was understood."""

    body: Body
    serial: int = 0
    issued_at: datetime | None = None
    expires_at: datetime | None = None
    name: str = ""
    """As signed; empty where it was not."""
    scopes: tuple[str, ...] = ()
    """As signed; empty where it was not."""


@dataclass(frozen=True, slots=True)
class Unusable:
    """A payload that was not: why, and whether its scope must admit nothing new meanwhile."""

    reason: str
    text: str
    hold: bool


def read(kind: int, payload: bytes) -> Readable | Unusable | None:
    """Read one payload: `(kind, bytes) → value`; None for an unknown kind that asks to be ignored."""
    message = pb.ResourcePayload()
    try:
        message.ParseFromString(payload)
    except DecodeError:
        return Unusable("PAYLOAD_MALFORMED", "the payload is not a ResourcePayload", hold=True)
    ignore = message.if_unknown == pb.IF_UNKNOWN_IGNORE
    unknown = next(_unknown(message, ""), None)
    body = _KINDS.get(kind)
    if unknown is not None and not ignore:
        return Unusable("AGENT_TOO_OLD", f"this satellite does not understand {unknown}", hold=True)
    if body is None:
        return None if ignore else Unusable("AGENT_TOO_OLD", f"this satellite does not know kind {kind}", hold=True)
    if message.WhichOneof("body") != body:
        return Unusable("PAYLOAD_MALFORMED", f"the payload carries no {body}", hold=not ignore)
    try:
        times = _time(message, "issued_at"), _time(message, "expires_at")
        return Readable(_body(message), message.serial, *times, message.name, tuple(message.scopes))
    except (FleetError, ValueError) as error:
        return Unusable("PAYLOAD_MALFORMED", str(error)[:512], hold=not ignore)


def _time(message: pb.ResourcePayload, name: str) -> datetime | None:
    if not message.HasField(name):  # type: ignore[arg-type] # the stub wants a literal
        return None
    moment: datetime = getattr(message, name).ToDatetime(tzinfo=UTC)
    return moment


def first_unknown(message: Message) -> str | None:
    """Name the first field or enum value of `message`, at any depth, that this program does not know."""
    return next(_unknown(message, ""), None)


def _unknown(message: Message, path: str) -> Iterator[str]:
    """Name each field number and enum value of `message`, at any depth, that this program does not know."""
    unknown = UnknownFieldSet(message)
    for position in range(len(unknown)):
        yield f"field {path}{unknown[position].field_number}"
    for field, value in message.ListFields():
        items = value if field.is_repeated else (value,)
        for item in items:
            if field.type == FieldDescriptor.TYPE_MESSAGE:
                yield from _unknown(item, f"{path}{field.name}.")
            elif field.enum_type is not None and item not in field.enum_type.values_by_number:
                yield f"value {item} of {path}{field.name}"


def _body(message: pb.ResourcePayload) -> Body:
    match message.WhichOneof("body"):
        case "artifact":
            return _artifact(message.artifact)
        case "source":
            return _source(message.source)
        case "policy":
            return read_policy(message.policy)
        case "trust_root":
            return read_trust_root(message.trust_root)
        case "block":
            block = read_block(message.block)
            return replace(block, digests=tuple(map(parse_digest, block.digests)))
        case "signer_set":
            return read_signer_set(message.signer_set)
        case _:
            spec = message.configuration
            return Configuration(spec.concurrent_images, read_link(spec.link) if spec.HasField("link") else None)


def read_link(spec: pb.LinkSpec) -> Link:
    """Read what is said of a link.

    Raises:
        FleetError: MALFORMED `LINK_MALFORMED`.
    """
    link = Link(
        rate_bytes_per_second=spec.rate_bytes_per_second,
        windows=tuple(Window(one.cron, _whole_seconds(one.duration)) for one in spec.windows),
        time_zone=spec.time_zone,
        hour_budget_bytes=spec.hour_budget_bytes,
        day_budget_bytes=spec.day_budget_bytes,
        month_budget_bytes=spec.month_budget_bytes,
        exempt_priority=spec.exempt_priority if spec.HasField("exempt_priority") else None,
    )
    return check_link(link)


def _whole_seconds(span: Duration) -> int:
    if span.nanos:
        raise malformed("LINK_MALFORMED", "a window is open for whole seconds")
    return span.seconds


def write_link(link: Link) -> pb.LinkSpec:
    """Write what is said of a link."""
    return pb.LinkSpec(
        rate_bytes_per_second=link.rate_bytes_per_second,
        windows=[
            pb.SyncWindow(cron=window.cron, duration=Duration(seconds=window.duration_s)) for window in link.windows
        ],
        time_zone=link.time_zone,
        hour_budget_bytes=link.hour_budget_bytes,
        day_budget_bytes=link.day_budget_bytes,
        month_budget_bytes=link.month_budget_bytes,
        exempt_priority=link.exempt_priority,
    )


def _source(spec: pb.SourceSpec) -> Source:
    prefix = parse_repository(spec.local_prefix) if spec.local_prefix else ""
    return Source(spec.address, spec.ca_pem, tuple(spec.mirrors), prefix, spec.needs_credential, spec.plain_http)


def _artifact(spec: pb.ArtifactSpec) -> Artifact:
    return Artifact(
        source=spec.source,
        repository=parse_repository(spec.repository),
        tag=parse_tag(spec.tag) if spec.tag else "",
        digest=parse_digest(spec.digest),
        platforms=frozenset(Platform(p.os, p.architecture, p.variant) for p in spec.platforms),
        priority=spec.priority,
        size_bytes=spec.size_bytes,
    )


_KINDS = {
    ARTIFACT: "artifact",
    SOURCE: "source",
    POLICY: "policy",
    TRUST_ROOT: "trust_root",
    BLOCK: "block",
    CONFIGURATION: "configuration",
    SIGNER_SET: "signer_set",
}
