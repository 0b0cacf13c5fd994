"""A database in which nobody can write of satellites' sessions and reports for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from controlplane.adapters.sql.engine import database_url, make_engine


@contextmanager
def nobody_writes_presence(url: str) -> Iterator[None]:
    """Have all wait who would write of satellites' sessions and reports."""
    engine = make_engine(database_url(url)).execution_options(fleet_writing=True)
    with engine.begin() as connection:
        if engine.dialect.name != "sqlite":  # where one writer keeps the others out anyway
            connection.exec_driver_sql("LOCK TABLE presence IN EXCLUSIVE MODE")
        yield
    engine.dispose()
