"""Whether an index is what it should be, row by row: `verify(store, "faq", dense, lexical)`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import sqlalchemy as sa

from rag.chunking.duplicates import near_duplicates
from rag.indexing import missing
from rag.store import chunks, documents, indexes
from rag.store.documents import BATCH, parts
from rag.store.indexes import IndexState, Tally
from rag.store.schema import ATTRIBUTES, CHUNKS, DOCUMENTS, VECTORS
from rag.store.store import Store
from rag.views import LiveView

_SHOWN = 3
_SAMPLE = 200
# Longest that a float32 unit vector may be off in its length.
_LENGTH_ERROR = 1e-3

# Rows that belong to nothing, and how they are told.
_STRAY = (
    (VECTORS, VECTORS.c.number.not_in(sa.select(CHUNKS.c.number))),
    (
        ATTRIBUTES,
        ~sa.exists().where(DOCUMENTS.c.index_id == ATTRIBUTES.c.index_id, DOCUMENTS.c.id == ATTRIBUTES.c.document_id),
    ),
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What `verify` found. `problems` are sentences, one a fault; `repaired` says that they are mended now.

    `recall` is the share of the exact ten nearest that the view of vectors finds, over a sample; None without a view.
    `num_near_duplicates` chunks repeat an earlier one almost word for word, which is no fault.
    """

    name: str
    num_documents: int
    num_chunks: int
    problems: tuple[str, ...]
    recall: float | None
    num_near_duplicates: int
    damaged: tuple[str, ...] = ()
    """Ids of the documents whose rows contradict each other."""

    repaired: bool = False

    @property
    def is_sound(self) -> bool:
        return not self.problems or self.repaired


def verify(
    store: Store, name: str, dense: LiveView[Any], lexical: LiveView[Any], *, repair: bool = False
) -> VerifyReport:
    """Checks the rows of an index against one another, and its view files against the rows.

    `repair` counts anew, builds the views anew, and removes the chunks of documents whose rows are damaged, so that
    these can be added again. Raises RagError if there is no such index.
    """
    with store.read() as rows:
        state = indexes.state(rows, name)
        if state is None:
            raise missing(name)
        damaged: dict[str, str] = {}
        for document_id, fault in _faulty_documents(rows, state):
            damaged.setdefault(document_id, fault)
        problems = [f"document {document_id!r}: {fault}" for document_id, fault in list(damaged.items())[:_SHOWN]]
        if len(damaged) > _SHOWN:
            problems.append(f"{len(damaged) - _SHOWN} more documents are damaged")
        if stray := _count_stray(rows, state.id):
            problems.append(f"{stray} rows are of documents or chunks that are not there")
        tally = _count(rows, state)
        if (tally.num_documents, tally.num_chunks, tally.content_sum) != (
            state.num_documents,
            state.num_chunks,
            state.content_sum,
        ):
            problems.append(
                f"the index counts {state.num_documents} documents and {state.num_chunks} chunks, its rows are "
                f"{tally.num_documents} and {tally.num_chunks}, or their sums differ"
            )
        for kind in (dense, lexical):
            problems += [
                f"view file {file!r} is damaged, or not of this index" for file in kind.damaged_files(rows, state)
            ]
        recall = None
        if not (damaged or stray) and tally.num_chunks == state.num_chunks:
            problems += _faults_of_views(rows, state, dense, lexical)
            recall = _recall(rows, state, dense)
        numbered = [(number, chunk.text) for number, chunk in chunks.stream(rows, state.id)]
        repeated = near_duplicates([number for number, _ in numbered], [text for _, text in numbered])
    if repair and problems:
        _repair(store, name, list(damaged), dense, lexical)
    return VerifyReport(
        name=name,
        num_documents=tally.num_documents,
        num_chunks=tally.num_chunks,
        problems=tuple(problems),
        recall=recall,
        num_near_duplicates=len(repeated),
        damaged=tuple(damaged),
        repaired=repair and bool(problems),
    )


