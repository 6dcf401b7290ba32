"""A passage: what a search gives of a document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Passage:
    """A retrieved chunk. `rank` counts from 1, the best; `score` is what the ranking was made by, higher is better.

    `text` is the chunk, or the wider text around it that the search was asked for. `source`, `page` (from 1) and
    `headings` say where it stands; '' , None and () where the document has none.
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
