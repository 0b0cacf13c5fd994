"""The Workload API's messages, as py-spiffe ships them.

Reused, though the module is private to py-spiffe, because a process has one registry of protobuf descriptors:
a second `workload.proto` of our own would collide with the one that py-spiffe registers in the same process.
"""

from __future__ import annotations

from spiffe._proto.workload_pb2 import (
    X509SVID,
    X509BundlesRequest,
    X509BundlesResponse,
    X509SVIDRequest,
    X509SVIDResponse,
)

SERVICE = "SpiffeWorkloadAPI"
SECURITY_HEADER = ("workload.spiffe.io", "true")
"""Source: SPIFFE Workload Endpoint specification, section 5: a confused HTTP proxy does not send it."""

__all__ = [
    "SECURITY_HEADER",
    "SERVICE",
    "X509SVID",
    "X509BundlesRequest",
    "X509BundlesResponse",
    "X509SVIDRequest",
    "X509SVIDResponse",
]
