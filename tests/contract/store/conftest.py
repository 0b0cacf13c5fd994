"""One suite, two databases: every test here runs on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from controlplane.adapters.enrollment import Enrollment
from controlplane.adapters.opening import Opened, open_fleet
from controlplane.adapters.sql.migrate import migrate
from controlplane.app.fleet import Fleet
from controlplane.app.ports import Resolved
from controlplane.domain.entities import Credential
from controlplane.domain.specs import SourceSpec
from fleet.errors import FleetError, Kind
from fleet.reference import Digest
from tests.rig.postgres import Postgres, running_postgres

TRUST_DOMAIN = "example.org"
ADA = "spiffe://example.org/operator/ada"
DATABASES = ["sqlite", pytest.param("postgres", marks=pytest.mark.needs_postgres)]


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, by: timedelta) -> None:
        self.now += by


@dataclass
class Tags:
    """Resolves tags from a table, and remembers what it was asked."""

    digests: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str, Credential | None]] = field(default_factory=list)

    async def resolve(self, source: SourceSpec, credential: Credential | None, repository: str, tag: str) -> Resolved:
        self.asked.append((source.address, f"{repository}:{tag}", credential))
        if f"{repository}:{tag}" not in self.digests:
            raise FleetError(Kind.PRECONDITION, "TAG_UNRESOLVED", "the source has no such tag", subject=repository)
        return Resolved(Digest(self.digests[f"{repository}:{tag}"]), 1234)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty SQLite database, to copy."""
    path = tmp_path_factory.mktemp("migrated") / "fleet.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def template(postgres: Postgres) -> str:
    """An empty PostgreSQL database, to copy."""
    url = postgres.make_database()
    migrate(url)
    return url.rpartition("/")[2]


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A migrated database of the test's own."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("migrated"), tmp_path / "fleet.db")
        return f"sqlite:///{tmp_path / 'fleet.db'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.make_database(template=request.getfixturevalue("template"))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tags() -> Tags:
    return Tags()


Open = Callable[..., AbstractAsyncContextManager[Opened]]


@pytest.fixture
def opening(url: str, tmp_path: Path, clock: Clock, tags: Tags) -> Open:
    """Opens the same database as one more process would."""

    def another(worker: str = "", **more: Any) -> AbstractAsyncContextManager[Opened]:
        return open_fleet(
            url,
            private=tmp_path / "private",
            trust_domain=TRUST_DOMAIN,
            worker=worker,
            resolver=tags,
            clock=clock,
            **more,
        )

    return another


@pytest.fixture
async def opened(opening: Open) -> AsyncIterator[Opened]:
    async with opening("first") as made:
        yield made


@pytest.fixture
def fleet(opened: Opened) -> Fleet:
    return opened.fleet


@pytest.fixture
def enrollment(opened: Opened) -> Enrollment:
    return opened.enrollment
