"""Whether an index is what it should be, row by row: `verify(store, "faq", dense, lexical)`."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import sqlalchemy as sa

from rag.chunking.duplicates import near_duplicates
from rag.indexing import Progress
from rag.store import chunks, faults, indexes
from rag.store.indexes import IndexState, Tally
from rag.views import LiveView
from storage.database import Database

_SHOWN = 3
_SAMPLE = 200
# Chunks that are compared with each other: 100,000 take 20 s and 350 MB.
_MOST_COMPARED = 100_000

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
    store: Database,
    name: str,
    dense: LiveView[Any],
    lexical: LiveView[Any],
    *,
    repair: bool = False,
    progress: Progress | None = None,
) -> VerifyReport:
    """Checks the rows of an index against one another, and its view files against the rows; writes nothing.

    `repair` counts anew, builds the views anew, and removes the chunks of documents whose rows are damaged, so that
    these can be added again. `progress(done, total)` counts chunks, twice if they are compared with each other too.
    Raises RagError if there is no such index.
    """
    with store.read() as rows:
        state = indexes.existing(rows, name)
        damaged: dict[str, str] = {}
        tally = Tally()
        is_compared = state.num_chunks <= _MOST_COMPARED
        total = state.num_chunks * (2 if is_compared else 1)
        for document_id, counted, fault in faults.check(rows, state.id):
            tally += counted
            if fault:
                damaged[document_id] = fault
            if progress:
                progress(min(tally.num_chunks, state.num_chunks), total)
        problems = [f"document {document_id!r}: {fault}" for document_id, fault in list(damaged.items())[:_SHOWN]]
        if len(damaged) > _SHOWN:
            problems.append(f"{len(damaged) - _SHOWN} more documents are damaged")
        if stray := faults.count_stray(rows, state.id):
            problems.append(f"{stray} rows are of documents or chunks that are not there")
        if replace(tally, indexing_s=state.indexing_s) != state.tally:
            problems.append(
                f"the index counts {state.num_documents} documents and {state.num_chunks} chunks, its rows are "
                f"{tally.num_documents} and {tally.num_chunks}, or their sums differ"
            )
        files = dense.damaged_files(rows, state) + lexical.damaged_files(rows, state)
        problems += [f"view file {file!r} is damaged, or not of this index" for file in files]
        recall, repeated = None, None
        if not (damaged or stray):
            faults_of_views, recall = _check_views(rows, state, dense, lexical)
            problems += faults_of_views
            repeated = _near_duplicates(rows, state) if is_compared else None
    if progress:
        progress(total, total)
    if repair and problems:
        _repair(store, name, list(damaged), dense, lexical)
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


def _check_views(
    rows: sa.Connection, state: IndexState, dense: LiveView[Any], lexical: LiveView[Any]
) -> tuple[list[str], float | None]:
    """What is wrong with the newest files, which stay as they are, and the recall of the one of vectors."""
    problems, recall = [], None
    numbers = chunks.numbers(rows, state.id)
    for kind, what in ((dense, "vectors"), (lexical, "words")):
        found = kind.load_newest(rows, state)
        if found is None:
            continue
        view, generation = found
        # What came and went since the file was written is no fault of it.
        kept = np.setdiff1d(numbers, chunks.numbers(rows, state.id, generation))
        if not np.array_equal(np.setdiff1d(view.numbers, chunks.removed_since(rows, state.id, generation)), kept):
            problems.append(f"the view of {what} does not hold the chunks of the rows")
        elif kind is dense:
            stored, vectors = chunks.vectors_of(rows, state.id, kept[:: max(1, len(kept) // _SAMPLE)].tolist())
            if len(stored) and not np.allclose(view.vectors_of(stored), vectors, atol=1e-5):
                problems.append("the view of vectors does not hold the vectors of the rows")
            recall = view.recall()
    return problems, recall


def _near_duplicates(rows: sa.Connection, state: IndexState) -> tuple[NearDuplicate, ...]:
    numbered = dict(chunks.stream(rows, state.id))
    found = near_duplicates(list(numbered), [chunk.text for chunk in numbered.values()])
    return tuple(
        NearDuplicate(repeating.document_id, repeating.page, original.document_id, original.page, similarity)
        for repeating, original, similarity in ((numbered[number], numbered[of], like) for number, of, like in found)
    )


def _repair(store: Database, name: str, damaged: list[str], dense: LiveView[Any], lexical: LiveView[Any]) -> None:
    with store.write_beside() as rows:
        state = indexes.existing(rows, name, is_locked=True)
        tally = faults.mend(rows, state.id, damaged)
        indexes.forget_generations(rows, state.id)
        indexes.advance(rows, state, tally)
    used = [kind for kind in (dense, lexical) if kind.is_used]
    for kind in used:
        kind.forget()
        kind.remove_files()
    with store.read() as rows:
        state = indexes.existing(rows, name)
        for kind in used:
            kind.keep_up(rows, state)
    log.info("index=%s repaired; the chunks of %d documents were damaged", name, len(damaged))
