"""OpenAI's list pagination: `limit`, `after` and `order` in, one page with `has_more` out.

page = read_page(request.query_params, default_order="desc")
list_body(select_page(rows, table, page, what="decision"), shown)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import sqlalchemy as sa

from serving.errors import Invalid

Order = Literal["asc", "desc"]
MAX_LIMIT = 100


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is asked for: up to `limit` entries behind the one with the id `after`, or before `before`.

    `filters` holds further query parameters that the list knows, by name.
    """

    limit: int = 20
    after: str | None = None
    before: str | None = None
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
    default_limit: int = 20,
    max_limit: int = MAX_LIMIT,
    has_before: bool = False,
    filters: Mapping[str, Sequence[str]] | None = None,
) -> Page:
    """The page of a query string; `filters` maps further parameters to their possible values.

    `has_before` says whether the list can be read backwards. Raises Invalid naming the parameter.
    """
    known = filters or {}
    for name, value in query.items():
        if name not in ("limit", "after", "order", *(("before",) if has_before else ()), *known):
            raise Invalid(f"{name} is no parameter of this list; leave it out", param=name)
        if name in known and value not in known[name]:
            raise Invalid(f"{name} must be one of {', '.join(known[name])}, not {value!r}", param=name)
    raw, order = query.get("limit", str(default_limit)), query.get("order", default_order)
    if not (raw.isascii() and raw.isdecimal() and len(raw) <= 9 and 1 <= int(raw) <= max_limit):
        raise Invalid(f"limit must be a whole number from 1 to {max_limit}, not {raw!r}", param="limit")
    if order not in ("asc", "desc"):
        raise Invalid(f"order must be asc or desc, not {order!r}", param="order")
    if query.get("after") and query.get("before"):
        raise Invalid("before cannot be given together with after", param="before")
    return Page(
        limit=int(raw),
        after=query.get("after") or None,
        before=query.get("before") or None,
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

    With `before`, the rows are those next to it, and `has_more` says whether others come before them. Raises Invalid
    when `after` or `before` names no row.
    """
    column = table.c.sequence if by is None else by
    query = sa.select(table).where(*where)
    is_rising = (page.order == "asc") == (page.before is None)
    for param, cursor in (("after", page.after), ("before", page.before)):
        if cursor is not None:
            start = rows.execute(sa.select(column).where(table.c.id == cursor, *where)).scalar_one_or_none()
            if start is None:
                raise Invalid(f"{param} names nothing in this list: {cursor!r}", param=param)
            query = query.where(column > start if is_rising else column < start)
    query = query.order_by(column.asc() if is_rising else column.desc()).limit(page.limit + 1)
    found = rows.execute(query).all()
    kept = found[: page.limit]
    return PageOfRows(rows=kept if page.before is None else kept[::-1], has_more=len(found) > page.limit)


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
