"""A private PostgreSQL: its own directory, port and socket, gone when the test is."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg

from tests.rig.ports import keep_port
from tests.rig.programs import require

_NOBODY = "nobody"
# Tests make databases by the dozen; what a crash of the machine would lose here is worth nothing.
_QUICK = "-c fsync=off -c full_page_writes=off -c synchronous_commit=off"


class Postgres:
    """One running server, as which tests may stop and start again."""

    def __init__(self, directory: Path, *, durable: bool) -> None:
        self._directory = directory
        self._durable = durable
        self._port = keep_port()
        self._databases = 0

    def url(self, database: str) -> str:
        """Where a database is."""
        return f"postgresql://postgres@127.0.0.1:{self._port}/{database}"

    def initialize(self) -> None:
        """Make the cluster."""
        self._run("initdb", "-D", str(self._data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")

    def start(self) -> None:
        """Start the server; it answers afterwards."""
        speed = "" if self._durable else _QUICK
        where = f"-p {self._port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self._directory}"
        log = str(self._directory / "log")
        self._run("pg_ctl", "-D", str(self._data), "-l", log, "-w", "-o", f"{where} {speed}", "start")

    def stop(self) -> None:
        """Stop it as a crash would, connections and all."""
        self._run("pg_ctl", "-D", str(self._data), "-w", "-m", "immediate", "stop")

    def processes(self) -> list[psutil.Process]:
        """List its processes as they are now, the first of them first."""
        first = psutil.Process(int((self._data / "postmaster.pid").read_text().split()[0]))
        return [first, *first.children(recursive=True)]

    def make_database(self, *, template: str = "template1") -> str:
        """Make a database, a copy of `template`; answers its URL."""
        self._databases += 1
        name = f"fleet{self._databases}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
        return self.url(name)

    @property
    def _data(self) -> Path:
        return self._directory / "data"

    def _run(self, program: str, *arguments: str) -> None:
        # PostgreSQL refuses to run as root.
        prefix = ["runuser", "-u", _NOBODY, "--"] if os.geteuid() == 0 else []
        done = subprocess.run(
            [*prefix, str(require(program)), *arguments],
            cwd=self._directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stdout[-2000:]}")


@contextmanager
def suspended(processes: Iterable[psutil.Process]) -> Iterator[None]:
    """Have processes stand still: connections stay, and nobody answers on them."""
    stopped = list(processes)
    try:
        for process in stopped:
            process.suspend()
        yield
    finally:
        for process in stopped:
            process.resume()


@contextmanager
def running_postgres(*, durable: bool = False) -> Iterator[Postgres]:
    """Run a server in a short-named directory that `nobody` may enter (a socket's path has 107 bytes at most).

    A `durable` one keeps what it committed when it is stopped as by a crash.
    """
    directory = Path(tempfile.mkdtemp(prefix="pg-"))
    if os.geteuid() == 0:
        shutil.chown(directory, _NOBODY)
    server = Postgres(directory, durable=durable)
    try:
        server.initialize()
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
