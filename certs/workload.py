"""The SPIFFE Workload API over one unix socket for one identity.

Who may open the socket may have the identity: file permission is the attestation, so the socket is 0600 in a
0700 directory. Streams stay open and get each new SVID when it is published.

Source: SPIFFE Workload API specification, sections 4.4 (default values and errors), 5 (X.509-SVID profile).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypeVar

import grpc
import grpc.aio

from certs import workload_messages as messages
from certs.private_file import check_socket_path, private_directory
from fleet.svid import X509Material

__all__ = ["WorkloadServer", "X509Material"]

Request = TypeVar("Request")
Response = TypeVar("Response")


class WorkloadServer:
    """Serves one identity, or none for now, to whoever can open its socket."""

    def __init__(self) -> None:
        self._material: X509Material | None = None
        self._changed = asyncio.Event()
        self._server: grpc.aio.Server | None = None
        self._path: Path | None = None

    async def start(self, path: Path) -> None:
        """Listen on a unix socket; its directory is made 0700 where it is absent.

        Raises:
            FleetError: PRECONDITION `PRIVATE_PATH_EXPOSED` for a directory open to others,
                `SOCKET_PATH_LONG`.
        """
        private_directory(check_socket_path(path).parent)
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((self._handlers(),))
        server.add_insecure_port(f"unix:{path}")
        await asyncio.to_thread(path.chmod, 0o600)
        await server.start()
        self._server, self._path = server, path

    async def publish(self, material: X509Material | None) -> None:
        """Replace the identity: open streams get it at once; None ends them with PERMISSION_DENIED."""
        self._material = material
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def stop(self) -> None:
        """End all streams and remove the socket."""
        if self._server is not None and self._path is not None:
            await self._server.stop(grace=0)
            await asyncio.to_thread(self._path.unlink, missing_ok=True)
            self._server = None

    def _handlers(self) -> grpc.GenericRpcHandler:
        # The JWT profile has no handler: gRPC answers UNIMPLEMENTED, as the specification asks.
        return grpc.method_handlers_generic_handler(
            messages.SERVICE,
            {
                "FetchX509SVID": grpc.unary_stream_rpc_method_handler(
                    self._fetch_svid,
                    request_deserializer=messages.X509SVIDRequest.FromString,
                    response_serializer=messages.X509SVIDResponse.SerializeToString,
                ),
                "FetchX509Bundles": grpc.unary_stream_rpc_method_handler(
                    self._fetch_bundles,
                    request_deserializer=messages.X509BundlesRequest.FromString,
                    response_serializer=messages.X509BundlesResponse.SerializeToString,
                ),
            },
        )

    async def _fetch_svid(
        self,
        _request: messages.X509SVIDRequest,
        context: grpc.aio.ServicerContext[messages.X509SVIDRequest, messages.X509SVIDResponse],
    ) -> AsyncIterator[messages.X509SVIDResponse]:
        async for material in self._updates(context):
            yield _svid_response(material)

    async def _fetch_bundles(
        self,
        _request: messages.X509BundlesRequest,
        context: grpc.aio.ServicerContext[messages.X509BundlesRequest, messages.X509BundlesResponse],
    ) -> AsyncIterator[messages.X509BundlesResponse]:
        held: tuple[bytes, ...] | None = None
        async for material in self._updates(context):
            if material.bundle != held:
                held = material.bundle
                yield _bundles_response(material)

    async def _updates(self, context: grpc.aio.ServicerContext[Request, Response]) -> AsyncIterator[X509Material]:
        if messages.SECURITY_HEADER not in {(key, value) for key, value in context.invocation_metadata() or ()}:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the metadata workload.spiffe.io: true is missing")
        while True:
            material, changed = self._material, self._changed
            if material is None:
                await context.abort(grpc.StatusCode.PERMISSION_DENIED, "no identity is held at present")
            yield material
            await changed.wait()


def _trust_domain(material: X509Material) -> str:
    return "/".join(material.spiffe_id.split("/", 3)[:3])


def _svid_response(material: X509Material) -> messages.X509SVIDResponse:
    svid = messages.X509SVID(
        spiffe_id=material.spiffe_id,
        x509_svid=b"".join(material.chain),
        x509_svid_key=material.key,
        bundle=b"".join(material.bundle),
    )
    return messages.X509SVIDResponse(svids=[svid])


def _bundles_response(material: X509Material) -> messages.X509BundlesResponse:
    return messages.X509BundlesResponse(bundles={_trust_domain(material): b"".join(material.bundle)})
