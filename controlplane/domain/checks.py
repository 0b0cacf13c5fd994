"""What operators may write: each command is checked and brought to one form before anything else happens."""

from __future__ import annotations

import re
from dataclasses import replace

from cryptography import x509

from controlplane.domain.commands import Command, Delete, DeletePair, EntityKind, Upsert
from controlplane.domain.entities import (
    OPERATOR,
    Artifact,
    Assignment,
    Block,
    Configuration,
    Entity,
    Group,
    Membership,
    Operator,
    Policy,
    Satellite,
    Signed,
    Source,
    TrustRoot,
)
from controlplane.domain.policy_checks import check_pinnable, check_signed
from controlplane.domain.rules import words
from controlplane.domain.specs import ArtifactSpec, ConfigurationSpec, SourceSpec
from controlplane.domain.state import split_scope
from fleet.errors import malformed
from fleet.identity import check_name
from fleet.link import check_link
from fleet.reference import (
    ArtifactName,
    parse_artifact_name,
    parse_digest,
    parse_repository,
    parse_tag,
)

MAX_TEXT = 512
MAX_REQUEST_ID = 64
MAX_PRECEDENCE = 1_000_000
MAX_PRIORITY = 100
MAX_CONCURRENT_IMAGES = 16
MAX_RESOURCE_NAME_BYTES = 512
MAX_PAGE = 1000
DEFAULT_PAGE = 100

_ADDRESS = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?\Z")
_OWNER = re.compile(r"operator\Z|(?:apply|harbor)/[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?\Z")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_PAIRS = frozenset({EntityKind.MEMBERSHIP, EntityKind.ASSIGNMENT})


def check_page(size: int) -> int:
    """Return the rows in a page, 100 for 0.

    Raises:
        FleetError: MALFORMED `PAGE_SIZE_OUT_OF_RANGE` past 1,000.
    """
    if not 0 <= size <= MAX_PAGE:
        raise malformed("PAGE_SIZE_OUT_OF_RANGE", "a page has 1 to 1,000 rows")
    return size or DEFAULT_PAGE


def check_reason(text: str) -> str:
    """Return a text for people if it is short and printable; `TEXT_TOO_LONG`, `TEXT_MALFORMED`."""
    if len(text) > MAX_TEXT:
        raise malformed("TEXT_TOO_LONG", "a text for people has at most 512 characters")
    if _CONTROL.search(text):
        raise malformed("TEXT_MALFORMED", "a text for people has no control characters")
    return text


def check_request_id(text: str) -> str:
    """Return a request id if it is one; `REQUEST_ID_MALFORMED`."""
    if len(text) > MAX_REQUEST_ID or not text.isprintable():
        raise malformed("REQUEST_ID_MALFORMED", "a request id has at most 64 printable characters")
    return text


def check_command(command: Command) -> Command:
    """Return a command in its one form: names parsed, defaults filled in, outputs dropped.

    Raises:
        FleetError: MALFORMED with the reason of the part that is wrong.
    """
    match command:
        case Upsert():
            return replace(command, entity=_check_entity(command.entity))
        case Delete(kind=EntityKind.ARTIFACT):
            return replace(command, name=str(parse_artifact_name(command.name)))
        case Delete(kind=EntityKind.CONFIGURATION):
            split_scope(command.name)
            return command
        case Delete():
            if command.kind in _PAIRS:
                raise malformed("DELETION_MALFORMED", "a pair is deleted by both of its names")
            if command.kind is EntityKind.SIGNER_SET:
                raise malformed("DELETION_MALFORMED", "a signer set stays for good: the next one takes its place")
            return replace(command, name=check_name(command.name, what=words(command.kind)))
        case DeletePair():
            return DeletePair(_check_gone(command.pair))


def _check_gone(pair: Membership | Assignment) -> Membership | Assignment:
    if isinstance(pair, Membership):
        return _check_membership(pair)
    return replace(_check_assignment(pair), artifact=str(parse_artifact_name(pair.artifact)))


def _check_entity(entity: Entity) -> Entity:
    match entity:
        case Satellite():
            return _check_satellite(entity)
        case Group():
            return _check_group(entity)
        case Source():
            return Source(check_name(entity.name, what="source"), _check_source(entity.spec), etag=entity.etag)
        case Artifact():
            return _check_artifact(entity)
        case Policy() | TrustRoot() | Block() | Signed() | Configuration():
            return _check_rule(entity)
        case Membership():
            made = _check_membership(entity)
            return replace(made, owner=made.owner or OPERATOR)
        case Assignment():
            wanted = _check_assignment(entity)
            return replace(wanted, owner=wanted.owner or OPERATOR)
        case Operator():
            return Operator(check_name(entity.name, what="operator"), entity.role, etag=entity.etag)


