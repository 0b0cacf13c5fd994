"""Entities in pages, in the order of a unique column."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlmodel import Session, col, select
from sqlmodel.sql.expression import SelectOfScalar

from controlplane.adapters.sql.log import read_position
from controlplane.adapters.sql.tables import AssignmentRow, MembershipRow
from controlplane.app.ports import PageRequest
from controlplane.domain.entities import Page
from fleet.errors import malformed

R = TypeVar("R")
T = TypeVar("T")


def page_of(
    session: Session,
    statement: SelectOfScalar[R],
    request: PageRequest,
    show: Callable[[Session, Sequence[R]], tuple[T, ...]],
    *,
    key: str = "name",
) -> Page[T]:
    """Read rows in the order of a unique column of theirs, after the token's."""
    column = statement.selected_columns[key]
    if request.token:
        statement = statement.where(column > _after(request.token))
    found = session.exec(statement.order_by(column).limit(request.size + 1)).all()
    rows = found[: request.size]
    last = _token(getattr(rows[-1], key)) if len(found) > request.size else ""
    return Page(show(session, rows), last, read_position(session))


def _token(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode()


def _after(token: str) -> str:
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise malformed("PAGE_TOKEN_MALFORMED", "a page token is one that a page came with") from error


def in_group(statement: SelectOfScalar[R], name: Any, group: str) -> SelectOfScalar[R]:  # noqa: ANN401 SQLModel types a column as its values
    """Narrow satellites to a group's."""
    members = select(MembershipRow.satellite).where(MembershipRow.group == group)
    return statement.where(col(name).in_(members)) if group else statement


def in_scope(statement: SelectOfScalar[R], name: Any, scope: str) -> SelectOfScalar[R]:  # noqa: ANN401 as above
    """Narrow artifacts to a scope's."""
    assigned = select(AssignmentRow.artifact).where(AssignmentRow.scope == scope)
    return statement.where(col(name).in_(assigned)) if scope else statement
