"""The write side of an index: `Indexing(store, "faq", embedder, settings).apply(documents, is_whole=True)`.

What is expensive, cutting and embedding, happens outside of any transaction; the change itself is one transaction.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TypedDict, Unpack

import sqlalchemy as sa

from rag.chunking.chunk import ChunkSettings
from rag.chunking.split import split_documents
from rag.documents.document import Document, content_hash
from rag.embedding.embedder import Embedder
from rag.embedding.embeddings import embed_chunks, text_hash
from rag.errors import RagError
from rag.search.numbers import Numbers
from rag.store import chunks, documents, indexes, pending
from rag.store.documents import Prepared, Present
from rag.store.indexes import IndexState, Tally
from rag.store.pending import Embedding
from rag.store.schema import INDEXES
from storage.database import Database

Progress = Callable[[int, int], None]


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


class Overtaken(RagError):
    """Another writer has stored a document under an id that was free when the caller looked; look again."""


class WriteOptions(TypedDict, total=False):
    """What a change may be given besides the documents."""

    origin: str
    """Names what the documents were read from; '' by default."""

    replacing: Collection[str] | None
    """The documents of other origins that may be replaced, None (the default) for all."""

    progress: Progress | None
    """Called as (done, total) with the texts that are embedded; what it raises ends the change, and nothing is changed.
    """


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the caller gave. `is_whole`: the documents of the origin that are not among these go.

    `renewed`: stored documents that are cut and embedded again if they still wait for the end of a repair.
    """

    documents: Mapping[str, Document]
    hashes: Mapping[str, str]
    is_whole: bool = False
    renewed: Collection[str] = ()
    origin: str = ""
    replacing: Collection[str] | None = None
    progress: Progress | None = None


@dataclass(frozen=True, slots=True)
class _Plan:
    """What separates the rows, as a transaction sees them, from what is wanted."""

    is_new: bool
    """Whether there is no such index yet, or one of another embedder or other chunk settings."""

    stored: dict[str, Present]
    """Documents that have to be stored (again), with what they are stored as."""

    present: Collection[str]
    """Those of them that are there already, as they were."""

    removed: Collection[str]
    adopted: list[str]
    """Unchanged documents that were another origin's."""


@dataclass(slots=True)
class _Ready:
    """What was cut and embedded so far: documents by id, vectors by hash of the text."""

    documents: dict[str, Prepared] = field(default_factory=dict)
    embeddings: dict[str, Embedding] = field(default_factory=dict)
    num_embedded: int = 0

    def lacks(self, key: str, plan: _Plan) -> bool:
        return key not in self.documents or self.documents[key].content_hash != plan.stored[key].content_hash


