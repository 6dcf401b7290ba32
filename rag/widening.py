"""From found chunks to passages, with as much around each as was asked for: `passages_of(rows, index_id, found, k)`."""

from __future__ import annotations

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
    passages: list[Passage] = []
    for chunk, score in _in_order(found):
        start, end = _range(rows, index_id, chunk, neighbours)
        ranges = given.setdefault(chunk.document_id, [])
        is_chunk = (start, end) == (chunk.start, chunk.end)
        if any(first <= start and end <= last for first, last in ranges):
            continue
        if not is_chunk or neighbours:
            ranges.append((start, end))
        passages.append(
            Passage(
                chunk_id=chunk.id,
                document_id=chunk.document_id,
                title=chunk.title,
                text=chunk.text if is_chunk else documents.slice_of(rows, index_id, chunk.document_id, start, end),
                score=score,
                rank=len(passages) + 1,
                metadata=chunk.metadata,
                source=chunk.source,
                page=chunk.page,
                headings=chunk.headings,
            )
        )
        if len(passages) == k:
            break
    return tuple(passages)


def _in_order(found: Sequence[tuple[Chunk, float]]) -> list[tuple[Chunk, float]]:
    """Neighbours of equal score in the order of document id and position, whatever order they were indexed in."""
    ordered: list[tuple[Chunk, float]] = []
    for _, equals in groupby(found, key=lambda hit: hit[1]):
        ordered += sorted(equals, key=lambda hit: (hit[0].document_id, hit[0].position))
    return ordered


def _range(rows: sa.Connection, index_id: int, chunk: Chunk, neighbours: int) -> tuple[int, int]:
    start, end = chunk.context or (chunk.start, chunk.end)
    if neighbours:
        first, last = chunks.extent(
            rows, index_id, chunk.document_id, chunk.position - neighbours, chunk.position + neighbours
        )
        start, end = min(start, first), max(end, last)
    return start, end
