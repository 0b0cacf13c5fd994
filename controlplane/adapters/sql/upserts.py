"""Rows that are put in or replaced by one statement, the same on SQLite and PostgreSQL."""

from __future__ import annotations

from sqlalchemy import Connection, Insert
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import SQLModel


def inserted(connection: Connection, table: type[SQLModel]) -> sqlite.Insert | postgresql.Insert:
    """Begin an INSERT that may say what a row that is there already means."""
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table)
    return postgresql.insert(table)


def upsert(connection: Connection, table: type[SQLModel]) -> Insert:
    """Insert rows, or replace what is in those that have the same primary key."""
    insert = inserted(connection, table)
    key = insert.table.primary_key
    others = {column.name: column for column in insert.excluded if column.name not in key}
    replacing: Insert = insert.on_conflict_do_update(index_elements=key, set_=others)
    return replacing
