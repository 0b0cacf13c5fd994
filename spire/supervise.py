"""spire-server and spire-agent as our children: start, health, restart, stop.

A site that runs SPIRE itself needs none of this: both our programs take the address of an agent's Workload API.
"""

from __future__ import annotations

import asyncio
import os
import socket
from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Never, Self

import structlog

from certs.private_file import private_directory
from fleet.errors import FleetError, Kind
from spire.child import Child, start_child
from spire.configuration import AgentSettings, ServerSettings
from spire.programs import ask
from spire.registrar import Registrar

_log = structlog.get_logger()

START_TIMEOUT_S = 60.0
_POLL_S = 0.05
_PORT_ATTEMPTS = 3
_RESTART_FIRST_S, _RESTART_LAST_S = 0.5, 30.0
_IN_USE = "address already in use"


class Service(ABC):
    """One of SPIRE's programs under supervision. Not for concurrent starts and stops."""

    def __init__(self, program: Path) -> None:
        self._program = program
        self._child: Child | None = None

    @property
    @abstractmethod
    def directory(self) -> Path:
        """Where its files are; private."""

    @property
    @abstractmethod
    def socket(self) -> Path:
        """The unix socket that it serves."""

    @property
    @abstractmethod
    def configuration(self) -> str:
        """What it is told."""

    @property
    def log(self) -> Path:
        """Where its words go."""
        return self.directory / f"{self._program.name}.log"

    @property
    def pid(self) -> int:
        """Its process.

        Raises:
            FleetError: PRECONDITION `SPIRE_NOT_STARTED`.
        """
        return self._running().process.pid

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self, *, timeout_s: float = START_TIMEOUT_S) -> None:
        """Start it and wait until it is healthy: an agent has attested by then.

        Raises:
            FleetError: UNAVAILABLE `SPIRE_FAILED` where it ended, or `SPIRE_UNHEALTHY` where it did not get there in
                time, each with the program's last complaint; PRECONDITION `PRIVATE_PATH_EXPOSED`.
        """
        private_directory(self.directory)
        private_directory(self.socket.parent)
        self.socket.unlink(missing_ok=True)  # left over by a kill; its presence must mean this run's
        file = self.directory / f"{self._program.name}.conf"
        _write_private(file, self.configuration)
        self._child = await start_child(self._program, ["run", "-config", str(file)], log=self.log)
        try:
            await self._until_healthy(self._child, timeout_s)
        except BaseException:
            await self.stop()
            raise
        _log.info("spire.started", program=self._program.name, pid=self.pid, socket=str(self.socket))

    async def stop(self) -> None:
        """End it, if it runs."""
        if self._child is not None:
            await self._child.stop()
            self._child = None
            _log.info("spire.stopped", program=self._program.name, socket=str(self.socket))

    async def wait(self) -> int:
        """Wait until it ends; return the exit code, negative for a signal.

        Raises:
            FleetError: PRECONDITION `SPIRE_NOT_STARTED`.
        """
        return await self._running().wait()

    async def is_healthy(self) -> bool:
        """Ask it how it is."""
        if self._child is None or not self._child.is_running or not self.socket.exists():
            return False
        try:
            await ask(self._program, ["healthcheck", "-socketPath", str(self.socket)])
        except FleetError:
            return False
        return True

    def last_words(self) -> str:
        """Say what it last complained of.

        Raises:
            FleetError: PRECONDITION `SPIRE_NOT_STARTED`.
        """
        return self._running().last_words()

    def _running(self) -> Child:
        if self._child is None:
            text = "this program of SPIRE was not started"
            raise FleetError(Kind.PRECONDITION, "SPIRE_NOT_STARTED", text, subject=self._program.name)
        return self._child

    async def _until_healthy(self, child: Child, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                while not await self.is_healthy():
                    if not child.is_running:
                        raise self._failed(child, "SPIRE_FAILED", "a program of SPIRE ended")
                    await asyncio.sleep(_POLL_S)
        except TimeoutError as error:
            text = "a program of SPIRE does not get ready"
            raise self._failed(child, "SPIRE_UNHEALTHY", text) from error

    def _failed(self, child: Child, reason: str, text: str) -> FleetError:
        words = child.last_words()
        detail = f"exit code {child.process.returncode}, log {child.log}"
        return FleetError(Kind.UNAVAILABLE, reason, text, subject=f"{child.name}: {words}", detail=detail)


class SpireServer(Service):
    """A spire-server of ours. Port 0 is chosen at the first start and kept for later ones."""

    def __init__(self, program: Path, settings: ServerSettings) -> None:
        super().__init__(program)
        self.settings = settings

    @property
    def directory(self) -> Path:
        """Where its files are; private."""
        return self.settings.directory

    @property
    def socket(self) -> Path:
        """The admin API's socket."""
        return self.settings.socket

    @property
    def configuration(self) -> str:
        """What it is told."""
        return self.settings.configuration

    @property
    def registrar(self) -> Registrar:
        """Its administration."""
        return Registrar(self._program, self.socket)

    async def start(self, *, timeout_s: float = START_TIMEOUT_S) -> None:
        """Start it and wait until it is healthy.

        Raises:
            FleetError: as `Service.start`.
        """
        if self.settings.port:
            await super().start(timeout_s=timeout_s)
            return
        for attempt in range(1, _PORT_ATTEMPTS + 1):  # SPIRE takes no port 0: another may take ours in between
            chosen = self.settings
            self.settings = replace(chosen, port=_free_port(chosen.address))
            try:
                await super().start(timeout_s=timeout_s)
            except FleetError as error:
                self.settings = chosen
                if attempt == _PORT_ATTEMPTS or _IN_USE not in str(error):
                    raise
            else:
                return


class SpireAgent(Service):
    """A spire-agent of ours."""

    def __init__(self, program: Path, settings: AgentSettings) -> None:
        super().__init__(program)
        self.settings = settings

    @property
    def directory(self) -> Path:
        """Where its files are; private."""
        return self.settings.directory

    @property
    def socket(self) -> Path:
        """The Workload API's socket."""
        return self.settings.socket

    @property
    def endpoint(self) -> str:
        """The Workload API's address, as `--spiffe-endpoint-socket` and SPIFFE_ENDPOINT_SOCKET take it."""
        return f"unix:{self.socket}"

    @property
    def configuration(self) -> str:
        """What it is told."""
        return self.settings.configuration

    async def until_served(self, *, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until this process's user gets an SVID: some seconds after the entry was made, or never.

        Server and agent each look at the entries at intervals, so a healthy agent may yet have nothing to give.

        Raises:
            FleetError: UNAVAILABLE `SPIRE_UNHEALTHY` where it did not get there in time.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while not await self._serves():  # noqa: ASYNC110 another process's state
                    await asyncio.sleep(_POLL_S)
        except TimeoutError as error:
            text = "the agent has no SVID for this user: is there an entry for it?"
            raise self._failed(self._running(), "SPIRE_UNHEALTHY", text) from error

    async def _serves(self) -> bool:
        try:
            await ask(self._program, ["api", "fetch", "x509", "-silent", "-socketPath", str(self.socket)])
        except FleetError:
            return False
        return True


async def keep_running(service: Service) -> Never:
    """Start a service again whenever it ends, at growing intervals; runs until cancelled, in its owner's task group.

    An agent also ends on purpose: banned, or so long away that it must attest from the beginning.
    """
    pause_s = _RESTART_FIRST_S
    while True:
        code = await service.wait()
        _log.warning("spire.ended", log=str(service.log), code=code, words=service.last_words())
        while True:
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _RESTART_LAST_S)
            try:
                await service.start()
            except FleetError as error:
                _log.warning("spire.restart_failed", reason=error.reason, text=error.public)
            else:
                pause_s = _RESTART_FIRST_S
                break


def _free_port(address: str) -> int:
    with socket.socket() as listener:
        listener.bind((address, 0))
        port: int = listener.getsockname()[1]
        return port


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
