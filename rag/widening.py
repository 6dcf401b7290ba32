"""From found chunks to passages, with as much around each as was asked for: `passages_of(rows, index_id, found, k)`."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import groupby

import sqlalchemy as sa

from rag.chunking.chunk import Chunk
from rag.passage import Passage
from rag.store import chunks, documents


def passages_of(
    rows: sa.Connection, index_id: int, found: Sequence[tuple[Chunk, float]], k: int, *, neighbours: int = 0
) -> tuple[Passage, ...]:
    """Up to k passages for chunks and their scores, which come best first.

    A chunk is widened to its context, and by `neighbours` chunks on either side; all text is the document's own. A
    passage that lies within a better one of the same document is left out.
    """
    given: dict[str, list[tuple[int, int]]] = {}
    chosen: list[tuple[Chunk, float, int, int]] = []
    for chunk, score in _in_order(found):
        start, end = chunk.context or (chunk.start, chunk.end)
        if neighbours:
            position = chunk.position
            around = chunks.extent(rows, index_id, chunk.document_id, position - neighbours, position + neighbours)
            start, end = min(start, around[0]), max(end, around[1])
        ranges = given.setdefault(chunk.document_id, [])
        if any(first <= start and end <= last for first, last in ranges):
            continue
        if (start, end) != (chunk.start, chunk.end) or neighbours:
            ranges.append((start, end))
        chosen.append((chunk, score, start, end))
        if len(chosen) == k:
            break
    paged = {chunk.document_id for chunk, *_ in chosen if chunk.page is not None}
    pages = documents.pages_of(rows, index_id, sorted(paged))
    return tuple(
        Passage(
            chunk_id=chunk.id,
            document_id=chunk.document_id,
            title=chunk.title,
            text=(
                chunk.text
                if (start, end) == (chunk.start, chunk.end)
                else documents.slice_of(rows, index_id, chunk.document_id, start, end)
            ),
            score=score,
            rank=rank,
            metadata=chunk.metadata,
            source=chunk.source,
            page=chunk.page,
            headings=chunk.headings,
            page_starts=_page_starts(pages.get(chunk.document_id, ()), start, end),
        )
        for rank, (chunk, score, start, end) in enumerate(chosen, start=1)
    )


def _page_starts(pages: Sequence[int], start: int, end: int) -> tuple[tuple[int, int], ...]:
    """(offset from `start`, page) for each page of the document's text from `start` to `end`; () for a single one."""
    # Pages without text begin where the next one does.
    first, last = max(1, bisect_right(pages, start)), bisect_left(pages, end)
    if last <= first:
        return ()
    return ((0, first), *((pages[page - 1] - start, page) for page in range(first + 1, last + 1)))


def _in_order(found: Sequence[tuple[Chunk, float]]) -> list[tuple[Chunk, float]]:
    """Neighbours of equal score in the order of document id and position, whatever order they were indexed in."""
    ordered: list[tuple[Chunk, float]] = []
    for _, equals in groupby(found, key=lambda hit: hit[1]):
        ordered += sorted(equals, key=lambda hit: (hit[0].document_id, hit[0].position))
    return ordered
