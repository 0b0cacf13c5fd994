"""Values of the domain as JSON columns, read back strictly."""

from __future__ import annotations

from collections.abc import Hashable
from functools import cache
from types import GenericAlias
from typing import Any, TypeVar, cast

from pydantic import ConfigDict, TypeAdapter

from controlplane.domain.commands import Applied, Outcome, Result
from controlplane.domain.entities import Position

T = TypeVar("T")


_BYTES = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")


@cache
def _adapter(kind: Hashable) -> TypeAdapter[Any]:
    # A tuple of one: a dataclass by itself takes no configuration from outside.
    one: Any = GenericAlias(tuple, (kind,))
    return TypeAdapter(one, config=_BYTES)


def to_document(value: object) -> dict[str, Any]:
    """Write a dataclass of plain fields, enumerations, times and bytes (base64)."""
    (document,) = _adapter(cast("Hashable", type(value))).dump_python((value,), mode="json")
    return cast("dict[str, Any]", document)


def from_document(kind: type[T], document: dict[str, Any]) -> T:
    """Read it back."""
    (value,) = _adapter(cast("Hashable", kind)).validate_python((document,))
    return cast("T", value)


def results_to_document(results: tuple[Result, ...]) -> list[list[str]]:
    """Write results for the log."""
    return [[result.outcome.value, result.entity, result.name, result.etag] for result in results]


def results_from_document(document: list[list[str]]) -> tuple[Result, ...]:
    """Read them back."""
    return tuple(Result(Outcome(outcome), entity, name, etag) for outcome, entity, name, etag in document)


def entities_in(document: list[list[str]]) -> set[str]:
    """Say what kinds of entities results are about."""
    return {entity for _, entity, *_ in document}


def answer_to_document(applied: Applied) -> dict[str, Any]:
    """Write an answer that may be asked for again."""
    return {
        "epoch": applied.position.epoch,
        "revision": applied.position.revision,
        "results": results_to_document(applied.results),
    }


def answer_from_document(document: dict[str, Any]) -> Applied:
    """Read it back."""
    position = Position(document["epoch"], document["revision"])
    return Applied(position, results_from_document(document["results"]))
