"""Scopes' settings ⇄ domain entities."""

from __future__ import annotations

from controlplane.domain.entities import Configuration
from controlplane.domain.specs import ConfigurationSpec
from fleet.resources import read_link, write_link
from fleet.v1 import fleet_pb2 as pb
from fleet.v1 import resource_pb2 as resources


def read_configuration(message: pb.Configuration) -> Configuration:
    """Read settings as an admin writes them.

    Raises:
        FleetError: MALFORMED `LINK_MALFORMED`.
    """
    spec = message.spec
    link = read_link(spec.link) if spec.HasField("link") else None
    return Configuration(message.name, ConfigurationSpec(spec.concurrent_images, link), message.etag)


def write_configuration(value: Configuration) -> pb.Configuration:
    """Show settings."""
    link = write_link(value.spec.link) if value.spec.link is not None else None
    spec = resources.ConfigurationSpec(concurrent_images=value.spec.concurrent_images, link=link)
    return pb.Configuration(name=value.name, spec=spec, etag=value.etag)
