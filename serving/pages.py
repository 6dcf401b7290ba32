"""OpenAI's list pagination: `limit`, `after` and `order` in, one page with `has_more` out.

page = read_page(request.query_params, default_order="desc")
list_body(select_page(rows, table, page, what="decision"), shown)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import sqlalchemy as sa

from serving.http_errors import ApiError

Order = Literal["asc", "desc"]
MAX_LIMIT = 100


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is asked for: up to `limit` entries, 1 to 100, behind the one with the id `after`.

    `filters` holds further query parameters that the list knows, by name.
    """

    limit: int = 20
    after: str | None = None
    order: Order = "asc"
    filters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PageOfRows:
    """The rows of one page, and whether more follow them."""

    rows: Sequence[Any]
    has_more: bool


def read_page(
    query: Mapping[str, str],
    *,
    default_order: Order = "asc",
    filters: Mapping[str, Sequence[str]] | None = None,
) -> Page:
    """The page of a query string; `filters` maps further parameters to their possible values.

    Raises ApiError naming the parameter.
    """
    known = filters or {}
    for name, value in query.items():
        if name not in ("limit", "after", "order", *known):
            raise ApiError(400, f"{name} is no parameter of this list; leave it out", param=name)
        if name in known and value not in known[name]:
            raise ApiError(400, f"{name} must be one of {', '.join(known[name])}, not {value!r}", param=name)
    raw, order = query.get("limit", "20"), query.get("order", default_order)
    if not (raw.isascii() and raw.isdecimal() and 1 <= len(raw) <= 3 and 1 <= int(raw) <= MAX_LIMIT):
        raise ApiError(400, f"limit must be a whole number from 1 to {MAX_LIMIT}, not {raw!r}", param="limit")
    if order not in ("asc", "desc"):
        raise ApiError(400, f"order must be asc or desc, not {order!r}", param="order")
    return Page(
        limit=int(raw),
        after=query.get("after") or None,
        order="asc" if order == "asc" else "desc",
        filters={name: query[name] for name in known if name in query},
    )


def select_page(
    rows: sa.Connection,
    table: sa.Table,
    page: Page,
    *where: sa.ColumnElement[bool],
    by: sa.Column[Any] | None = None,
) -> PageOfRows:
    """One page of a table that has an `id`, in the order of `by` (its `sequence` unless told), a column without ties.

    Raises ApiError when `after` names no row.
    """
    column = table.c.sequence if by is None else by
    query = sa.select(table).where(*where)
    if page.after is not None:
        start = rows.execute(sa.select(column).where(table.c.id == page.after, *where)).scalar_one_or_none()
        if start is None:
            raise ApiError(400, f"after names nothing in this list: {page.after!r}", param="after")
        query = query.where(column > start if page.order == "asc" else column < start)
    query = query.order_by(column.asc() if page.order == "asc" else column.desc()).limit(page.limit + 1)
    found = rows.execute(query).all()
    return PageOfRows(rows=found[: page.limit], has_more=len(found) > page.limit)


def list_body(page: PageOfRows, shown: Callable[[Any], Mapping[str, object]]) -> dict[str, object]:
    """OpenAI's list object, each row as `shown` gives it."""
    data = [shown(row) for row in page.rows]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": page.has_more,
    }
