"""Rows that are put in or replaced by one statement, the same on SQLite and PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    JSON,
    ColumnClause,
    Connection,
    Insert,
    LargeBinary,
    String,
    bindparam,
    cast,
    column,
    func,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.elements import ColumnElement
from sqlmodel import SQLModel


def inserted(connection: Connection, table: type[SQLModel]) -> sqlite.Insert | postgresql.Insert:
    """Begin an INSERT that may say what a row that is there already means."""
    if connection.dialect.name == "sqlite":
        return sqlite.insert(table)
    return postgresql.insert(table)


def upsert(connection: Connection, table: type[SQLModel]) -> Insert:
    """Insert rows, or replace what is in those that have the same primary key."""
    return _replacing(inserted(connection, table))


def _replacing(insert: sqlite.Insert | postgresql.Insert) -> Insert:
    key = insert.table.primary_key
    others = {column.name: column for column in insert.excluded if column.name not in key}
    replacing: Insert = insert.on_conflict_do_update(index_elements=key, set_=others)
    return replacing


def put(connection: Connection, table: type[SQLModel], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows with all their columns, or replace those that have the same primary key.

    PostgreSQL gets them as one JSON document: a statement for each row, as drivers send many, costs the process three
    times as much. SQLite is in the process, and takes a row as it comes.
    """
    if connection.dialect.name == "sqlite":
        connection.execute(upsert(connection, table), rows)
    else:
        connection.execute(_of_document(table), {"rows": json.dumps(rows, default=_written)})


def _written(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else value.isoformat()  # type: ignore[attr-defined] # a time


@cache
def _of_document(table: type[SQLModel]) -> Insert:
    insert = postgresql.insert(table)
    columns = list(insert.table.columns)
    read = func.json_to_recordset(cast(bindparam("rows", type_=String()), JSON)).table_valued(*map(_told, columns))
    told = read.render_derived(with_types=True)
    values: list[ColumnElement[Any]] = [_value(each, told.columns[each.name]) for each in columns]
    return _replacing(insert.from_select(columns, select(*values)))


def _told(of: ColumnClause[Any]) -> ColumnElement[Any]:
    return column(of.name, String() if isinstance(of.type, LargeBinary) else of.type)


def _value(of: ColumnClause[Any], told: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.decode(told, "hex") if isinstance(of.type, LargeBinary) else told