@dataclass(frozen=True, slots=True)
class Indexing:
    """Changes to one index, safe to make from several threads and processes at once."""

    store: Database
    name: str
    embedder: Embedder
    settings: ChunkSettings
    oldest_file: Callable[[], int | None] = lambda: None
    """Gives the generation of the oldest view file: changes up to it need not be known."""

    def apply(self, given: Iterable[Document], *, is_whole: bool, **options: Unpack[WriteOptions]) -> SyncReport:
        """Stores the documents; see `Index.sync` and `Index.add`."""
        by_id: dict[str, Document] = {}
        for document in given:
            if by_id.setdefault(document.id, document) != document:
                raise RagError(f"two different documents have the id {document.id!r}; give each an id of its own")
        hashes = {key: content_hash(document) for key, document in by_id.items()}
        return self._apply(_Wanted(by_id, hashes, is_whole, **options))

    def renew(self, document_ids: Collection[str], *, progress: Progress | None) -> None:
        """Ends the repair of documents: cuts and embeds them again from their stored text.

        Those that are gone, or that others have stored anew meanwhile, stay as they are.
        """
        self._apply(_Wanted({}, {}, renewed=set(document_ids), progress=progress))

    def _apply(self, wanted: _Wanted) -> SyncReport:
        started = time.perf_counter()
        ready = _Ready()
        while True:
            with self.store.read() as rows:
                state = indexes.state(rows, self.name)
                plan = self._plan(rows, state, wanted)
            if state is not None and not (plan.is_new or plan.stored or plan.removed or plan.adopted):
                break
            self._prepare(state, plan, wanted, ready)
            num_chunks = sum(len(entry.chunks) for entry in ready.documents.values())
            numbers = chunks.take_numbers(self.store, num_chunks) if num_chunks else range(0)
            with self.store.write_beside() as rows:
                state = indexes.state(rows, self.name, is_locked=True)
                # What others have committed in the meantime may call for more, or for less.
                plan = self._plan(rows, state, wanted)
                if any(ready.lacks(key, plan) for key in plan.stored):
                    continue
                state = state or indexes.create(rows, self.name, self.embedder.name, self.settings)
                if state is None:
                    continue
                state = self._store_plan(rows, state, plan, wanted, ready, numbers)
                indexes.prune(rows, state, self.oldest_file())
            break
        return SyncReport(
            added=len(plan.stored) - len(plan.present),
            updated=len(plan.present),
            removed=len(plan.removed),
            unchanged=len(wanted.documents.keys() - plan.stored.keys()),
            num_chunks=state.num_chunks,
            embedded_chunks=ready.num_embedded,
            seconds=time.perf_counter() - started,
        )

    def delete(self, document_ids: Iterable[str]) -> int:
        """Removes the documents; gives how many of them there were. Raises RagError if there is no such index."""
        with self.store.write_beside() as rows:
            state = indexes.existing(rows, self.name, is_locked=True)
            present = documents.present(rows, state.id, document_ids)
            if present:
                gone = documents.delete(rows, state.id, present, state.generation + 1)
                for origin in {document.origin for document in present.values()}:
                    # Vectors of these documents may be among those that a killed run has kept.
                    pending.drop(rows, self.name, origin=origin)
                indexes.prune(rows, indexes.advance(rows, state, state.tally - gone), self.oldest_file())
        return len(present)

    def set_metadata(self, document_id: str, metadata: Mapping[str, object]) -> None:
        """Replaces a document's metadata. Raises RagError if there is no such document or the metadata is no JSON."""
        with self.store.write_beside() as rows:
            state = indexes.existing(rows, self.name, is_locked=True)
            document = next(documents.load(rows, state.id, [document_id]), None)
            if document is None:
                raise RagError(f"no document {document_id!r} in index {self.name!r}")
            changed = replace(document, metadata=dict(metadata))
            chunk_ids = [chunk.id for chunk in chunks.of_document(rows, state.id, document_id)]
            difference = documents.replace_metadata(rows, state.id, changed, chunk_ids)
            indexes.advance(rows, state, state.tally + difference)

    def drop(self) -> Numbers:
        """Removes the index with everything in it, and what killed runs have kept for it; gives its chunks' numbers."""
        with self.store.write_beside() as rows:
            state = indexes.state(rows, self.name, is_locked=True)
            numbers = chunks.as_numbers(()) if state is None else chunks.numbers(rows, state.id)
            if state is not None:
                rows.execute(INDEXES.delete().where(INDEXES.c.id == state.id))
            pending.drop(rows, self.name)
        return numbers

    def _plan(self, rows: sa.Connection, state: IndexState | None, wanted: _Wanted) -> _Plan:
        present: dict[str, Present] = {}
        is_stale = state is not None and (state.embedder, state.settings) != (self.embedder.name, self.settings)
        if state is not None:
            if is_stale or wanted.is_whole:
                present = documents.present_of_origin(rows, state.id, None if is_stale else wanted.origin)
            present |= documents.present(rows, state.id, {*wanted.hashes, *wanted.renewed} - present.keys())
        elif wanted.renewed:
            indexes.existing(rows, self.name)  # Raises: a repair begins nothing anew.
        removed = set()
        if wanted.is_whole:
            removed = {key for key, found in present.items() if found.origin == wanted.origin} - wanted.documents.keys()
        stored, adopted = {}, []
        for key, hashed in wanted.hashes.items():
            found = present.get(key, Present(wanted.origin, ""))
            is_others = found.origin not in ("", wanted.origin)
            if is_others and wanted.replacing is not None and key not in wanted.replacing:
                raise Overtaken(f"document {key!r} came in from {found.origin} meanwhile; run the command again")
            if is_stale or found.content_hash != hashed:
                stored[key] = Present(wanted.origin, hashed)
            elif found.origin != wanted.origin:
                adopted.append(key)
        # Nobody gives these again: they are cut and embedded anew from their stored text.
        for key in present.keys() - stored.keys() - removed:
            if is_stale or (key in wanted.renewed and not present[key].content_hash):
                stored[key] = present[key]
        return _Plan(state is None or is_stale, stored, present.keys() & stored.keys(), removed, adopted)

    def _prepare(self, state: IndexState | None, plan: _Plan, wanted: _Wanted, ready: _Ready) -> None:
        """Cuts and embeds what the plan needs and is not ready yet."""
        lacking = [key for key in plan.stored if ready.lacks(key, plan)]
        found = {
            key: wanted.documents[key] for key in lacking if wanted.hashes.get(key) == plan.stored[key].content_hash
        }
        others = [key for key in lacking if key not in found]
        if others and state is not None:
            with self.store.read() as rows:
                found.update((document.id, document) for document in documents.load(rows, state.id, others))
        cut = {key: split_documents([found[key]], self.settings, self.embedder.token_spans) for key in found}
        made, num_embedded = embed_chunks(
            chain.from_iterable(cut.values()),
            self.embedder,
            self.store,
            index_name=self.name,
            origin=wanted.origin,
            progress=wanted.progress,
        )
        ready.embeddings |= made
        ready.num_embedded += num_embedded
        for key, document in found.items():
            ready.documents[key] = Prepared(document, plan.stored[key].content_hash, cut[key])

    def _store_plan(
        self, rows: sa.Connection, state: IndexState, plan: _Plan, wanted: _Wanted, ready: _Ready, numbers: range
    ) -> IndexState:
        generation = state.generation + 1
        gone = documents.delete(rows, state.id, sorted({*plan.removed, *plan.present}), generation)
        # In the order of their ids, so that equal scores come in an order that can be foretold.
        entries = [ready.documents[key] for key in sorted(plan.stored)]
        added = documents.insert(rows, state.id, entries, plan.stored)
        hashed = ((chunk, text_hash(chunk)) for entry in entries for chunk in entry.chunks)
        numbered = ((number, chunk, key) for number, (chunk, key) in zip(numbers, hashed, strict=False))
        seconds = chunks.insert(rows, state.id, generation, numbered, ready.embeddings)
        documents.adopt(rows, state.id, plan.adopted, wanted.origin)
        if wanted.is_whole:
            pending.drop(rows, self.name, origin=wanted.origin)
        else:
            pending.drop_texts(rows, self.name, wanted.origin, self.embedder.name, ready.embeddings)
        if state.embedder != self.embedder.name:
            indexes.forget_generations(rows, state.id)
        tally = state.tally - gone + added + Tally(indexing_s=seconds)
        made = replace(state, embedder=self.embedder.name, settings=self.settings)
        return indexes.advance(rows, made, tally)
