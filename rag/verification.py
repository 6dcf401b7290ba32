"""Whether an index is what it should be, row by row: `verify(store, "faq", views)`; and what can be mended."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import sqlalchemy as sa

from rag.chunking.duplicates import near_duplicates
from rag.indexing import Progress
from rag.store import chunks, indexes
from rag.store.documents import count, digest_of
from rag.store.indexes import IndexState, Tally
from rag.store.schema import ATTRIBUTES, CHUNKS, DOCUMENTS, VECTORS
from rag.views import LiveView
from storage.database import Database

_SHOWN = 3
_SAMPLE = 200
# Chunks that are compared with each other: 100,000 take 20 s and 350 MB.
_MOST_COMPARED = 100_000
# Documents that are read at a time, with their chunks and vectors.
_PART = 50
# Longest that a float32 unit vector may be off in its length.
_LENGTH_ERROR = 1e-3

# Rows that belong to nothing, and how they are told. NOT IN would do, but PostgreSQL reads the whole list for each row
# once it is too long for a hash in memory.
_STRAY = (
    (VECTORS, ~sa.exists().where(CHUNKS.c.number == VECTORS.c.number)),
    (
        ATTRIBUTES,
        ~sa.exists().where(DOCUMENTS.c.index_id == ATTRIBUTES.c.index_id, DOCUMENTS.c.id == ATTRIBUTES.c.document_id),
    ),
)

# Those of vectors and of words.
Views = tuple[LiveView[Any], LiveView[Any]]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NearDuplicate:
    """A chunk that repeats an earlier one almost word for word: where both are, and how alike, up to 1.

    A place is a document's id and the page, None if the document has no pages.
    """

    document_id: str
    page: int | None
    of_document_id: str
    of_page: int | None
    similarity: float


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What `verify` found. `problems` are sentences, one a fault; `repaired` says that they are mended now.

    `recall` is the share of the exact ten nearest that the view of vectors finds, over a sample; None without a view.
    `near_duplicates` are no fault; None if chunks are damaged, or too many to compare.
    """

    name: str
    num_documents: int
    num_chunks: int
    problems: tuple[str, ...]
    recall: float | None
    near_duplicates: tuple[NearDuplicate, ...] | None
    damaged: tuple[str, ...]
    """Ids of the documents whose rows contradict each other."""

    repaired: bool

    @property
    def is_sound(self) -> bool:
        return not self.problems or self.repaired


def verify(
    store: Database, name: str, views: Views, *, repair: bool = False, progress: Progress | None = None
) -> VerifyReport:
    """Checks the rows of an index against one another, and its view files against the rows; writes nothing.

    `repair` counts anew, takes the views away, and removes the chunks of documents whose rows are damaged, so that
    these can be added again. `progress(done, total)` counts chunks, twice if they are compared with each other too.
    Raises RagError if there is no such index.
    """
    with store.read() as rows:
        state = indexes.existing(rows, name)
        damaged: dict[str, str] = {}
        tally = Tally()
        is_compared = state.num_chunks <= _MOST_COMPARED
        total = state.num_chunks * (2 if is_compared else 1)
        for document_id, counted, fault in check_rows(rows, state.id):
            tally += counted
            if fault:
                damaged[document_id] = fault
            if progress:
                progress(min(tally.num_chunks, state.num_chunks), total)
        problems = [f"document {document_id!r}: {fault}" for document_id, fault in list(damaged.items())[:_SHOWN]]
        if len(damaged) > _SHOWN:
            problems.append(f"{len(damaged) - _SHOWN} more documents are damaged")
        if stray := count_stray(rows, state.id):
            problems.append(f"{stray} rows are of documents or chunks that are not there")
        if replace(tally, indexing_s=state.indexing_s) != state.tally:
            problems.append(
                f"the index counts {state.num_documents} documents and {state.num_chunks} chunks, its rows are "
                f"{tally.num_documents} and {tally.num_chunks}, or their sums differ"
            )
        files = (file for view in views for file in view.damaged_files(rows, state))
        problems += [f"view file {file!r} is damaged, or not of this index" for file in files]
        recall, repeated = None, None
        if not (damaged or stray):
            faults_of_views, recall = _check_views(rows, state, views)
            problems += faults_of_views
            repeated = _near_duplicates(rows, state) if is_compared else None
    if progress:
        progress(total, total)
    if repair and problems:
        _repair(store, name, list(damaged), views)
    return VerifyReport(
        name=name,
        num_documents=tally.num_documents,
        num_chunks=tally.num_chunks,
        problems=tuple(problems),
        recall=recall,
        near_duplicates=repeated,
        damaged=tuple(damaged),
        repaired=repair and bool(problems),
    )


