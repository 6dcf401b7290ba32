"""A named collection of chunks that can be searched.

index = IndexHome(home).create("faq", embedder)
index.sync(load_documents(Path("docs/")).documents)
passages = index.search("When does the loan desk open?", k=3)
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Unpack

import sqlalchemy as sa

from rag.chunking.chunk import Chunk, ChunkSettings, embedding_text
from rag.documents.clean import clean
from rag.documents.document import Document
from rag.embedding.embedder import Embedder
from rag.errors import RagError
from rag.indexing import Indexing, Progress, SyncReport, WriteOptions
from rag.passage import Passage
from rag.search.dense import DenseView
from rag.search.filters import Filter
from rag.search.numbers import Numbers
from rag.search.ranking import load_reranker, retrieve
from rag.search.settings import MAX_TOP_K, SearchSettings
from rag.store import chunks, documents, indexes
from rag.store.documents import DocumentEntry
from rag.store.indexes import IndexState
from rag.verification import VerifyReport, verify
from rag.views import Outdated, VectorViews, live_vectors, live_words
from rag.widening import passages_of
from storage.database import Database
from storage.errors import ArbiterError

__all__ = ["DocumentEntry", "Index", "IndexState", "SyncReport", "VerifyReport"]

_QUERY_CACHE = 1024
_FILTER_CACHE = 8
# A search that another thread overtakes starts again; a database that was put back to an older copy looks the same.
_ATTEMPTS = 5

log = logging.getLogger(__name__)


class OtherEmbedder(RagError):
    """The index was built with another embedder than the one that it is opened with; `fault` says so alone."""

    def __init__(self, state: IndexState, embedder: str) -> None:
        self.fault = f"index {state.name!r} was built with embedder {state.embedder!r}, not {embedder!r}"
        super().__init__(f"{self.fault}; use that one, or build it anew with: arbiter index update {state.name} FOLDER")


class Index:
    """An index of a home, shared by threads and processes: each search sees the newest committed content, whole.

    `chunk_settings` say how the next `sync` or `add` cuts documents.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        embedder: Embedder,
        chunk_settings: ChunkSettings,
        store: Database,
        *,
        settings: SearchSettings = SearchSettings(),
        views: VectorViews | None = None,
    ) -> None:
        """For `IndexHome`, which checks that the parts belong together. `folder` is that of its view files.

        `settings` are those of its searches; `views` puts another vector store in the place of FAISS.
        """
        self.name = name
        self.chunk_settings = chunk_settings
        self._embedder = embedder
        self._settings = settings
        self._store = store
        self._folder = folder
        self._indexing = Indexing(store, name, embedder, chunk_settings, self._oldest_file)
        self._other_store = views
        self._dense = live_vectors(folder, views or DenseView)
        self._lexical = live_words(folder)
        self._views = (self._dense, self._lexical)
        self._query_vector = lru_cache(maxsize=_QUERY_CACHE)(lambda query: embedder.embed_query(query))
        self._allowed: dict[tuple[str, str], Numbers] = {}

    @property
    def state(self) -> IndexState:
        """What it was built with and holds now: an empty one of generation 0 before the first change."""
        with self._store.read() as rows:
            found = indexes.state(rows, self.name)
        return found or IndexState(0, self.name, self._embedder.name, self.chunk_settings)

    def sync(self, given: Iterable[Document], **options: Unpack[WriteOptions]) -> SyncReport:
        """Makes the documents of an origin equal to these, in one transaction; those of other origins stay.

        Unchanged documents cost a hash, a changed one is replaced, one that is not given is removed. Texts that were
        embedded before, in any index or interrupted run, are not embedded again.

        Raises Overtaken, without any change, when a document of another origin would be replaced that may not be;
        RagError for two documents that share an id, for documents that cannot be stored, and for a disk that is full.
        """
        return self._apply(given, is_whole=True, **options)

    def add(self, given: Iterable[Document], **options: Unpack[WriteOptions]) -> SyncReport:
        """Stores these documents, in one transaction, in place of those with the same ids; all others stay."""
        return self._apply(given, is_whole=False, **options)

    def delete(self, document_ids: Iterable[str]) -> int:
        """Removes documents; gives how many of them there were. No search that begins afterwards finds them."""
        deleted = self._indexing.delete(list(document_ids))
        if deleted:
            self._keep_up()
        return deleted

    def set_metadata(self, document_id: str, metadata: Mapping[str, object]) -> None:
        """Replaces a document's metadata without cutting or embedding anything. Raises RagError if there is none."""
        self._indexing.set_metadata(document_id, metadata)

    def search(
        self, query: str, k: int, *, settings: SearchSettings | None = None, filters: Filter | None = None
    ) -> tuple[Passage, ...]:
        """The k best passages for the query, best first; fewer if fewer are found.

        `settings` say how they are ranked, in place of the index's own; `filters` which documents they may be of. Equal
        scores are in the order of document id and position. A passage that lies within a better one is left out.
        Raises RagError if k is not from 1 to MAX_TOP_K, or if the index is gone or was rebuilt with another embedder.
        """
        if not 1 <= k <= MAX_TOP_K:
            raise RagError(f"k must be from 1 to {MAX_TOP_K}, not {k!r}")
        settings = settings or self._settings
        query = clean(query)
        if settings.mode != "bm25":
            self._query_vector(query)  # Now, and not while the transaction is open.
        if settings.reranker is not None:
            load_reranker(settings.reranker)
        for attempt in range(_ATTEMPTS + 1):
            if attempt == _ATTEMPTS:
                for view in self._views:
                    view.forget()
            with contextlib.suppress(Outdated):
                return self._search(query, k, settings, filters)
        raise RagError(f"index {self.name!r} changes faster than it can be searched; search again")

    def documents(self, *, limit: int | None = 100, after: str | None = None) -> list[DocumentEntry]:
        """Up to `limit` documents in the order of their ids, None for all, those behind the id `after`."""
        with self._store.read() as rows:
            return documents.entries(rows, indexes.existing(rows, self.name).id, limit=limit, after=after)

    def document(self, document_id: str) -> Document | None:
        """The document, whole, or None if it is not in the index."""
        with self._store.read() as rows:
            return next(documents.load(rows, indexes.existing(rows, self.name).id, [document_id]), None)

    def chunks_of(self, document_id: str) -> tuple[Chunk, ...]:
        """A document's chunks in the order of their position; none if the document is not in the index."""
        with self._store.read() as rows:
            state = indexes.state(rows, self.name)
            return tuple(chunks.of_document(rows, state.id, document_id)) if state else ()

    def passage_of(self, chunk: Chunk, *, settings: SearchSettings | None = None) -> Passage:
        """The chunk as a search with these settings gives it, with as much around it; its score is 0 and its rank 1."""
        neighbours = (settings or self._settings).neighbours
        with self._store.read() as rows:
            (passage,) = passages_of(
                rows, indexes.existing(rows, self.name).id, [(chunk, 0.0)], 1, neighbours=neighbours
            )
        return passage

    def export(self) -> Iterator[dict[str, object]]:
        """Every document as a row {id, title, text, metadata} of JSON, which `load_documents` reads again."""
        with self._store.read() as rows:
            for document in documents.stream(rows, indexes.existing(rows, self.name).id):
                metadata = dict(document.metadata)
                if document.source:
                    metadata.setdefault("source", document.source)
                yield {"id": document.id, "title": document.title, "text": document.text, "metadata": metadata}

    def verify(self, *, repair: bool = False, progress: Progress | None = None) -> VerifyReport:
        """Checks every row and every view file; `progress(done, total)` counts chunks.

        `repair` counts anew, builds the views anew, and cuts and embeds documents with damaged rows again from their
        stored text.
        """
        used = [view for view in self._views if view.is_used]
        report = verify(self._store, self.name, self._views, repair=repair, progress=progress)
        if repair and report.damaged:
            self._indexing.renew(report.damaged, progress=progress)
        if report.repaired:
            self._keep_up(used)
        return report

    def drop(self) -> None:
        """Removes the index: its documents, vectors and files."""
        numbers = self._indexing.drop()
        if self._other_store is not None:
            try:
                self._other_store.clear(numbers)
            except RagError as error:
                # The index is gone; what a store that is away still holds belongs to no chunk.
                log.warning("index=%s its vectors could not be cleared: %s", self.name, error)
        for view in self._views:
            view.forget()
        shutil.rmtree(self._folder, ignore_errors=True)

    def close(self) -> None:
        """Closes connections; the next call, of this index or another that shares them, opens new ones."""
        if self._other_store is not None:
            self._other_store.close()
        self._store.close()

    def _apply(self, given: Iterable[Document], *, is_whole: bool, **options: Unpack[WriteOptions]) -> SyncReport:
        report = self._indexing.apply(given, is_whole=is_whole, **options)
        if report.added or report.updated or report.removed:
            self._keep_up()
        return report

    def _search(self, query: str, k: int, settings: SearchSettings, filters: Filter | None) -> tuple[Passage, ...]:
        with self._store.read() as rows:
            state = indexes.existing(rows, self.name)
            check_embedder(state, self._embedder)
            stored: dict[int, Chunk] = {}

            def texts_of(numbers: Sequence[int]) -> list[str]:
                stored.update(chunks.of_numbers(rows, state.id, [n for n in numbers if n not in stored]))
                return [embedding_text(stored[number]) if number in stored else "" for number in numbers]

            is_widened = settings.neighbours > 0 or state.settings.strategy == "parent_child"
            hits = retrieve(
                query,
                lambda: self._query_vector(query),
                # Widened passages may hold one another.
                min(3 * k, MAX_TOP_K) if is_widened else k,
                settings,
                dense=lambda: self._dense.current(rows, state),
                lexical=lambda: self._lexical.current(rows, state),
                allowed=None if filters is None else self._allowed_numbers(rows, state, filters),
                texts_of=texts_of,
            )
            # From the rows of this transaction: what a view still holds of a deleted document is not given out.
            texts_of([number for number, _ in hits])
            found = [(stored[number], score) for number, score in hits if number in stored]
            return passages_of(rows, state.id, found, k, neighbours=settings.neighbours)

    def _allowed_numbers(self, rows: sa.Connection, state: IndexState, filters: Filter) -> Numbers:
        """The chunks that the filter lets through; the last filters of this generation are remembered."""
        # As it prints: in Python, filters for true and for 1 are equal.
        key = (state.token, repr(filters))
        if (allowed := self._allowed.get(key)) is None:
            allowed = chunks.allowed_numbers(rows, state.id, filters)
            self._allowed = dict([*self._allowed.items(), (key, allowed)][-_FILTER_CACHE:])
        return allowed

    def _keep_up(self, used: Collection[object] = ()) -> None:
        """Brings the views that are in use up to date. The change is committed: no failure here can take it back."""
        try:
            with self._store.read() as rows:
                state = indexes.existing(rows, self.name)
                if self._settings.mode != "bm25" or self._dense.is_used or self._dense in used:
                    self._dense.keep_up(rows, state)
                if self._settings.mode != "dense" or self._lexical.is_used or self._lexical in used:
                    self._lexical.keep_up(rows, state)
        except ArbiterError as error:
            log.warning("index=%s the views are not up to date yet: %s", self.name, error)

    def _oldest_file(self) -> int | None:
        oldest = [view.oldest_file() for view in self._views]
        return min((generation for generation in oldest if generation is not None), default=None)


def check_embedder(state: IndexState, embedder: Embedder) -> None:
    """Raises OtherEmbedder."""
    if state.embedder != embedder.name:
        raise OtherEmbedder(state, embedder.name)
