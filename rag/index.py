"""A named collection of chunks that can be searched.

index = Index.create(home, "faq", embedder, ChunkSettings())
index.sync(load_documents(Path("docs/")).documents)
passages = index.search("When does the loan desk open?", k=3)
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rag.chunking.chunk import Chunk, ChunkSettings
from rag.chunking.split import split_documents
from rag.documents.document import Document, content_hash
from rag.embedding.embedder import Embedder
from rag.embedding.embeddings import embed_chunks, text_hash
from rag.errors import RagError
from rag.passage import Passage
from rag.search.dense import View
from rag.store.rows import Conflict, Embedding, IndexState, Rows, Store, advice, sqlite_url

DATABASE = "rag.sqlite"

_NAME = re.compile(r"(?!\.+$)[A-Za-z0-9._-]{1,100}")
_QUERY_CACHE = 1024

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a sync did: documents added, updated (content, embedder or chunk settings changed), removed and unchanged.

    `num_chunks` is what the index holds now, `embedded_chunks` how many texts went through the embedder in this run.
    """

    added: int
    updated: int
    removed: int
    unchanged: int
    num_chunks: int
    embedded_chunks: int
    seconds: float


@dataclass(frozen=True, slots=True)
class _Plan:
    """What separates the rows, as they were at `state`, from the documents that are wanted."""

    state: IndexState | None
    hashes: dict[str, str]
    changed: list[Document]
    added: int
    gone: list[str]
    removed: int