def _check_rule(
    rule: Policy | TrustRoot | Block | Signed | Configuration,
) -> Policy | TrustRoot | Block | Signed | Configuration:
    match rule:
        case Signed():
            return check_signed(rule)
        case Configuration():
            split_scope(rule.name)
            return Configuration(rule.name, _check_configuration(rule.spec), rule.etag)
        case _:
            return check_pinnable(rule)


def _check_satellite(satellite: Satellite) -> Satellite:
    return Satellite(
        name=check_name(satellite.name, what="satellite"),
        region=check_name(satellite.region, what="region") if satellite.region else "",
        description=check_reason(satellite.description),
        etag=satellite.etag,
    )


def _check_group(group: Group) -> Group:
    if not 0 <= group.precedence <= MAX_PRECEDENCE:
        raise malformed("PRECEDENCE_OUT_OF_RANGE", "a precedence is 0 to 1,000,000", subject=group.name)
    name = check_name(group.name, what="group")
    return Group(name, group.precedence, check_reason(group.description), etag=group.etag)


def _check_address(address: str) -> str:
    if not _ADDRESS.match(address):
        raise malformed("ADDRESS_MALFORMED", "a registry's address is host[:port]", subject=address[:80])
    return address


def _check_source(spec: SourceSpec) -> SourceSpec:
    _check_address(spec.address)
    for mirror in spec.mirrors:
        _check_address(mirror)
    if spec.local_prefix:
        parse_repository(spec.local_prefix)
    if spec.ca_pem:
        _check_ca(spec.ca_pem)
    return replace(spec, needs_credential=False)


def _check_ca(pem: str) -> None:
    try:
        x509.load_pem_x509_certificates(pem.encode())
    except ValueError as error:
        raise malformed("CA_MALFORMED", "a source's CA is PEM certificates") from error


def _check_artifact(artifact: Artifact) -> Artifact:
    spec = artifact.spec
    if not spec.source:  # the name is the short form of the spec
        name = parse_artifact_name(artifact.name)
        spec = replace(
            spec, source=name.source, repository=name.repository, tag=name.tag, digest=name.digest or spec.digest
        )
    return Artifact(_check_artifact_spec(spec), _artifact_name(spec), etag=artifact.etag)


def _artifact_name(spec: ArtifactSpec) -> str:
    digest = parse_digest(spec.digest) if spec.digest else None
    name = str(ArtifactName(spec.source, spec.repository, spec.tag, digest))
    if len(name.encode()) > MAX_RESOURCE_NAME_BYTES:
        raise malformed("NAME_TOO_LONG", "an artifact's name has at most 512 bytes", subject=name[:80])
    return name


def _check_artifact_spec(spec: ArtifactSpec) -> ArtifactSpec:
    check_name(spec.source, what="source")
    parse_repository(spec.repository)
    if spec.tag:
        parse_tag(spec.tag)
    if spec.digest:
        parse_digest(spec.digest)
    if not (spec.tag or spec.digest):
        raise malformed("ARTIFACT_MALFORMED", "an artifact has a tag, a digest or both", subject=spec.repository)
    if not 0 <= spec.priority <= MAX_PRIORITY:
        raise malformed("PRIORITY_OUT_OF_RANGE", "a priority is 0 to 100")
    if any(not (platform.os and platform.architecture) for platform in spec.platforms):
        raise malformed("PLATFORM_MALFORMED", "a platform is os/architecture[/variant]")
    return replace(spec, platforms=tuple(sorted(set(spec.platforms))))


def _check_configuration(spec: ConfigurationSpec) -> ConfigurationSpec:
    if not 0 <= spec.concurrent_images <= MAX_CONCURRENT_IMAGES:
        raise malformed("CONCURRENCY_OUT_OF_RANGE", "images at the same time are 1 to 16, or 0 to say nothing of it")
    if spec.link is not None:
        check_link(spec.link)
    return spec


def _check_owner(owner: str) -> str:
    if owner and not _OWNER.match(owner):
        raise malformed("OWNER_MALFORMED", "an owner is operator, apply/<set> or harbor/<endpoint>", subject=owner[:80])
    return owner


def _check_membership(pair: Membership) -> Membership:
    check_name(pair.satellite, what="satellite")
    check_name(pair.group, what="group")
    return replace(pair, owner=_check_owner(pair.owner))


def _check_assignment(pair: Assignment) -> Assignment:
    # The text stays as it is: a digest beside the tag pins a new artifact (controlplane.app.resolution).
    parse_artifact_name(pair.artifact)
    split_scope(pair.scope)
    return replace(pair, owner=_check_owner(pair.owner))
