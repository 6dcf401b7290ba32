"""OpenAI's list pagination: `limit`, `after` and `order` in, one page with `has_more` out.

@router.get("/decisions", response_model=ListOf[DecisionCard])
def decisions(query: Annotated[PageQuery, Query()]) -> dict[str, object]:
    return list_body(ledger.page(query.page()), decision_card)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, Literal, TypeVar

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from serving.errors import Invalid

Order = Literal["asc", "desc"]
MAX_LIMIT = 100
Card = TypeVar("Card")


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


class PageQuery(BaseModel):
    """The query parameters of a list; a list that knows more adds fields, which become the page's filters."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT, description="How many entries at most.")] = 20
    after: Annotated[str | None, Field(description="The id behind which the page begins.")] = None
    order: Annotated[Order, Field(description="By the time of creation.")] = "desc"

    def page(self) -> Page:
        """The page that is asked for."""
        places = {"limit", "after", "before", "order"}
        return Page(
            limit=self.limit,
            after=self.after or None,
            before=getattr(self, "before", None) or None,
            order=self.order,
            filters={name: str(value) for name, value in self if name not in places and value is not None},
        )


class TwoWayQuery(PageQuery):
    """The query parameters of a list that can be read backwards."""

    before: Annotated[str | None, Field(description="The id before which the page ends.")] = None

    @field_validator("before")
    @classmethod
    def _check(cls, before: str | None, known: ValidationInfo) -> str | None:
        if before and known.data.get("after"):
            raise ValueError("cannot be given together with after")
        return before


class ListOf(BaseModel, Generic[Card]):
    """A page of a list."""

    object: Literal["list"]
    data: list[Card]
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool = False


def select_page(
    rows: sa.Connection,
    table: sa.Table,
    page: Page,
    *where: sa.ColumnElement[bool],
    by: sa.Column[Any] | None = None,
    without: Collection[sa.Column[Any]] = (),
) -> PageOfRows:
    """One page of a table that has an `id`, in the order of `by` (its `sequence` unless told), a column without ties.

    `without` names columns that a list does not show, such as long ones.
    With `before`, the rows are those next to it, and `has_more` says whether others come before them. Raises Invalid
    when `after` or `before` names no row.
    """
    column = table.c.sequence if by is None else by
    query = sa.select(*(one for one in table.c if one not in set(without))).where(*where)
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