def _check_views(rows: sa.Connection, state: IndexState, views: Views) -> tuple[list[str], float | None]:
    """What is wrong with the newest files, which stay as they are, and the recall of the one of vectors."""
    problems, recall = [], None
    numbers = chunks.numbers(rows, state.id)
    for live, what in zip(views, ("vectors", "words"), strict=True):
        found = live.load_newest(rows, state)
        if found is None:
            continue
        view, generation = found
        # What came and went since the file was written is no fault of it.
        kept = np.setdiff1d(numbers, chunks.numbers(rows, state.id, generation))
        if not np.array_equal(np.setdiff1d(view.numbers, chunks.removed_since(rows, state.id, generation)), kept):
            problems.append(f"the view of {what} does not hold the chunks of the rows")
        elif what == "vectors":
            stored, vectors = chunks.vectors_of(rows, state.id, kept[:: max(1, len(kept) // _SAMPLE)])
            if len(stored) and not np.allclose(view.vectors_of(stored), vectors, atol=1e-5):
                problems.append("the view of vectors does not hold the vectors of the rows")
            recall = view.recall()
    return problems, recall


def _near_duplicates(rows: sa.Connection, state: IndexState) -> tuple[NearDuplicate, ...]:
    found = [chunk for _, chunk in chunks.stream(rows, state.id)]
    return tuple(
        NearDuplicate(found[place].document_id, found[place].page, found[of].document_id, found[of].page, similarity)
        for place, of, similarity in near_duplicates([chunk.text for chunk in found])
    )


def _repair(store: Database, name: str, damaged: list[str], views: Views) -> None:
    with store.write_beside() as rows:
        state = indexes.existing(rows, name, is_locked=True)
        tally = mend(rows, state.id, damaged)
        indexes.forget_generations(rows, state.id)
        indexes.advance(rows, state, tally)
    for live in views:
        live.forget()
        live.remove_files()
    log.info("index=%s repaired; the chunks of %d documents were damaged", name, len(damaged))


def check_rows(rows: sa.Connection, index_id: int) -> Iterator[tuple[str, Tally, str]]:
    """Every document, by id, in one pass over documents, chunks and vectors; then what is left of documents.

    Gives its id, what its rows amount to, without seconds, and the first thing that is wrong with them, or ''.
    """
    sizes = sa.select(sa.func.length(VECTORS.c.vector)).where(VECTORS.c.index_id == index_id).limit(9)
    # One of them may be what is damaged.
    size = Counter(rows.execute(sizes).scalars()).most_common(1)
    query = sa.select(DOCUMENTS).where(DOCUMENTS.c.index_id == index_id).order_by(DOCUMENTS.c.id)
    for part in rows.execute(query.execution_options(yield_per=_PART)).partitions():
        cut = _chunks_of(rows, index_id, [row.id for row in part])
        for row in part:
            own = cut.get(row.id, [])
            digest = digest_of(row.id, row.content_hash, [chunk.id for chunk in own])
            fault = next(_faults(row, own, digest, size[0][0] if size else 0), "")
            yield row.id, Tally(1, len(own), 0.0, int(digest, 16)), fault
    has_document = sa.exists().where(DOCUMENTS.c.index_id == CHUNKS.c.index_id, DOCUMENTS.c.id == CHUNKS.c.document_id)
    left = sa.select(CHUNKS.c.document_id, sa.func.count()).where(CHUNKS.c.index_id == index_id, ~has_document)
    for document_id, num_chunks in rows.execute(left.group_by(CHUNKS.c.document_id).order_by(CHUNKS.c.document_id)):
        yield document_id, Tally(num_chunks=num_chunks), "has chunks and is not there"


def count_stray(rows: sa.Connection, index_id: int) -> int:
    """Rows that foreign keys would have removed."""
    total = 0
    for table, condition in _STRAY:
        query = sa.select(sa.func.count()).select_from(table).where(table.c.index_id == index_id, condition)
        total += rows.execute(query).scalar_one()
    return total


def mend(rows: sa.Connection, index_id: int, document_ids: Iterable[str]) -> Tally:
    """Removes stray rows, and of these documents the chunks and content hashes, so that whatever is given is a change.

    What is no JSON any more becomes what is known of it otherwise. Gives what the rows amount to then.
    """
    for table, condition in _STRAY:
        rows.execute(table.delete().where(table.c.index_id == index_id, condition))
    for document_id in document_ids:
        key = sa.and_(DOCUMENTS.c.index_id == index_id, DOCUMENTS.c.id == document_id)
        rows.execute(CHUNKS.delete().where(CHUNKS.c.index_id == index_id, CHUNKS.c.document_id == document_id))
        values: dict[str, object] = {"content_hash": "", "digest": digest_of(document_id, "", []), "num_chunks": 0}
        query = sa.select(DOCUMENTS.c.metadata, DOCUMENTS.c.pages, DOCUMENTS.c.source).where(key)
        for metadata, pages, source in rows.execute(query).all():
            if not _is_json(metadata, dict):
                kept = _compared(rows, index_id, document_id, source)
                values["metadata"] = json.dumps(kept, ensure_ascii=False)
            if not _is_json(pages, list, int):
                values["pages"] = "[]"
        rows.execute(DOCUMENTS.update().where(key).values(values))
    return count(rows, DOCUMENTS.c.index_id == index_id, CHUNKS.c.index_id == index_id)


def _chunks_of(rows: sa.Connection, index_id: int, document_ids: Sequence[str]) -> dict[str, list[Any]]:
    """The chunks with their vectors, in the order of their positions, by document."""
    columns = [CHUNKS.c[name] for name in ("document_id", "position", "id", "start", "text", "headings")]
    query = (
        sa.select(*columns, VECTORS.c.vector)
        .join_from(CHUNKS, VECTORS, VECTORS.c.number == CHUNKS.c.number, isouter=True)
        .where(CHUNKS.c.index_id == index_id, CHUNKS.c.document_id.in_(document_ids))
        .order_by(CHUNKS.c.document_id, CHUNKS.c.position)
    )
    found: dict[str, list[Any]] = {}
    for row in rows.execute(query):
        found.setdefault(row.document_id, []).append(row)
    return found


def _faults(document: Any, cut: Sequence[Any], digest: str, size: int) -> Iterator[str]:
    if not _is_json(document.metadata, dict):
        yield "its metadata is damaged; a repair keeps of it what filters compare"
    if not _is_json(document.pages, list, int):
        yield "its page numbers are damaged; a repair drops them"
    if not document.content_hash:
        yield "its repair was begun and not ended"
    if len(cut) != document.num_chunks:
        yield f"has {len(cut)} chunks and should have {document.num_chunks}"
    if digest != document.digest:
        yield "its chunks are not those that were stored"
    for chunk in cut:
        if document.text[chunk.start : chunk.start + len(chunk.text)] != chunk.text:
            yield f"chunk {chunk.position} is not in its text"
        if not _is_json(chunk.headings, list):
            yield f"chunk {chunk.position} has damaged headings"
        if not _is_unit(chunk.vector, size):
            yield f"chunk {chunk.position} has no valid vector"


def _is_unit(data: bytes | None, size: int) -> bool:
    if data is None or len(data) != size or size % 4:
        return False
    # A vector that is not finite has no length, and fails the comparison.
    return abs(float(np.linalg.norm(np.frombuffer(data, dtype="<f4"))) - 1) < _LENGTH_ERROR


def _is_json(text: str, kind: type, of: type = object) -> bool:
    """Whether the text is JSON of this kind; of a list, one that holds such values."""
    try:
        value: Any = json.loads(text)
    except ValueError:
        return False
    is_kind = isinstance(value, kind)
    return is_kind and (kind is not list or all(isinstance(one, of) for one in value))


def _compared(rows: sa.Connection, index_id: int, document_id: str, source: str) -> dict[str, object]:
    """The metadata that filters compare, from rows of its own; a document's source is among them without being any."""
    query = sa.select(ATTRIBUTES).where(ATTRIBUTES.c.index_id == index_id, ATTRIBUTES.c.document_id == document_id)
    found: dict[str, object] = {}
    for row in rows.execute(query):
        number = row.number
        if row.kind == "number" and number.is_integer():
            number = int(number)
        found[row.key] = row.text if row.kind == "text" else bool(number) if row.kind == "boolean" else number
    if found.get("source") == source:
        del found["source"]
    return found
