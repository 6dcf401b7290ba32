"""The rows of chunks and their vectors: `insert(rows, ...)`, `of_numbers(rows, index_id, numbers)`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from operator import itemgetter

import numpy as np
import sqlalchemy as sa

from rag.chunking.chunk import Chunk
from rag.errors import RagError
from rag.search.filters import Filter, filter_clause
from rag.search.numbers import Numbers, Vectors
from rag.store.pending import Embedding
from rag.store.schema import ATTRIBUTES, BATCH, CHUNKS, DOCUMENTS, NUMBERS, TOMBSTONES, VARIABLES, VECTORS, parts
from storage.database import Database

_DAMAGED = "vectors are missing or damaged; mend the index with: arbiter index verify NAME --repair"
_LOST = "documents of some chunks are missing; mend the index with: arbiter index verify NAME --repair"


# The fields of a chunk in their order, of which its document has some.
_OF_DOCUMENT = ("title", "metadata", "source")
_NAMES = [field.name for field in fields(Chunk) if field.name != "context"]
_COLUMNS = [(DOCUMENTS if name in _OF_DOCUMENT else CHUNKS).c[name] for name in _NAMES]


def take_numbers(store: Database, count: int) -> range:
    """So many chunk numbers that nobody had and nobody else will get; gaps between them mean nothing."""
    taken = NUMBERS.update().values(next=NUMBERS.c.next + count).returning(NUMBERS.c.next)
    with store.write_beside() as rows:
        end = int(rows.execute(taken).scalar_one())
    return range(end - count, end)


def insert(
    rows: sa.Connection,
    index_id: int,
    generation: int,
    numbered: Iterable[tuple[int, Chunk, str]],
    embeddings: Mapping[str, Embedding],
) -> float:
    """Adds chunks, each with its number and the hash of what was embedded for it; gives the seconds that that took."""
    seconds = 0.0
    for part in parts(numbered, BATCH):
        chunks, vectors = [], []
        for number, chunk, text_hash in part:
            first, last = chunk.context or (None, None)
            own = {name: getattr(chunk, name) for name in _NAMES if name not in _OF_DOCUMENT}
            own |= {"number": number, "index_id": index_id, "generation": generation, "text_hash": text_hash}
            own |= {"headings": json.dumps(chunk.headings, ensure_ascii=False) if chunk.headings else "[]"}
            chunks.append(own | {"context_start": first, "context_end": last})
            embedding = embeddings[text_hash]
            seconds += embedding.embed_s
            vectors.append({"number": number, "index_id": index_id, **embedding.values()})
        rows.execute(CHUNKS.insert(), chunks)
        rows.execute(VECTORS.insert(), vectors)
    return seconds


def of_numbers(rows: sa.Connection, index_id: int, numbers: Iterable[int]) -> Iterator[tuple[int, Chunk]]:
    """Number and chunk of those that are stored; of ascending numbers ascending."""
    # A sum is in no index: by index_id alone, SQLite would read every chunk of it to find these few.
    own = CHUNKS.c.index_id + 0 == index_id
    for part in parts(numbers, VARIABLES):
        yield from sorted(_select(rows, sa.and_(own, CHUNKS.c.number.in_(part))), key=itemgetter(0))


def of_document(rows: sa.Connection, index_id: int, document_id: str) -> list[Chunk]:
    """A document's chunks in the order of their position; none if the document is unknown."""
    chosen = sa.and_(CHUNKS.c.index_id == index_id, CHUNKS.c.document_id == document_id)
    return sorted((chunk for _, chunk in _select(rows, chosen)), key=lambda chunk: chunk.position)


def extent(rows: sa.Connection, index_id: int, document_id: str, first: int, last: int) -> tuple[int, int]:
    """Where in the document's text the chunks of the positions from `first` to `last` begin and end, in characters."""
    end = sa.func.max(CHUNKS.c.start + sa.func.length(CHUNKS.c.text))
    query = sa.select(sa.func.min(CHUNKS.c.start), end).where(
        CHUNKS.c.index_id == index_id, CHUNKS.c.document_id == document_id, CHUNKS.c.position.between(first, last)
    )
    start, end = rows.execute(query).one()
    return start, end


def allowed_numbers(rows: sa.Connection, index_id: int, filters: Filter) -> Numbers:
    """The chunks, ascending, of the documents that pass."""
    passing = sa.select(DOCUMENTS.c.id).where(
        DOCUMENTS.c.index_id == index_id, filter_clause(filters, ATTRIBUTES, index_id, DOCUMENTS.c.id)
    )
    query = sa.select(CHUNKS.c.number).where(CHUNKS.c.index_id == index_id, CHUNKS.c.document_id.in_(passing))
    return as_numbers(rows.execute(query).scalars())