class Index:
    """An index of a home, shared by threads and processes: each search sees the newest committed content, whole."""

    def __init__(self, home: Path, name: str, embedder: Embedder, settings: ChunkSettings, store: Store) -> None:
        """For `open` and `create`, which check that the parts belong together."""
        self._name = name
        self._embedder = embedder
        self._settings = settings
        self._store = store
        self._folder = home / "indexes" / name
        self._view: View | None = None
        self._view_lock = threading.Lock()
        self._query_vector = lru_cache(maxsize=_QUERY_CACHE)(self._embed_query)

    @classmethod
    def open(cls, home: Path, name: str, embedder: Embedder) -> Index:
        """The existing index. Raises RagError if there is none, or if another embedder built it."""
        _check_name(name)
        if not (home / DATABASE).is_file():
            raise _missing(name)
        store = Store(sqlite_url(home / DATABASE))
        with store.read() as rows:
            state = rows.state(name)
        if state is None:
            raise _missing(name)
        _check_embedder(state, embedder)
        return cls(home, name, embedder, state.settings, store)

    @classmethod
    def create(cls, home: Path, name: str, embedder: Embedder, settings: ChunkSettings) -> Index:
        """The index, new or existing; nothing is written to it before `sync`.

        An index of another embedder or other settings is built anew by the next `sync`, and is as it was until then.
        """
        _check_name(name)
        try:
            home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RagError(f"data directory {str(home)!r} cannot be made: {advice(error)}") from error
        return cls(home, name, embedder, settings, Store(sqlite_url(home / DATABASE)))

    @property
    def name(self) -> str:
        return self._name

    @property
    def num_chunks(self) -> int:
        state = self._state()
        return state.num_chunks if state else 0

    @property
    def num_documents(self) -> int:
        state = self._state()
        return state.num_documents if state else 0

    @property
    def indexing_s(self) -> float:
        """Seconds that embedding the present content took, in whatever runs."""
        state = self._state()
        return state.indexing_s if state else 0.0

    @property
    def generation(self) -> int:
        """Number of changes so far; 0 before the first sync."""
        state = self._state()
        return state.generation if state else 0

    @property
    def version(self) -> str:
        """Hash (hex) of embedder, chunk settings and content: equal content has an equal version, whatever its history.

        '' before the first sync.
        """
        state = self._state()
        return state.version if state else ""

    def sync(self, documents: Iterable[Document], *, progress: Callable[[int, int], None] | None = None) -> SyncReport:
        """Makes the content equal to `documents`: new ones are added, changed ones replaced, missing ones removed.

        Nothing is written if nothing changed. Otherwise everything changes in one transaction at the end; a run that
        is stopped before leaves the old content, and the next run embeds only what that one had not. `progress(done,
        total)` counts the texts embedded. Raises RagError, with the old content intact, for documents that share an id,
        documents that cannot be stored, and a disk that is full.
        """
        started = time.perf_counter()
        wanted = _by_id(documents)
        hashes = {document_id: content_hash(document) for document_id, document in wanted.items()}
        embedded = 0
        while True:
            plan = self._plan(wanted, hashes)
            if plan is not None:
                chunks = split_documents(plan.changed, self._settings, self._embedder.count_tokens)
                embeddings, newly_embedded = embed_chunks(
                    chunks, self._embedder, self._store, index_name=self._name, progress=progress
                )
                embedded += newly_embedded
                try:
                    self._commit(plan, chunks, embeddings)
                except Conflict:
                    log.info("index=%s changed during a sync; comparing again", self._name)
                    continue
            return SyncReport(
                added=plan.added if plan else 0,
                updated=len(plan.changed) - plan.added if plan else 0,
                removed=plan.removed if plan else 0,
                unchanged=len(wanted) - (len(plan.changed) if plan else 0),
                num_chunks=self.num_chunks,
                embedded_chunks=embedded,
                seconds=time.perf_counter() - started,
            )

    def search(self, query: str, k: int) -> tuple[Passage, ...]:
        """The k passages nearest to the query, best first; fewer if the index holds fewer.

        Equal scores are in the order of document id and position. Raises RagError if k is below 1, or if the index is
        gone or was rebuilt with another embedder.
        """
        if k < 1:
            raise RagError(f"k must be at least 1, not {k!r}")
        vector = self._query_vector(query)
        with self._store.read() as rows:
            state = rows.state(self._name)
            if state is None:
                raise _missing(self._name)
            _check_embedder(state, self._embedder)
            hits = self._current_view(rows, state).search(vector, k)
            chunks = rows.chunks(state.id, [chunk_id for chunk_id, _ in hits])
        return tuple(
            Passage(
                chunk_id=chunk_id,
                document_id=chunks[chunk_id].document_id,
                title=chunks[chunk_id].title,
                text=chunks[chunk_id].text,
                score=score,
                rank=rank,
                metadata=chunks[chunk_id].metadata,
            )
            for rank, (chunk_id, score) in enumerate(hits, start=1)
        )

    def chunks_of(self, document_id: str) -> tuple[Chunk, ...]:
        """A document's chunks in the order of their position; none if the document is not in the index."""
        with self._store.read() as rows:
            state = rows.state(self._name)
            return tuple(rows.chunks_of(state.id, document_id)) if state else ()

    def close(self) -> None:
        """Closes the database connections; the next call opens new ones."""
        self._store.close()

    def _state(self) -> IndexState | None:
        with self._store.read() as rows:
            return rows.state(self._name)

    def _plan(self, wanted: Mapping[str, Document], hashes: dict[str, str]) -> _Plan | None:
        """What has to be done, or None if that is nothing."""
        with self._store.read() as rows:
            state = rows.state(self._name)
            present = rows.content_hashes(state.id) if state else {}
        is_stale = state is not None and (state.embedder, state.settings) != (self._embedder.name, self._settings)
        changed = [document for key, document in wanted.items() if is_stale or present.get(key) != hashes[key]]
        removed = present.keys() - wanted.keys()
        if state is not None and not is_stale and not changed and not removed:
            return None
        return _Plan(
            state=state,
            hashes=hashes,
            changed=changed,
            added=sum(document.id not in present for document in changed),
            gone=sorted(removed | (present.keys() & {document.id for document in changed})),
            removed=len(removed),
        )

    def _commit(self, plan: _Plan, chunks: list[Chunk], embeddings: Mapping[str, Embedding]) -> None:
        """The whole change in one transaction, its view's file included. Raises Conflict if the plan is outdated."""
        keys = [text_hash(chunk) for chunk in chunks]
        with self._store.write() as rows:
            state = rows.advance(self._name, plan.state, self._embedder.name, self._settings)
            rows.delete_documents(state.id, plan.gone)
            rows.insert_documents(state.id, ((document, plan.hashes[document.id]) for document in plan.changed))
            rows.insert_chunks(
                state.id, ((chunk, key, embeddings[key]) for chunk, key in zip(chunks, keys, strict=True))
            )
            rows.drop_pending(self._name)
            version = self._version_of(rows, state.id)
            rows.summarise(state.id, version)
            view = View.build(version, state.generation, rows.chunk_ids(state.id), rows.vectors(state.id))
            # Before the commit: a full disk then leaves the old state, and a reader never finds rows without a view.
            file = self._view_file(state.generation)
            try:
                view.save(file)
            except OSError as error:
                raise RagError(f"{str(file)!r} cannot be written: {advice(error)}") from error
        self._view = view
        self._remove_old_views(state.generation)

    def _version_of(self, rows: Rows, index_id: int) -> str:
        settings = self._settings
        content = [
            self._embedder.name,
            settings.chunk_tokens,
            settings.overlap_tokens,
            sorted(rows.content_hashes(index_id).items()),
            sorted(rows.chunk_ids(index_id)),
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]

    def _current_view(self, rows: Rows, state: IndexState) -> View:
        view = self._view
        if view and (view.generation, view.version) == (state.generation, state.version):
            return view
        with self._view_lock:
            view = self._view
            if view and (view.generation, view.version) == (state.generation, state.version):
                return view
            file = self._view_file(state.generation)
            chunk_ids = rows.chunk_ids(state.id)
            view = View.load(file, state.version, state.generation, chunk_ids)
            if view is None:
                view = View.build(state.version, state.generation, chunk_ids, rows.vectors(state.id))
                log.info("index=%s generation=%d view rebuilt from rows", self._name, state.generation)
                # The rows are enough to search; a reader may lack the room or the right to write.
                with contextlib.suppress(OSError):
                    view.save(file)
            self._view = view
            return view

    def _view_file(self, generation: int) -> Path:
        return self._folder / f"{generation}.faiss"

    def _remove_old_views(self, generation: int) -> None:
        for file in (*self._folder.glob("*.faiss"), *self._folder.glob("*.faiss.tmp")):
            number = file.name.split(".", 1)[0]
            if number.isdecimal() and int(number) < generation:
                with contextlib.suppress(OSError):
                    file.unlink()

    def _embed_query(self, query: str) -> NDArray[np.float32]:
        # A lone surrogate, which JSON can carry, is no text for a tokenizer.
        clean = query.encode("utf-8", "replace").decode()
        vector: NDArray[np.float32] = self._embedder.embed([clean])[0]
        return vector


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise RagError(f"index name {name!r} is not possible; use up to 100 letters, digits and the signs . _ -")


def _missing(name: str) -> RagError:
    return RagError(f"no index {name!r}; create it with: arbiter index DOCUMENTS --name {name}")


def _check_embedder(state: IndexState, embedder: Embedder) -> None:
    if state.embedder != embedder.name:
        raise RagError(
            f"index {state.name!r} was built with embedder {state.embedder!r}, not {embedder.name!r}; use that one, "
            f"or build it anew with: arbiter index DOCUMENTS --name {state.name}"
        )


def _by_id(documents: Iterable[Document]) -> dict[str, Document]:
    found: dict[str, Document] = {}
    for document in documents:
        if found.setdefault(document.id, document) != document:
            raise RagError(f"two different documents have the id {document.id!r}; give each an id of its own")
    return found
