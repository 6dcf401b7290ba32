"""Vector stores: every index of a home, the files that were attached to it over HTTP, and searches in it.

stores = open_vector_stores(OpenIndexes(index_home(config, home), embedder), database, jobs)
stores.indexer.start()
store = stores.create(StoreFields(name="hours"))
queries, passages = stores.search(store.id, SearchFields(query="When does the desk open?"))
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import sqlalchemy as sa

from rag.chunking.chunk import ChunkSettings
from rag.documents.document import Document
from rag.documents.load import read_upload
from rag.home import OpenIndexes
from rag.index import Index, IndexState, OtherEmbedder
from rag.passage import Passage
from rag.search.settings import SearchSettings
from router.answering.condense import rewrite_query
from serving.errors import Conflict, Invalid, NotFound, Refused
from serving.http.pages import Page, PageOfRows, select_page
from serving.vector_stores.files import FileStore
from serving.vector_stores.indexer import Indexer, words_for
from serving.vector_stores.request import Attachment, RankingOptions, SearchFields, StoreFields
from serving.vector_stores.rows import (
    BATCH_FILES,
    BATCHES,
    DELETING,
    IN_PROGRESS,
    PRESENT,
    STORE_FILES,
    STORES,
    Attributes,
    FilePage,
    StoredStore,
    StoreFile,
    among,
    are_equal,
    as_indexed,
    attach_files,
    count_files,
    find_file,
    find_store,
    get_batch,
    is_member,
    known_files,
    list_files,
    no_store,
    select_files,
    unattached,
)
from storage.database import Database, insert_missing
from storage.errors import ArbiterError
from storage.jobs.jobs import Jobs

MAX_WAITING = 10_000


@dataclass(frozen=True, slots=True)
class StoreState:
    """A vector store with what its index holds (None before its first file) and its files by status."""

    store: StoredStore
    state: IndexState | None
    counts: Counter[str]

    @property
    def id(self) -> str:
        return str(self.store.id)

    @property
    def chunking(self) -> ChunkSettings | None:
        """How its files are cut, None if that is not decided yet."""
        if self.state is not None:
            return self.state.settings
        return ChunkSettings(**self.store.chunking) if self.store.chunking is not None else None


@dataclass
class VectorStores:
    """What was deleted is gone from every search when the call returns, whatever was being indexed meanwhile.

    That holds for several servers of one home on one machine. A deletion waits until the server that indexes the file
    has released it, and goes on if that one is killed. What a killed server had begun to delete and to cancel is
    finished by the next one that starts, before it serves.

    Methods that name a store, a file or a batch raise NotFound for none.
    """

    database: Database
    files: FileStore
    open_indexes: OpenIndexes
    indexer: Indexer
    max_waiting: int = MAX_WAITING
    """At most so many files wait to be indexed."""

    _taking_out: threading.Lock = field(default_factory=threading.Lock, init=False)

    def finish_begun(self) -> None:
        """Finish what a killed server had begun to delete or cancel. Raises RagError for an index it cannot write."""
        hidden = sa.select(STORES.c.id).where(STORES.c.is_deleting)
        detached = sa.select(STORE_FILES.c.store_id, STORE_FILES.c.id).where(STORE_FILES.c.status == DELETING)
        for file_id in self.files.hidden():
            self._remove_file(file_id)
        with self.database.read() as rows:
            stores, files = rows.execute(hidden).scalars().all(), rows.execute(detached).all()
        for store_id in stores:
            self._remove_store(store_id)
        for store_id, file_id in files:
            self._take_out(store_id, file_id)
        self.indexer.finish_begun()
        self.files.sweep()

    def create(self, asked: StoreFields) -> StoreState:
        """A new vector store; its files are indexed in the background."""
        attachment = asked.wanted()
        self.files.check_here(attachment.files)
        # A database that is away is found out before a row is written.
        self.open_indexes.states()
        store_id = f"vs_{uuid.uuid4().hex}"
        chunking = asdict(attachment.chunking) if attachment.chunking is not None else None
        told = {"description": asked.description, "metadata": asked.metadata, "chunking": chunking}
        with self.database.write() as rows:
            rows.execute(STORES.insert().values(_new_store(store_id, asked.name, is_own=True) | told))
            if attachment.files:
                self._attach(rows, store_id, attachment)
        self.indexer.jobs.wake()
        return self.get(store_id)

    def get(self, store_id: str) -> StoreState:
        """One vector store."""
        return self._shown([self._store(store_id)])[0]

    def page(self, page: Page) -> PageOfRows:
        """A page of StoreStates."""
        states = self.open_indexes.states()
        self._adopt(states)
        where = sa.and_(~STORES.c.is_deleting, sa.or_(STORES.c.is_own, STORES.c.id.in_(states)))
        found = select_page(self.database, STORES, page, where)
        return replace(found, rows=self._shown(found.rows))

    def update(self, store_id: str, changes: Mapping[str, object]) -> StoreState:
        """Change the name or the metadata, as far as `changes` has them."""
        self._store(store_id)
        values = {**changes, "last_active_at": int(time.time())}
        with self.database.write() as rows:
            rows.execute(STORES.update().where(STORES.c.id == store_id).values(values))
        return self.get(store_id)

    def delete(self, store_id: str, *, in_use: Callable[[], Collection[str | None]] = tuple) -> None:
        """Takes a store away with its index. Raises Conflict for one that is `in_use` then."""
        self._store(store_id)
        if store_id in in_use():
            raise Conflict(f"an arm that is served answers from index {store_id!r}; promote another decision first")
        with self.database.write() as rows:
            rows.execute(STORES.update().where(STORES.c.id == store_id).values(is_deleting=True))
            rows.execute(STORE_FILES.update().where(STORE_FILES.c.store_id == store_id).values(status=DELETING))
        self._remove_store(store_id)

    def attach(self, store_id: str, asked: Attachment, *, batch_id: str | None = None) -> None:
        """Files, to be indexed in the background; a batch if it gets an id."""
        present = self.get(store_id).chunking
        if asked.chunking is not None and present is not None and asked.chunking != present:
            raise Invalid(
                f"chunking_strategy: {store_id!r} cuts all its files alike, in chunks of {present.chunk_tokens} tokens "
                f"with {present.overlap_tokens} of overlap ({present.strategy}); leave it out, or make another store",
                param="chunking_strategy",
            )
        self.files.check_here(asked.files)
        known = known_files(self.database, store_id, asked.files)
        if known:
            self._readable(store_id)  # Another embedder's index takes no new attributes.
        lost = known.keys() - self.open_indexes.entries(store_id, known).keys()
        with self.database.write() as rows:
            self._attach(rows, store_id, replace(asked, chunking=present or asked.chunking), lost=lost)
            if batch_id is not None:
                made = {"id": batch_id, "store_id": store_id, "created_at": int(time.time())}
                rows.execute(BATCHES.insert().values(made))
                rows.execute(
                    BATCH_FILES.insert(), [{"batch_id": batch_id, "file_id": file_id} for file_id in asked.files]
                )
        self.indexer.jobs.wake()
        # Read now: another request may have had one of them indexed while this one waited to write its rows.
        for file_id, entry in self.open_indexes.entries(store_id, asked.files).items():
            if not are_equal(entry.metadata, asked.files[file_id]):
                self.set_attributes(store_id, file_id, asked.files[file_id])

    def list_files(self, store_id: str, page: FilePage) -> PageOfRows:
        """A page of StoreFiles: those attached over HTTP, and the documents that the index got elsewhere."""
        found = list_files(self.database, self._store(store_id), page, self._readable(store_id))
        return replace(found, rows=self._as_indexed(store_id, found.rows))

    def get_file(self, store_id: str, file_id: str) -> StoreFile:
        """One file, or one document that the index got elsewhere."""
        store = self._store(store_id)
        found = find_file(self.database, store_id, file_id)
        if found is None and not self.open_indexes.entries(store_id, [file_id]):
            raise _no_file(store_id, file_id)
        return self._as_indexed(store_id, [found or unattached(store, file_id)])[0]

    def text_of(self, store_id: str, file_id: str) -> str:
        """What was read of a file. Raises Conflict while that is not done."""
        stored = self.get_file(store_id, file_id)
        if stored.status != "completed":
            raise Conflict(f"file {file_id!r} is {stored.status} in {store_id!r}; it has no content there")
        return self._document(store_id, file_id)[1].text

    def set_attributes(self, store_id: str, file_id: str, attributes: Attributes) -> StoreFile:
        """Replace a file's attributes; searches heed them at once. If the index does not take them nothing changes."""
        self._store(store_id)
        where = (*among(store_id, [file_id]), STORE_FILES.c.status.not_in(("completed", DELETING)))
        with self.database.write() as rows:
            changed = rows.execute(STORE_FILES.update().where(*where).values(attributes=attributes))
        if changed.rowcount == 0:
            index, _ = self._document(store_id, file_id)
            try:
                index.set_metadata(file_id, attributes)
            except ArbiterError:
                # It may have been deleted meanwhile, which is not the index's trouble.
                self.get_file(store_id, file_id)
                raise
        return self.get_file(store_id, file_id)

    def detach(self, store_id: str, file_id: str) -> None:
        """Takes a file out of a store."""
        self._store(store_id)
        if self._hide(*among(store_id, [file_id])):
            self._take_out(store_id, file_id)
        elif not self.open_indexes.delete_documents(store_id, [file_id]):
            raise _no_file(store_id, file_id)

    def delete_file(self, file_id: str) -> None:
        """Takes a file away, and out of every store."""
        self.files.hide(file_id)
        self._remove_file(file_id)

    def get_batch(self, store_id: str, batch_id: str) -> tuple[sa.Row[Any], Counter[str]]:
        """A row of BATCHES, and its files by status."""
        self._store(store_id)
        batch = get_batch(self.database, store_id, batch_id)
        counts = count_files(self.database, store_id, is_member(batch_id))
        self._resume(counts)
        return batch, counts

    def cancel_batch(self, store_id: str, batch_id: str) -> None:
        """Cancels the files of a batch that are not indexed yet. Raises Conflict for a batch that is done."""
        self._store(store_id)
        where = (STORE_FILES.c.store_id == store_id, is_member(batch_id), IN_PROGRESS)
        with self.database.write() as rows:
            batch = get_batch(self.database, store_id, batch_id)
            waiting = list(rows.execute(sa.select(STORE_FILES.c.id).where(*where)).scalars())
            if not waiting and not batch.is_cancelled:
                raise Conflict(f"batch {batch_id!r} is done; there is nothing to cancel")
            rows.execute(STORE_FILES.update().where(*where).values(status="cancelled"))
            rows.execute(BATCHES.update().where(BATCHES.c.id == batch_id).values(is_cancelled=True))
        self.indexer.wait_until_left(store_id, waiting)

    def batch_files(self, store_id: str, batch_id: str, page: FilePage) -> PageOfRows:
        """A page of a batch's StoreFiles."""
        self.get_batch(store_id, batch_id)
        found = select_files(self.database, store_id, page, is_member(batch_id))
        return replace(found, rows=self._as_indexed(store_id, found.rows))

    def search(self, store_id: str, asked: SearchFields) -> tuple[list[str], list[Passage]]:
        """The queries, without phrases of asking if that is asked for, and the best passages for them."""
        self._store(store_id)
        if asked.rewrite_query:
            asked = asked.model_copy(update={"query": [rewrite_query(query) for query in asked.query]})
        index = self._readable(store_id)
        if index is None:
            return asked.query, []
        try:
            return asked.query, _search(index, asked, self.open_indexes.index_home.retrieval)
        except ArbiterError:
            # It may have been deleted meanwhile, which is not the index's trouble.
            self._store(store_id)
            raise

    def _attach(self, rows: sa.Connection, store_id: str, asked: Attachment, *, lost: Collection[str] = ()) -> None:
        chunking = asdict(asked.chunking or self.open_indexes.index_home.chunking)
        attach_files(rows, store_id, asked.files, chunking=chunking, max_waiting=self.max_waiting, lost=lost)
        self.indexer.submit(store_id, rows)

    def _adopt(self, names: Collection[str]) -> None:
        """Rows for indexes that were made elsewhere, where they have none."""
        with self.database.read() as rows:
            known = set(rows.execute(sa.select(STORES.c.id)).scalars())
        if new := sorted(set(names) - known):
            with self.database.write() as rows:
                insert_missing(rows, STORES, [_new_store(name, None, is_own=False) for name in new])

    def _store(self, store_id: str) -> StoredStore:
        with self.database.read() as rows:
            store = find_store(rows, store_id)
        is_there = (store is not None and store.is_own) or self.open_indexes.has(store_id)
        if store is None and is_there:
            self._adopt([store_id])
            with self.database.read() as rows:
                store = find_store(rows, store_id)
        if store is None or not is_there:
            raise no_store(store_id)
        return store

    def _shown(self, stores: Sequence[StoredStore]) -> list[StoreState]:
        # The rows first: what comes into an index after that is counted once.
        unfinished: dict[str, dict[str, str]] = {store.id: {} for store in stores}
        where = (STORE_FILES.c.store_id.in_(unfinished), PRESENT, STORE_FILES.c.status != "completed")
        query = sa.select(STORE_FILES.c.store_id, STORE_FILES.c.id, STORE_FILES.c.status).where(*where)
        with self.database.read() as rows:
            for store_id, file_id, status in rows.execute(query):
                unfinished[store_id][file_id] = status
        states = self.open_indexes.states()
        counts = {store_id: Counter(files.values()) for store_id, files in unfinished.items()}
        self._resume(*counts.values())
        for name in states.keys() & counts.keys():
            # Of what is in the index the index knows best: not all of it was attached over HTTP.
            files = unfinished[name]
            counts[name]["completed"] = (
                self.open_indexes.num_besides(name, files) if files else states[name].num_documents
            )
        return [StoreState(store, states.get(store.id), counts[store.id]) for store in stores]

    def _resume(self, *counts: Counter[str]) -> None:
        """Whoever sees a file wait must not wait with it for a job that has ended."""
        if any(count["in_progress"] for count in counts):
            self.indexer.resume()

    def _as_indexed(self, store_id: str, files: Sequence[StoreFile]) -> list[StoreFile]:
        """The files, those that are indexed with the attributes that filters look at."""
        kept = self.open_indexes.entries(store_id, [file.id for file in files if file.status == "completed"])
        dimension = self.open_indexes.embedder.dimension
        return [as_indexed(file, kept[file.id], dimension) if file.id in kept else file for file in files]

    def _readable(self, store_id: str) -> Index | None:
        """The store's index, None before its first file. Raises Conflict if another embedder built it."""
        try:
            return self.open_indexes.find(store_id)
        except OtherEmbedder as error:
            words = words_for(error) if self._store(store_id).is_own else str(error)
            raise Conflict(words, code="vector_store_unusable") from error

    def _document(self, store_id: str, file_id: str) -> tuple[Index, Document]:
        index = self._readable(store_id)
        document = index.document(file_id) if index is not None else None
        if index is None or document is None:
            raise _no_file(store_id, file_id)
        return index, document

    def _take_out(self, store_id: str, file_id: str) -> None:
        """Second and last step of taking a file out of a store."""
        self.indexer.wait_until_left(store_id, [file_id])
        # Of two deletions at once the second must not reach what was attached again after the first.
        with self._taking_out:
            file = known_files(self.database, store_id, [file_id]).get(file_id)
            if file is not None and file.status == DELETING:
                self.open_indexes.delete_documents(store_id, [file_id])
                gone = STORE_FILES.delete().where(*among(store_id, [file_id]), STORE_FILES.c.status == DELETING)
                with self.database.write() as rows:
                    rows.execute(gone)

    def _hide(self, *where: sa.ColumnElement[bool]) -> Sequence[str]:
        """First step of taking a file out of stores: it is hidden there; returns the stores."""
        with self.database.write() as rows:
            found = rows.execute(sa.select(STORE_FILES.c.store_id).where(*where)).scalars().all()
            rows.execute(STORE_FILES.update().where(*where).values(status=DELETING))
        return found

    def _remove_file(self, file_id: str) -> None:
        for store_id in self._hide(STORE_FILES.c.id == file_id):
            self._take_out(store_id, file_id)
        self.files.remove(file_id)

    def _remove_store(self, store_id: str) -> None:
        self.indexer.wait_until_left(store_id)
        self.open_indexes.drop(store_id)
        with self.database.write() as rows:
            rows.execute(STORES.delete().where(STORES.c.id == store_id))


