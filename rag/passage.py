"""A passage: what a search gives of a document."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Passage:
    """A retrieved chunk. `rank` counts from 1, the best; `score` is what the ranking was made by, higher is better.

    `text` is the chunk, or the wider text around it that the search was asked for. `source`, `page` (from 1) and
    `headings` say where the chunk begins; they are '', None and () where the document has none. The columns of a table
    that it begins within count as headings. `page_starts` holds (offset in `text`, page) for every page that the text
    is of, in order; () if that is one page or none.
    """

    chunk_id: str
    document_id: str
    title: str
    text: str
    score: float
    rank: int
    metadata: Mapping[str, object] = field(default_factory=dict)
    source: str = ""
    page: int | None = None
    headings: tuple[str, ...] = ()
    page_starts: tuple[tuple[int, int], ...] = ()

    def page_at(self, offset: int) -> int | None:
        """The page that a character of the text stands on, None if the document has no pages."""
        begun = bisect_right(self.page_starts, offset, key=lambda start: start[0])
        return self.page_starts[begun - 1][1] if begun else self.page
