"""Many values in one statement whose text is always the same: it is compiled, parsed and planned once.

An IN list of two hundred names is a statement of its own for each number of names, and naming them costs more than the
rows that it finds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import ARRAY, Boolean, Dialect, String, bindparam
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine

T = TypeVar("T")

BATCH = 500
"""Values in one IN list."""


def batches(values: Sequence[T], size: int = BATCH) -> Iterator[Sequence[T]]:
    """Cut values into what one IN list may hold, or so many."""
    return (values[start : start + size] for start in range(0, len(values), size))


class _Texts(TypeDecorator[list[str]]):
    """Texts as one parameter: an array, and on SQLite a JSON document."""

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose how it is sent."""
        return dialect.type_descriptor(String() if dialect.name == "sqlite" else ARRAY(String))

    def process_bind_param(self, value: list[str] | None, dialect: Dialect) -> Any:  # noqa: ANN401 what is sent
        """Write it."""
        return json.dumps(value) if dialect.name == "sqlite" else value


class _Among(FunctionElement[bool]):
    """A column whose value is one of a parameter's texts."""

    type = Boolean()
    inherit_cache = True


@compiles(_Among, "postgresql")
def _write_any(element: _Among, compiler: SQLCompiler, **more: object) -> str:
    column, texts = (compiler.process(clause, **more) for clause in element.clauses)
    return f"{column} = ANY({texts})"


@compiles(_Among, "sqlite")
def _write_each(element: _Among, compiler: SQLCompiler, **more: object) -> str:
    column, texts = (compiler.process(clause, **more) for clause in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({texts}))"  # noqa: S608 clauses that the compiler wrote


def among(column: object, name: str) -> ColumnElement[bool]:
    """Say that a column of text holds one of those in the parameter `name`, a list, however many they are.

    Statements with it are made once: to build one, and to find it among those that are compiled, takes longer than to
    run it.
    """
    return _Among(column, bindparam(name, type_=_Texts()))