def _faulty_documents(rows: sa.Connection, state: IndexState) -> Iterator[tuple[str, str]]:
    counts: dict[str, int] = {}
    query = sa.select(CHUNKS.c.document_id, sa.func.count()).where(CHUNKS.c.index_id == state.id)
    for document_id, count in rows.execute(query.group_by(CHUNKS.c.document_id)):
        counts[document_id] = count
    query = sa.select(DOCUMENTS.c.id, DOCUMENTS.c.num_chunks, DOCUMENTS.c.content_hash)
    known: dict[str, int] = {}
    for row in rows.execute(query.where(DOCUMENTS.c.index_id == state.id)):
        known[row.id] = row.num_chunks
        if not row.content_hash:
            yield row.id, "its repair was begun and not ended"
    for document_id, count in known.items():
        if count != counts.get(document_id, 0):
            yield document_id, f"has {counts.get(document_id, 0)} chunks and should have {count}"
    for document_id in counts.keys() - known.keys():
        yield document_id, "has chunks and is not there"
    for document_id, stored, counted in documents.recount(rows, state.id):
        if stored != counted:
            yield document_id, "its chunks are not those that were stored"
    for part in parts(known, 100):
        texts = {document.id: document.text for document in documents.load(rows, state.id, part)}
        for document_id in part:
            for chunk in chunks.of_document(rows, state.id, document_id):
                if texts[document_id][chunk.start : chunk.end] != chunk.text:
                    yield document_id, f"chunk {chunk.position} is not in its text"
    yield from _faulty_vectors(rows, state)


def _faulty_vectors(rows: sa.Connection, state: IndexState) -> Iterator[tuple[str, str]]:
    query = (
        sa.select(CHUNKS.c.document_id, CHUNKS.c.position, VECTORS.c.vector)
        .join_from(CHUNKS, VECTORS, VECTORS.c.number == CHUNKS.c.number, isouter=True)
        .where(CHUNKS.c.index_id == state.id)
    )
    size = None
    for part in rows.execute(query.execution_options(yield_per=BATCH)).partitions():
        for document_id, position, data in part:
            size = size or (len(data) if data else None)
            vector = np.frombuffer(data, dtype="<f4") if data and len(data) == size and size % 4 == 0 else None
            # A vector that is not finite has no length, and fails the comparison.
            if vector is None or not abs(float(np.linalg.norm(vector)) - 1) < _LENGTH_ERROR:
                yield document_id, f"chunk {position} has no valid vector"


def _count_stray(rows: sa.Connection, index_id: int) -> int:
    """Rows that foreign keys would have removed."""
    total = 0
    for table, condition in _STRAY:
        query = sa.select(sa.func.count()).select_from(table).where(table.c.index_id == index_id, condition)
        total += rows.execute(query).scalar_one()
    return total


def _count(rows: sa.Connection, state: IndexState) -> Tally:
    tally = Tally()
    for _, stored, _ in documents.recount(rows, state.id):
        tally += Tally(num_documents=1, content_sum=int(stored, 16))
    count = sa.select(sa.func.count()).select_from(CHUNKS).where(CHUNKS.c.index_id == state.id)
    seconds = sa.select(sa.func.coalesce(sa.func.sum(VECTORS.c.embed_s), 0.0)).where(VECTORS.c.index_id == state.id)
    return tally + Tally(num_chunks=rows.execute(count).scalar_one(), indexing_s=rows.execute(seconds).scalar_one())


def _faults_of_views(
    rows: sa.Connection, state: IndexState, dense: LiveView[Any], lexical: LiveView[Any]
) -> Iterator[str]:
    numbers = chunks.numbers(rows, state.id)
    for kind, what in ((dense, "vectors"), (lexical, "words")):
        # Through the file where there is one, so that it is the file that is compared.
        kind.forget()
        if kind.is_used and not np.array_equal(kind.current(rows, state).numbers, numbers):
            yield f"the view of {what} does not hold the chunks of the rows"
    if dense.is_used and len(numbers):
        view = dense.current(rows, state)
        sample = numbers[:: max(1, len(numbers) // _SAMPLE)]
        if np.isin(sample, view.numbers).all():
            found, vectors = chunks.vectors_of(rows, state.id, sample.tolist())
            if not np.allclose(view.vectors_of(found), vectors, atol=1e-5):
                yield "the view of vectors does not hold the vectors of the rows"


def _recall(rows: sa.Connection, state: IndexState, dense: LiveView[Any]) -> float | None:
    if not dense.is_used:
        return None
    measure = getattr(dense.current(rows, state), "recall", None)
    return None if measure is None else float(measure())


def _repair(store: Store, name: str, damaged: list[str], dense: LiveView[Any], lexical: LiveView[Any]) -> None:
    with store.write() as rows:
        state = indexes.lock(rows, name)
        if state is None:
            raise missing(name)
        for table, condition in _STRAY:
            rows.execute(table.delete().where(table.c.index_id == state.id, condition))
        documents.forget_chunks(rows, state.id, damaged)
        indexes.forget_generations(rows, state.id)
        indexes.advance(rows, state, _count(rows, state))
    used = [kind for kind in (dense, lexical) if kind.is_used]
    for kind in used:
        kind.forget()
        kind.remove_files()
    with store.read() as rows:
        state = indexes.state(rows, name)
        if state is None:
            raise missing(name)
        for kind in used:
            kind.current(rows, state)
    log.info("index=%s repaired; the chunks of %d documents were damaged", name, len(damaged))
