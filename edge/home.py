"""The satellite's data directory: private, one process at a time, and the few files that others read."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from certs.private_file import private_directory, read_private
from fleet.errors import FleetError, Kind
from fleet.joinstring import JoinString, parse_join_string


class Home:
    """Names and rules of the files below one data directory."""

    def __init__(self, data_dir: Path) -> None:
        self.directory = data_dir

    @property
    def journal(self) -> Path:
        """What the satellite remembers."""
        return self.directory / "journal.db"

    @property
    def device_key(self) -> Path:
        """The one secret that is kept."""
        return self.directory / "device.key"

    @property
    def place(self) -> Path:
        """Where Ground Control is, as joining told it: a join string without its token."""
        return self.directory / "ground-control"

    @property
    def registry(self) -> Path:
        """Where a registry of ours stores."""
        return self.directory / "registry"

    @property
    def workload_socket(self) -> Path:
        """The Workload API, when the identity comes from joining."""
        return self.directory / "run" / "workload.sock"

    @property
    def ready(self) -> Path:
        """JSON with the actual addresses, there while the satellite runs and its registry serves."""
        return self.directory / "satellite.ready"

    @property
    def status(self) -> Path:
        """JSON for `satellite status`."""
        return self.directory / "status.json"

    @property
    def reserve(self) -> Path:
        """Room that is given up when the disk is full."""
        return self.directory / "reserve"

    @property
    def scrub_request(self) -> Path:
        """JSON that asks the satellite to read and hash all that is published."""
        return self.directory / "scrub.request"

    def make(self) -> None:
        """Make the directory where it is absent.

        Raises:
            FleetError: PRECONDITION `PRIVATE_PATH_EXPOSED` where others have access to it.
        """
        private_directory(self.directory)

    @contextmanager
    def sole(self) -> Iterator[None]:
        """Hold the directory for this process; the kernel lets go of it however the process ends.

        Raises:
            FleetError: PRECONDITION `ALREADY_RUNNING`.
        """
        descriptor = self._locked()
        if descriptor is None:
            text = "another satellite runs on this data directory"
            raise FleetError(Kind.PRECONDITION, "ALREADY_RUNNING", text, subject=str(self.directory))
        try:
            yield
        finally:
            os.close(descriptor)

    def is_running(self) -> bool:
        """Say whether a satellite holds the directory."""
        if not (self.directory / "lock").exists():
            return False
        descriptor = self._locked()
        if descriptor is None:
            return True
        os.close(descriptor)
        return False

    def _locked(self) -> int | None:
        descriptor = os.open(self.directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    def read_place(self) -> JoinString | None:
        """Read where Ground Control is, or None before joining.

        Raises:
            FleetError: MALFORMED as `parse_join_string`; PRECONDITION `PRIVATE_PATH_EXPOSED`.
        """
        stored = read_private(self.place)
        return parse_join_string(stored.decode()) if stored else None

    def write_place(self, place: JoinString) -> None:
        """Remember where Ground Control is; the token is never written."""
        _write(self.place, place.spent().encode() + "\n")

    def write_ready(self, document: Mapping[str, Any]) -> None:
        """Tell others the actual addresses."""
        _write(self.ready, json.dumps(document) + "\n")

    def write_status(self, document: Mapping[str, Any]) -> None:
        """Tell people at the site how it stands."""
        _write(self.status, json.dumps(document) + "\n")

    def request_scrub(self, request: Mapping[str, Any]) -> None:
        """Ask the satellite that runs here for a scrub: it looks for such a file every few seconds."""
        _write(self.scrub_request, json.dumps(request) + "\n")

    def take_scrub_request(self) -> dict[str, Any] | None:
        """Take what was asked for, once; what is no request is dropped."""
        try:
            text = self.scrub_request.read_text()
            self.scrub_request.unlink()
            document = json.loads(text)
        except (OSError, ValueError):
            return None
        return document if isinstance(document, dict) else None

    def read_status(self) -> dict[str, Any] | None:
        """Read how it stood when it was last written; None where nothing was."""
        try:
            document = json.loads(self.status.read_text())
        except (OSError, ValueError):
            return None
        return document if isinstance(document, dict) else None


def _write(path: Path, text: str) -> None:
    """Replace a file whole: a reader sees the old or the new one."""
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    staged.replace(path)
