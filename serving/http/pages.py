"""OpenAI's list pagination: `limit`, `after` and `order` in, one page with `has_more` out.

@router.get("/decisions", response_model=ListOf[DecisionCard])
def decisions(page: Annotated[Page, Query()]) -> dict[str, object]:
    return list_body(ledger.page(page), decision_card)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, TypeVar

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from serving.errors import Invalid
from storage.database import Database

Order = Literal["asc", "desc"]
Card = TypeVar("Card")


class Page(BaseModel):
    """The query parameters of a list: which part of it is asked for.

    A list that knows more adds fields; one with the name of a column asks for the rows that have its value there.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: Annotated[int, Field(ge=1, le=100, description="How many entries at most.")] = 20
    after: Annotated[str | None, Field(description="The id behind which the page begins.")] = None
    order: Annotated[Order, Field(description="By the time of creation.")] = "desc"


class TwoWayPage(Page):
    """The query parameters of a list that can be read backwards."""

    before: Annotated[str | None, Field(description="The id before which the page ends.")] = None

    @field_validator("before")
    @classmethod
    def _check(cls, before: str | None, known: ValidationInfo) -> str | None:
        if before and known.data.get("after"):
            raise ValueError("cannot be given together with after")
        return before


@dataclass(frozen=True, slots=True)
class PageOfRows:
    """What stands on one page, and whether more follows."""

    rows: Sequence[Any]
    has_more: bool


class ListOf(BaseModel, Generic[Card]):
    """A page of a list."""

    object: Literal["list"]
    data: list[Card]
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool = False


class AllOf(BaseModel, Generic[Card]):
    """A list without a second page."""

    object: Literal["list"] = "list"
    data: list[Card]


def select_page(
    database: Database,
    table: sa.Table,
    page: Page,
    *where: sa.ColumnElement[bool],
    read: Callable[[Any], object] = lambda row: row,
    by: sa.Column[Any] | None = None,
    without: Collection[sa.Column[Any]] = (),
) -> PageOfRows:
    """One page of a table that has an `id`, in the order of `by` (its `sequence` unless told), a column without ties.

    `read` makes a row into what the page holds; `without` names columns that it does not need, such as long ones.
    With `before`, the rows are those next to it, and `has_more` says whether others come before them. Raises Invalid
    when `after` or `before` names no row.
    """
    column = table.c.sequence if by is None else by
    asked = [table.c[name] == value for name, value in page if name in table.c and value is not None]
    before = getattr(page, "before", None)
    query = sa.select(*(one for one in table.c if one not in set(without))).where(*where, *asked)
    is_rising = (page.order == "asc") == (not before)
    with database.read() as rows:
        for param, cursor in (("after", page.after), ("before", before)):
            if cursor:
                start = rows.execute(sa.select(column).where(table.c.id == cursor, *where, *asked)).scalar_one_or_none()
                if start is None:
                    raise Invalid(f"{param} names nothing in this list: {cursor!r}", param=param)
                query = query.where(column > start if is_rising else column < start)
        query = query.order_by(column.asc() if is_rising else column.desc()).limit(page.limit + 1)
        found = [read(row) for row in rows.execute(query)]
    kept = found[: page.limit]
    return PageOfRows(rows=kept[::-1] if before else kept, has_more=len(found) > page.limit)


def list_body(page: PageOfRows, shown: Callable[[Any], object] = lambda row: row) -> dict[str, object]:
    """OpenAI's list object, each row as `shown` gives it."""
    ids = [row.id for row in page.rows]
    return {
        "object": "list",
        "data": [shown(row) for row in page.rows],
        "first_id": ids[0] if ids else None,
        "last_id": ids[-1] if ids else None,
        "has_more": page.has_more,
    }
