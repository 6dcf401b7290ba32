"""The write side of an index: `Indexing(store, "faq", embedder, settings).apply(documents, is_whole=True)`.

What is expensive, cutting and embedding, happens outside of any transaction; the change itself is one transaction.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace

import sqlalchemy as sa

from rag.chunking.chunk import ChunkSettings
from rag.chunking.split import split_documents
from rag.documents.document import Document, content_hash
from rag.embedding.embedder import Embedder
from rag.embedding.embeddings import embed_chunks, text_hash
from rag.errors import RagError
from rag.store import chunks, documents, indexes, pending
from rag.store.documents import Prepared, Present
from rag.store.indexes import Conflict, IndexState, Tally
from rag.store.pending import Embedding
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


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the caller gave. `is_whole`: the documents of the origin that are not among these go.

    `is_renewal`: the documents are stored ones, of which only those are wanted that still wait for the end of a repair.
    `replacing`: documents of other origins that may be replaced, None for any.
    """

    documents: Mapping[str, Document]
    hashes: Mapping[str, str]
    origin: str
    is_whole: bool
    is_renewal: bool = False
    replacing: Collection[str] | None = None


@dataclass(frozen=True, slots=True)
class _Plan:
    """What separates the rows, as a transaction sees them, from what is wanted."""

    is_new: bool
    """Whether there is no such index yet, or one of another embedder or other chunk settings."""

    hashes: dict[str, str]
    """Documents that have to be stored (again), with the hashes of their content."""

    origins: dict[str, str]
    present: Collection[str]
    """Those of them that are there already, as they were."""

    removed: Collection[str]
    adopted: list[str]
    """Unchanged documents that were another origin's."""

    @property
    def is_empty(self) -> bool:
        return not (self.is_new or self.hashes or self.removed or self.adopted)


