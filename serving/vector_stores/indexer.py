"""Indexing in the background: a job for each store, and each data directory that files of it lie in, converts what
waits there, and adds it to the index.

indexer = Indexer(database, files, open_indexes, jobs)
indexer.start()
indexer.submit("vs_1", rows)
indexer.wait_until_left("vs_1", ["file-1"])      after a cancel or delete: returns when nobody adds the file any more
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any, Literal

import sqlalchemy as sa

from rag.chunking.chunk import ChunkSettings
from rag.documents.document import Document
from rag.documents.load import read_upload
from rag.documents.sources import KINDS
from rag.errors import RagError
from rag.home import OpenIndexes
from rag.index import Index, OtherEmbedder
from serving.errors import ServingError
from serving.vector_stores.files import FileStore
from serving.vector_stores.rows import FILES, IN_PROGRESS, STORE_FILES, STORES, Attributes, among, are_equal
from storage.database import Database
from storage.errors import ArbiterError, StorageError
from storage.jobs.jobs import Jobs, JobStopped, RunningJob
from storage.jobs.rows import LIVE, Job

ErrorCode = Literal["server_error", "unsupported_file", "invalid_file"]
# A file that is to be indexed: its id and filename, and the chunking of its store.
Waiting = sa.Row[str, str, Mapping[str, Any]]

# With the name of a data directory behind it: where a file's bytes are, it is indexed.
KIND = "index@"
ORIGIN = "files"
# A file that ends the process each time it is indexed must not do so forever.
MAX_ATTEMPTS = 3

# Small files share a commit; what is ready is committed when one of these is reached.
_MAX_GROUP = 32
_MAX_GROUP_CHARS = 1_000_000
_MAX_GROUP_S = 1.0
# How often the rows are asked whether a file is still wanted, or whether its indexing has released it.
_LOOK_S = 0.2
_GLANCE_S = 0.02
# What was begun ends with its batch of embeddings; a machine may be slow.
_PATIENCE_S = 180.0
_TOO_OFTEN = f"the server stopped {MAX_ATTEMPTS} times while it indexed this file"
_OUR_FAULT = "the server failed on this file; its log has the reason"

_log = logging.getLogger("arbiter.files")


class _Unwanted(Exception):
    """A file that is being added was cancelled or deleted."""


@dataclass(eq=False)
class Indexer:
    """A store's job is worked on by one process at a time, and says in its progress which files that has in hand.

    An index is changed only for files that are in progress when the change begins. Whoever has cancelled or deleted a
    file in the rows calls `wait_until_left`; after that nothing puts the file back, neither this server nor another one
    of the same home, also if one of them is killed.
    """

    database: Database
    files: FileStore
    open_indexes: OpenIndexes
    jobs: Jobs
    read: Callable[..., Document] = read_upload
    """Called as `read_upload` is."""
    pause_s: float = 1.0
    """How soon what was in trouble is tried again."""

    _clearing: threading.Lock = field(default_factory=threading.Lock, init=False)
    _looked_at: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._kind = KIND + self.files.home

    def start(self) -> None:
        """Begin, with what an earlier server left first."""
        self.resume()
        self.jobs.begin(self._kind, self._index)

    def resume(self) -> None:
        """Begin anew the jobs that have ended although files of theirs wait."""
        waiting = sa.select(STORE_FILES.c.store_id).join(FILES, FILES.c.id == STORE_FILES.c.id)
        waiting = waiting.where(IN_PROGRESS, self.files.is_here)
        if self.jobs.rows.begin_anew(self._kind, waiting):
            self.jobs.wake()

    def submit(self, store_id: str, rows: sa.Connection) -> None:
        """Index what waits in a store, if the transaction is committed; wake `jobs` then."""
        self.jobs.rows.submit(self._kind, store_id, rows=rows)

    def finish_begun(self) -> None:
        """Take out what was cancelled while a server that was killed had it in hand. Raises RagError."""
        for job in self.jobs.rows.adopt(self._kind):
            self._clear(job)

    def wait_until_left(self, store_id: str, file_ids: Collection[str] | None = None) -> None:
        """Returns when nobody adds any of these files, or of the store's; what was begun ends with its batch.

        Raises ServingError when that takes too long; the file stays hidden, and that server or the next start takes it
        away.
        """
        deadline = time.monotonic() + _PATIENCE_S
        # One for each data directory that files of it lie in.
        for job in self.jobs.rows.live(key=store_id):
            if job.kind.startswith(KIND):
                self._wait_for(job.id, file_ids, deadline)

    def _wait_for(self, name: str, file_ids: Collection[str] | None, deadline: float) -> None:
        rows = self.jobs.rows
        while (job := rows.get(name)) is not None and job.state in LIVE:
            in_hand = job.progress.get("files", [])
            if not in_hand or (file_ids is not None and not set(file_ids) & set(in_hand)):
                return
            if not rows.has_owner(job):
                # Whoever works on it next takes out first what the last one had in hand.
                rows.submit(job.kind, job.key)
            elif job.state == "queued" and job.owner == rows.owner:
                self._clear(job)
                if job.kind != self._kind:
                    rows.release(job.kind)
            elif job.state == "running" and not job.progress["is_adding"]:
                # Before it adds them it looks whether they are wanted.
                return
            elif time.monotonic() > deadline:
                raise ServingError(
                    f"another server (process {job.owner}) still indexes into {job.key!r} what was deleted or "
                    "cancelled; it is hidden, and gone when that server is done or stopped"
                )
            else:
                time.sleep(_GLANCE_S)

    def waiting(self, store_id: str) -> Sequence[Waiting]:
        """The files of a store that are in progress now, and whose bytes are here."""
        query = (
            sa.select(STORE_FILES.c.id, FILES.c.filename, STORES.c.chunking)
            .join(FILES, FILES.c.id == STORE_FILES.c.id)
            .join(STORES, STORES.c.id == STORE_FILES.c.store_id)
            .where(STORE_FILES.c.store_id == store_id, IN_PROGRESS, self.files.is_here)
            .order_by(STORE_FILES.c.sequence)
        )
        with self.database.read() as rows:
            return rows.execute(query).all()

    def wanted(self, store_id: str, file_ids: Collection[str]) -> dict[str, Attributes]:
        """Those of the files that are still to be indexed, and their attributes as they are now."""
        query = sa.select(STORE_FILES.c.id, STORE_FILES.c.attributes).where(*among(store_id, file_ids), IN_PROGRESS)
        with self.database.read() as rows:
            return {row.id: row.attributes for row in rows.execute(query)}

    def finish(
        self, store_id: str, file_id: str, attributes: Mapping[str, object]
    ) -> Literal["completed", "changed", "unwanted"]:
        """Note that the file is in the index with these attributes.

        `changed` if it has other ones by now and `unwanted` if it was cancelled or deleted; nothing is noted then.
        """
        this = among(store_id, [file_id])
        with self.database.write() as rows:
            row = rows.execute(sa.select(STORE_FILES).where(*this)).one_or_none()
            if row is None or row.status not in ("in_progress", "completed"):
                return "unwanted"
            if row.status == "in_progress" and not are_equal(row.attributes, attributes):
                return "changed"
            rows.execute(STORE_FILES.update().where(*this, IN_PROGRESS).values(status="completed", last_error=None))
        return "completed"

    def stop(self) -> None:
        """Stop; what is unfinished is taken up by the next server. Embeddings that were made are kept."""
        self.jobs.stop(self._kind)

    def _index(self, running: RunningJob) -> None:
        """One pass over the files that wait now; whoever attaches another one submits the job again."""
        has_tried = True
        while True:
            try:
                self._clear(running.job, is_attempt=has_tried)
                self._pass(running)
                return
            except JobStopped:
                with contextlib.suppress(ArbiterError):
                    self._clear(running.job, is_attempt=False)
                raise
            except ArbiterError as error:
                # A database is away, which is no file's fault: what is in progress stays so, and is tried again.
                _log.warning("indexing waits: %s", error)
                has_tried = False
            except Exception:
                _log.exception("indexing stumbled; it goes on")
                has_tried = True
            running.wait(self.pause_s)

    def _clear(self, job: Job, *, is_attempt: bool = True) -> None:
        """Takes out of the index what was cancelled while it was in hand, before anything is added again.

        `is_attempt` counts against what was in hand. Nothing is done when the job has moved on since it was read.
        """
        with self._clearing:
            found = self.jobs.rows.get(job.id)
            if found is None or (found.state, found.owner) != (job.state, self.jobs.rows.owner):
                return
            if in_hand := found.progress.get("files", []):
                these = among(job.key, in_hand)
                with self.database.write() as rows:
                    if is_attempt:
                        more = {"attempts": STORE_FILES.c.attempts + 1}
                        rows.execute(STORE_FILES.update().where(*these, IN_PROGRESS).values(more))
                        at_end = STORE_FILES.c.attempts >= MAX_ATTEMPTS
                        rows.execute(_failing("server_error", _TOO_OFTEN).where(*these, at_end))
                    cancelled = sa.select(STORE_FILES.c.id).where(*these, STORE_FILES.c.status == "cancelled")
                    maybe_added = list(rows.execute(cancelled).scalars())
                if maybe_added:
                    self.open_indexes.delete_documents(job.key, maybe_added)
                self.jobs.rows.progress(job.id, {})

    def _pass(self, running: RunningJob) -> None:
        """Converts the files that wait now, and adds them in groups; a large one is not waited for by small ones."""
        ready: list[Document] = []
        begun = time.monotonic()
        for waiting in self.waiting(running.job.key):
            running.progress(files=[*(document.id for document in ready), waiting.id], is_adding=False)
            chunking = ChunkSettings(**waiting.chunking)
            document = self._convert(running.job.key, waiting)
            if document is not None:
                if ready and sum(len(one.text) for one in (*ready, document)) > _MAX_GROUP_CHARS:
                    self._add(running, ready, chunking)
                    ready, begun = [], time.monotonic()
                ready.append(document)
            if ready and (len(ready) == _MAX_GROUP or time.monotonic() - begun > _MAX_GROUP_S):
                self._add(running, ready, chunking)
                ready, begun = [], time.monotonic()
        if ready:
            self._add(running, ready, chunking)

    def _convert(self, store_id: str, waiting: Waiting) -> Document | None:
        """The file as a document; None if it is wanted no more, or cannot be one, which its row then says."""
        if not self.wanted(store_id, [waiting.id]):
            return None
        try:
            # What is converted is kept nowhere else: of a deleted file nothing may stay.
            return self.read(waiting.filename, self.files.path(waiting.id), document_id=waiting.id)
        except RagError as error:
            is_known = PurePosixPath(waiting.filename).suffix.lower() in KINDS
            self._fail(store_id, waiting.id, "invalid_file" if is_known else "unsupported_file", str(error))
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            self._fail(store_id, waiting.id, "server_error", f"the file cannot be read: {reason}")
        except Exception:
            _log.exception("file=%s store=%s cannot be converted", waiting.id, store_id)
            self._fail(store_id, waiting.id, "server_error", _OUR_FAULT)
        return None

    def _add(self, running: RunningJob, group: Sequence[Document], chunking: ChunkSettings) -> None:
        """Adds the group in one change, and again without what was cancelled or deleted while that went on."""
        while group:
            # Put up before the rows are read: whoever cancels after that sees it, and waits.
            running.progress(files=[document.id for document in group], is_adding=True)
            wanted = self.wanted(running.job.key, [document.id for document in group])
            live = [replace(one, metadata=dict(wanted[one.id])) for one in group if one.id in wanted]
            if len(live) < len(group):
                running.progress(files=list(wanted), is_adding=True)
            group = [] if self._add_live(running, live, chunking) else live
        running.progress()

    def _add_live(self, running: RunningJob, live: Sequence[Document], chunking: ChunkSettings) -> bool:
        """Whether the files are done with; False if this was interrupted and is to be tried again."""
        if not live:
            return True
        store_id = running.job.key
        try:
            index = self.open_indexes.make(store_id, chunking)
            index.add(live, origin=ORIGIN, progress=lambda *_: self._watch(running, live))
            for document in live:
                self._finish(store_id, document, index)
        except _Unwanted:
            return False
        except RagError as error:
            # Raises if the database is away, as it will for the next file.
            self.open_indexes.states()
            if len(live) > 1:
                # One by one, so that a fault stays with its file.
                outcomes = [self._add_live(running, [document], chunking) for document in live]
                return all(outcomes)
            words = words_for(error) if isinstance(error, OtherEmbedder) else str(error)
            self._fail(store_id, live[0].id, "server_error", words)
        except (StorageError, JobStopped):
            raise
        except Exception:
            _log.exception("file=%s store=%s cannot be indexed", live[0].id, store_id)
            for document in live:
                self._fail(store_id, document.id, "server_error", _OUR_FAULT)
        return True

    def _finish(self, store_id: str, document: Document, index: Index) -> None:
        """What is in the index now becomes what its row says: completed, with newer attributes, or gone again."""
        attributes = document.metadata
        while (outcome := self.finish(store_id, document.id, attributes)) == "changed":
            if newer := self.wanted(store_id, [document.id]):
                attributes = newer[document.id]
                index.set_metadata(document.id, attributes)
        if outcome == "unwanted":
            index.delete([document.id])
        _log.info("file=%s store=%s %s", document.id, store_id, outcome)

    def _fail(self, store_id: str, file_id: str, code: ErrorCode, message: str) -> None:
        _log.warning("file=%s store=%s failed: %s", file_id, store_id, message)
        with self.database.write() as rows:
            rows.execute(_failing(code, message).where(*among(store_id, [file_id])))

    def _watch(self, running: RunningJob, live: Sequence[Document]) -> None:
        running.check()
        if time.monotonic() - self._looked_at > _LOOK_S:
            self._looked_at = time.monotonic()
            if len(self.wanted(running.job.key, [document.id for document in live])) < len(live):
                raise _Unwanted


def words_for(error: OtherEmbedder) -> str:
    """What to do about a store of uploads, which stand in no folder that its index could be built from."""
    return f"{error.fault}; use that one, or make the vector store anew and attach its files again"


def _failing(code: ErrorCode, message: str) -> sa.Update:
    """What is in progress has failed."""
    return (
        STORE_FILES.update().where(IN_PROGRESS).values(status="failed", last_error={"code": code, "message": message})
    )
