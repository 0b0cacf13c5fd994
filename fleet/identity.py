"""SPIFFE IDs of the fleet: who is who, parsed once at the door.

    spiffe://<trust domain>/gc/<deployment>                  Ground Control
    spiffe://<trust domain>/satellite/region/<region>/<name>  a satellite
    spiffe://<trust domain>/operator/<name>                   a person or a pipeline

Source: SPIFFE-ID specification, sections 2.1 to 2.3 (trust domain and path characters).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from fleet.errors import malformed

NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?\Z")
"""A name of a satellite, region, group, source, deployment or operator: 1 to 63 characters of DNS's kind."""

_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}\Z")
_MAX_ID = 2048


def check_name(name: str, *, what: str) -> str:
    """Return `name` if it is one.

    Raises:
        FleetError: MALFORMED `NAME_MALFORMED` unless it matches `NAME`.
    """
    if not NAME.match(name):
        raise malformed(
            "NAME_MALFORMED",
            f"a {what}'s name is 1 to 63 of a-z 0-9 . _ - and begins and ends with a letter or digit",
            subject=name[:80],
        )
    return name


@dataclass(frozen=True, slots=True)
class GroundControlId:
    """Ground Control's own identity: one per deployment."""

    trust_domain: str
    deployment: str

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain}/gc/{self.deployment}"


@dataclass(frozen=True, slots=True)
class SatelliteId:
    """A satellite's identity. The name alone is unique in a fleet; the region tells where it stands."""

    trust_domain: str
    region: str
    name: str

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain}/satellite/region/{self.region}/{self.name}"


@dataclass(frozen=True, slots=True)
class OperatorId:
    """A person's or a pipeline's identity; its role is a row at Ground Control."""

    trust_domain: str
    name: str

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain}/operator/{self.name}"


FleetId = GroundControlId | SatelliteId | OperatorId


def _segments(text: str) -> tuple[str, list[str]]:
    scheme, _, rest = text.partition("://")
    trust_domain, _, path = rest.partition("/")
    if scheme != "spiffe" or len(text) > _MAX_ID or not _TRUST_DOMAIN.match(trust_domain):
        raise malformed("SPIFFE_ID_MALFORMED", "not a SPIFFE ID", subject=text[:120])
    return trust_domain, path.split("/")


def parse_id(text: str) -> FleetId:
    """Read a SPIFFE ID of one of the fleet's three shapes.

    Raises:
        FleetError: MALFORMED `SPIFFE_ID_MALFORMED` for anything else.
    """
    trust_domain, segments = _segments(text)
    match segments:
        case ["gc", deployment] if NAME.match(deployment):
            return GroundControlId(trust_domain, deployment)
        case ["satellite", "region", region, name] if NAME.match(region) and NAME.match(name):
            return SatelliteId(trust_domain, region, name)
        case ["operator", name] if NAME.match(name):
            return OperatorId(trust_domain, name)
        case _:
            raise malformed("SPIFFE_ID_MALFORMED", "not an ID of this fleet", subject=text[:120])