@dataclass(frozen=True, slots=True)
class Indexing:
    """Changes to one index, safe to make from several threads and processes at once."""

    store: Database
    name: str
    embedder: Embedder
    settings: ChunkSettings
    oldest_file: Callable[[], int | None] = lambda: None
    """Gives the generation of the oldest view file: changes up to it need not be known."""

    def apply(
        self,
        given: Iterable[Document],
        *,
        origin: str,
        is_whole: bool,
        replacing: Collection[str] | None,
        progress: Progress | None,
    ) -> SyncReport:
        """Stores the documents; see `Index.sync` and `Index.add`."""
        by_id = _by_id(given)
        hashes = {key: content_hash(document) for key, document in by_id.items()}
        return self._apply(_Wanted(by_id, hashes, origin, is_whole, replacing=replacing), progress)

    def renew(self, document_ids: Collection[str], *, progress: Progress | None) -> None:
        """Ends the repair of documents: cuts and embeds them again from their stored text.

        Those that are gone, or that others have stored anew meanwhile, stay as they are.
        """
        by_origin: dict[str, dict[str, Document]] = {}
        with self.store.read() as rows:
            state = self._existing(indexes.state(rows, self.name))
            present = documents.present(rows, state.id, document_ids)
            waiting = [key for key, found in present.items() if not found.content_hash]
            for document in documents.load(rows, state.id, waiting):
                by_origin.setdefault(present[document.id].origin, {})[document.id] = document
        for origin, found in by_origin.items():
            hashes = {key: content_hash(document) for key, document in found.items()}
            self._apply(_Wanted(found, hashes, origin, is_whole=False, is_renewal=True), progress)

    def _apply(self, wanted: _Wanted, progress: Progress | None) -> SyncReport:
        started = time.perf_counter()
        prepared: dict[str, Prepared] = {}
        embeddings: dict[str, Embedding] = {}
        embedded = 0
        while True:
            with self.store.read() as rows:
                state = indexes.state(rows, self.name)
                plan = self._plan(rows, state, wanted)
            if state is not None and plan.is_empty:
                break
            embedded += self._prepare(state, plan, wanted, prepared, embeddings, progress)
            num_chunks = sum(len(entry.chunks) for entry in prepared.values())
            numbers = chunks.take_numbers(self.store, num_chunks) if num_chunks else range(0)
            try:
                with self.store.write_beside() as rows:
                    state = indexes.lock(rows, self.name)
                    # What others have committed in the meantime may call for more, or for less.
                    plan = self._plan(rows, state, wanted)
                    if any(
                        key not in prepared or prepared[key].content_hash != plan.hashes[key] for key in plan.hashes
                    ):
                        continue
                    state = state or indexes.create(rows, self.name, self.embedder.name, self.settings)
                    state = self._store_plan(rows, state, plan, prepared, embeddings, numbers, wanted)
                    indexes.prune(rows, state, self.oldest_file())
            except Conflict:
                continue
            break
        return SyncReport(
            added=len(plan.hashes) - len(plan.present),
            updated=len(plan.present),
            removed=len(plan.removed),
            unchanged=len(wanted.documents.keys() - plan.hashes.keys()),
            num_chunks=state.num_chunks,
            embedded_chunks=embedded,
            seconds=time.perf_counter() - started,
        )

    def delete(self, document_ids: Iterable[str]) -> int:
        """Removes the documents; gives how many of them there were. Raises RagError if there is no such index."""
        with self.store.write_beside() as rows:
            state = self._locked(rows)
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
            state = self._locked(rows)
            document = next(documents.load(rows, state.id, [document_id]), None)
            if document is None:
                raise RagError(f"no document {document_id!r} in index {self.name!r}")
            changed = replace(document, metadata=dict(metadata))
            chunk_ids = [chunk.id for chunk in chunks.of_document(rows, state.id, document_id)]
            difference = documents.replace_metadata(rows, state.id, changed, chunk_ids)
            indexes.advance(rows, state, state.tally + difference)

    def drop(self) -> chunks.Numbers:
        """Removes the index with everything in it, and what killed runs have kept for it; gives its chunks' numbers."""
        with self.store.write_beside() as rows:
            state = indexes.lock(rows, self.name)
            numbers = chunks.as_numbers(()) if state is None else chunks.numbers(rows, state.id)
            if state is not None:
                indexes.remove(rows, state.id)
            pending.drop(rows, self.name)
        return numbers

    def _locked(self, rows: sa.Connection) -> IndexState:
        return self._existing(indexes.lock(rows, self.name))

    def _existing(self, state: IndexState | None) -> IndexState:
        if state is None:
            raise missing(self.name)
        return state

    def _plan(self, rows: sa.Connection, state: IndexState | None, wanted: _Wanted) -> _Plan:
        if wanted.is_renewal:
            self._existing(state)
        present: dict[str, Present] = {}
        is_stale = state is not None and (state.embedder, state.settings) != (self.embedder.name, self.settings)
        if state is not None:
            if is_stale:
                present = documents.present_of_origin(rows, state.id, None)
            elif wanted.is_whole:
                present = documents.present_of_origin(rows, state.id, wanted.origin)
            present |= documents.present(rows, state.id, wanted.documents.keys() - present.keys())
        removed = set()
        if wanted.is_whole:
            removed = {key for key, found in present.items() if found.origin == wanted.origin} - wanted.documents.keys()
        hashes, origins, adopted = {}, {}, []
        for key, hashed in wanted.hashes.items():
            found = present.get(key)
            if wanted.is_renewal and (found is None or found.content_hash):
                continue
            _check_replaced(key, found, wanted)
            if is_stale or found is None or found.content_hash != hashed:
                hashes[key], origins[key] = hashed, wanted.origin
            elif found.origin != wanted.origin:
                adopted.append(key)
        if is_stale:
            # Nobody gives these again: they are cut and embedded anew from their stored text.
            for key in present.keys() - hashes.keys() - removed:
                hashes[key], origins[key] = present[key].content_hash, present[key].origin
        return _Plan(state is None or is_stale, hashes, origins, present.keys() & hashes.keys(), removed, adopted)

    def _prepare(
        self,
        state: IndexState | None,
        plan: _Plan,
        wanted: _Wanted,
        prepared: dict[str, Prepared],
        embeddings: dict[str, Embedding],
        progress: Progress | None,
    ) -> int:
        """Adds what the plan needs to `prepared` and `embeddings`; gives how many texts were embedded."""
        lacking = [
            key for key, hashed in plan.hashes.items() if key not in prepared or prepared[key].content_hash != hashed
        ]
        found = {key: wanted.documents[key] for key in lacking if wanted.hashes.get(key) == plan.hashes[key]}
        others = [key for key in lacking if key not in found]
        if others and state is not None:
            with self.store.read() as rows:
                found.update((document.id, document) for document in documents.load(rows, state.id, others))
        cut = split_documents(found.values(), self.settings, self.embedder.token_spans)
        of_document: dict[str, list[int]] = {}
        for place, chunk in enumerate(cut):
            of_document.setdefault(chunk.document_id, []).append(place)
        made, num_embedded = embed_chunks(
            cut, self.embedder, self.store, index_name=self.name, origin=wanted.origin, progress=progress
        )
        embeddings.update(made)
        for key, document in found.items():
            own = [cut[place] for place in of_document.get(key, ())]
            prepared[key] = Prepared(document, plan.hashes[key], own)
        return num_embedded

    def _store_plan(
        self,
        rows: sa.Connection,
        state: IndexState,
        plan: _Plan,
        prepared: Mapping[str, Prepared],
        embeddings: Mapping[str, Embedding],
        numbers: range,
        wanted: _Wanted,
    ) -> IndexState:
        generation = state.generation + 1
        gone = documents.delete(rows, state.id, sorted({*plan.removed, *plan.present}), generation)
        # In the order of their ids, so that equal scores come in an order that can be foretold.
        entries = [_hashed(prepared[key]) for key in sorted(plan.hashes)]
        added = documents.insert(rows, state.id, entries, plan.origins)
        hashed = ((chunk, text_hash(chunk)) for entry in entries for chunk in entry.chunks)
        numbered = ((number, chunk, key) for number, (chunk, key) in zip(numbers, hashed, strict=False))
        seconds = chunks.insert(rows, state.id, generation, numbered, embeddings)
        documents.adopt(rows, state.id, plan.adopted, wanted.origin)
        if wanted.is_whole:
            pending.drop(rows, self.name, origin=wanted.origin)
        else:
            pending.drop_texts(rows, self.name, wanted.origin, self.embedder.name, embeddings)
        if state.embedder != self.embedder.name:
            indexes.forget_generations(rows, state.id)
        tally = state.tally - gone + added + Tally(indexing_s=seconds)
        return indexes.advance(rows, state, tally, embedder=self.embedder.name, settings=self.settings)


class Overtaken(RagError):
    """Another writer has stored a document under an id that was free when the caller looked; look again."""


def _check_replaced(document_id: str, found: Present | None, wanted: _Wanted) -> None:
    if found is None or wanted.replacing is None or found.origin in ("", wanted.origin):
        return
    if document_id not in wanted.replacing:
        raise Overtaken(f"document {document_id!r} came in from {found.origin} meanwhile; run the command again")


def missing(name: str) -> RagError:
    return RagError(f"no index {name!r}; create it with: arbiter index add {name} FOLDER")


def _hashed(entry: Prepared) -> Prepared:
    """The same; a repair that was not ended has left no hash of the stored content."""
    return entry if entry.content_hash else replace(entry, content_hash=content_hash(entry.document))


def _by_id(given: Iterable[Document]) -> dict[str, Document]:
    found: dict[str, Document] = {}
    for document in given:
        if found.setdefault(document.id, document) != document:
            raise RagError(f"two different documents have the id {document.id!r}; give each an id of its own")
    return found
