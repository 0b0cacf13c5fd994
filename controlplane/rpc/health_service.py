"""HealthService: satellites' health, at the pace that Ground Control sets."""

from __future__ import annotations

from datetime import timedelta

from controlplane.rpc.caller import current_caller
from controlplane.rpc.errors import Context
from controlplane.rpc.healths import Healths
from controlplane.rpc.wire import write_duration
from controlplane.rpc.wire_status import read_health
from fleet.errors import malformed
from fleet.v1 import health_pb2 as pb
from fleet.v1.health_pb2_grpc import HealthServiceServicer


class HealthService(HealthServiceServicer):
    """Takes each satellite's own health."""

    def __init__(self, healths: Healths, *, interval: timedelta) -> None:
        self._healths = healths
        self._interval = interval

    async def ReportHealth(self, request: pb.ReportHealthRequest, context: Context) -> pb.ReportHealthResponse:
        """Replace what is known of the caller's health.

        Raises:
            FleetError: MALFORMED `HEALTH_MISSING`, `HEALTH_MALFORMED`, `TIME_MALFORMED`.
        """
        if not request.HasField("health"):
            raise malformed("HEALTH_MISSING", "a health report carries health")
        self._healths.put(current_caller().name, read_health(request.health))
        return pb.ReportHealthResponse(next_after=write_duration(self._interval))