def open_vector_stores(
    open_indexes: OpenIndexes, database: Database, jobs: Jobs, *, read: Callable[..., Document] = read_upload
) -> VectorStores:
    """The vector stores of a home, not started yet; what a killed server had begun is finished.

    `read` is called as `read_upload` is; `jobs` are the home's, and index in the background. Raises RagError for an
    index that cannot be written, and StorageError.
    """
    files = FileStore(database, open_indexes.index_home.home / "files")
    stores = VectorStores(database, files, open_indexes, Indexer(database, files, open_indexes, jobs, read=read))
    stores.finish_begun()
    return stores


def _new_store(store_id: str, name: str | None, *, is_own: bool) -> dict[str, object]:
    """A row of STORES; a store without a name is named by its id."""
    times = dict.fromkeys(("created_at", "last_active_at"), int(time.time()))
    nothing = dict.fromkeys(("description", "metadata", "chunking"))
    return {"id": store_id, "name": name or store_id, "is_own": is_own, **times, **nothing}


def _search(index: Index, asked: SearchFields, settings: SearchSettings) -> list[Passage]:
    """As many passages as are asked for, of all queries together, ranked by the best score that one of them gave."""
    options, k = asked.ranking_options or RankingOptions(), asked.max_num_results
    if options.ranker == "none":
        settings = replace(settings, reranker=None)
    if options.score_threshold is not None:
        settings = replace(settings, threshold=options.score_threshold)
    best: dict[str, Passage] = {}
    for query in asked.query:
        for passage in index.search(query, k, settings=settings, filters=asked.filters):
            known = best.get(passage.chunk_id)
            if known is None or passage.score > known.score:
                best[passage.chunk_id] = passage
    if len(asked.query) == 1:
        return list(best.values())
    return sorted(best.values(), key=lambda passage: (-passage.score, passage.rank, passage.chunk_id))[:k]


def _no_file(store_id: str, file_id: str) -> Refused:
    return NotFound(f"no file {file_id!r} in vector store {store_id!r}", code="file_not_found")