def removed_since(rows: sa.Connection, index_id: int, generation: int) -> Numbers:
    """The numbers, ascending, that generations after this one have deleted."""
    query = sa.select(TOMBSTONES.c.number).where(
        TOMBSTONES.c.index_id == index_id, TOMBSTONES.c.generation > generation
    )
    return as_numbers(rows.execute(query).scalars())


def numbers(rows: sa.Connection, index_id: int, since: int = -1) -> Numbers:
    """The numbers, ascending, of all that later generations than `since` have added and that is still there."""
    query = sa.select(CHUNKS.c.number).where(CHUNKS.c.index_id == index_id, CHUNKS.c.generation > since)
    return as_numbers(rows.execute(query).scalars())


def as_numbers(values: Iterable[int]) -> Numbers:
    """The numbers as an array, ascending."""
    return np.sort(np.fromiter(values, dtype=np.int64))


def stream(rows: sa.Connection, index_id: int, since: int = -1) -> Iterator[tuple[int, Chunk]]:
    """Number and chunk of all that later generations than `since` have added and that is still there, ascending.

    Raises RagError at the end if some of the chunks have lost their document.
    """
    # By their numbers, part by part: a database sorts all of the texts at once on its disk.
    wanted = numbers(rows, index_id, since).tolist()
    num_lost = len(wanted)
    for numbered in of_numbers(rows, index_id, wanted):
        num_lost -= 1
        yield numbered
    if num_lost:
        raise RagError(_LOST)


def vectors(rows: sa.Connection, index_id: int, since: int = -1) -> tuple[Numbers, Vectors]:
    """Numbers, ascending, and (n, d) float32 vectors of what later generations than `since` have added and is still
    there; (0, 0) for nothing. Raises RagError if some of them have lost their vectors.
    """
    wanted = numbers(rows, index_id, since)
    found, matrix = vectors_of(rows, index_id, wanted)
    if len(found) != len(wanted):
        raise RagError(_DAMAGED)
    return found, matrix


def vectors_of(rows: sa.Connection, index_id: int, numbers: Numbers) -> tuple[Numbers, Vectors]:
    """Those of the numbers that are stored, ascending, and their (n, d) float32 vectors."""
    found = np.empty(len(numbers), dtype=np.int64)
    matrix = np.empty((0, 0), dtype=np.float32)
    end = 0
    # Part by part into an array that is made once: the vectors of a large index are in memory one time, not three.
    for part in parts(np.sort(numbers).tolist(), BATCH):
        query = sa.select(VECTORS.c.number, VECTORS.c.vector).where(
            VECTORS.c.index_id == index_id, VECTORS.c.number.in_(part)
        )
        stored = sorted(map(tuple, rows.execute(query)))
        if stored and not end:
            matrix = np.empty((len(numbers), len(stored[0][1]) // 4), dtype=np.float32)
        if any(len(vector) != 4 * matrix.shape[1] or not vector for _, vector in stored):
            raise RagError(_DAMAGED)
        start, end = end, end + len(stored)
        found[start:end] = [number for number, _ in stored]
        data = b"".join(vector for _, vector in stored)
        matrix[start:end] = np.frombuffer(data, dtype="<f4").reshape(len(stored), matrix.shape[1])
    return found[:end], matrix[:end]


def _select(rows: sa.Connection, condition: sa.ColumnElement[bool]) -> Iterator[tuple[int, Chunk]]:
    of_document = sa.and_(DOCUMENTS.c.index_id == CHUNKS.c.index_id, DOCUMENTS.c.id == CHUNKS.c.document_id)
    columns = (CHUNKS.c.number, *_COLUMNS, CHUNKS.c.context_start, CHUNKS.c.context_end)
    query = sa.select(*columns).select_from(CHUNKS.join(DOCUMENTS, of_document)).where(condition)
    for number, *plain, metadata, source, start, page, headings, first, last in rows.execute(
        query.execution_options(yield_per=BATCH)
    ):
        parsed = {} if metadata == "{}" else json.loads(metadata)
        above = () if headings == "[]" else tuple(json.loads(headings))
        values = [*plain, parsed, source, start, page, above, None if first is None else (first, last)]
        yield number, Chunk(*values)
