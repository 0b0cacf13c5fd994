"""Rows that are put in or replaced, of one table or several, by one statement where the database can."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import (
    JSON,
    ColumnClause,
    Connection,
    Executable,
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


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one table to write, with all their columns."""

    table: type[SQLModel]
    rows: Sequence[Mapping[str, Any]]
    replacing: bool = True
    """Replace what is in those that have the same primary key; else there must be none."""


def put(connection: Connection, *parts: Rows, tell: tuple[str, str] | None = None) -> None:
    """Write rows, and `tell` a channel a word when this commits.

    PostgreSQL gets all in one statement, and the rows of a table as one JSON document: a statement for each row, as
    drivers send many, costs the process three times as much, and a round trip more than what it does. SQLite is in the
    process, where nobody listens, and takes a row as it comes.
    """
    if connection.dialect.name == "sqlite":
        for part in parts:
            connection.execute(_of_row(part.table, replacing=part.replacing), part.rows)
        return
    documents = {_parameter(part.table): json.dumps(part.rows, default=_written) for part in parts}
    told = dict(zip(("channel", "word"), tell, strict=True)) if tell else {}
    whole = _whole(tuple((part.table, part.replacing) for part in parts), is_told=bool(told))
    connection.execute(whole, {**documents, **told})


def _written(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else value.isoformat()  # type: ignore[attr-defined] # a time


@cache
def _of_row(table: type[SQLModel], *, replacing: bool) -> Insert:
    insert = sqlite.insert(table)
    return _replacing(insert) if replacing else insert


def _replacing(insert: sqlite.Insert | postgresql.Insert) -> Insert:
    key = insert.table.primary_key
    others = {column.name: column for column in insert.excluded if column.name not in key}
    replacing: Insert = insert.on_conflict_do_update(index_elements=key, set_=others)
    return replacing


@cache
def _whole(parts: tuple[tuple[type[SQLModel], bool], ...], *, is_told: bool) -> Executable:
    inserts = [_of_document(table, replacing=replacing) for table, replacing in parts]
    main = select(func.pg_notify(bindparam("channel"), bindparam("word"))) if is_told else inserts.pop()
    return main.add_cte(*(insert.cte(f"written_{number}") for number, insert in enumerate(inserts)))


def _of_document(table: type[SQLModel], *, replacing: bool) -> Insert:
    insert = postgresql.insert(table)
    columns = list(insert.table.columns)
    document = cast(bindparam(_parameter(table), type_=String()), JSON)
    told = func.json_to_recordset(document).table_valued(*map(_told, columns)).render_derived(with_types=True)
    values: list[ColumnElement[Any]] = [_value(each, told.columns[each.name]) for each in columns]
    whole = insert.from_select(columns, select(*values))
    return _replacing(whole) if replacing else whole


def _parameter(table: type[SQLModel]) -> str:
    return f"rows_of_{table.__tablename__}"


def _told(of: ColumnClause[Any]) -> ColumnElement[Any]:
    return column(of.name, String() if isinstance(of.type, LargeBinary) else of.type)


def _value(of: ColumnClause[Any], told: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.decode(told, "hex") if isinstance(of.type, LargeBinary) else told
