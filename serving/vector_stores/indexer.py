"""Indexing in the background: a job for each store converts what waits there, and adds it to the index.

indexer = Indexer(work, files, open_indexes, jobs)
indexer.start()
indexer.submit("vs_1", rows)
indexer.wait_until_left("vs_1", ["file-1"])      after a cancel or delete: returns when nobody adds the file any more
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import sqlalchemy as sa

from rag.chunking.chunk import ChunkSettings
from rag.documents.document import Document
from rag.documents.load import read_upload
from rag.documents.sources import KINDS
from rag.errors import RagError
from rag.index import Index
from rag.open_indexes import OpenIndexes
from serving.errors import ServingError
from serving.vector_stores.files import FileStore
from serving.vector_stores.listing import vector_bytes
from serving.vector_stores.rows import Attributes
from serving.vector_stores.work_rows import ErrorCode, Waiting, WorkRows
from storage.errors import ArbiterError, StorageError
from storage.jobs.jobs import Jobs, JobStopped, RunningJob
from storage.jobs.rows import LIVE, Job, job_id

KIND = "index"
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

# (filename, where its bytes are, the document's id) -> the document; raises RagError.
ReadFile = Callable[[str, Path, str], Document]

_log = logging.getLogger("arbiter.files")


@dataclass(frozen=True, slots=True)
class _Ready:
    """A file that was converted and is to be added, with the attributes that it had when they were last looked up."""

    waiting: Waiting
    document: Document
    attributes: Attributes = field(default_factory=dict)


class _Unwanted(Exception):
    """A file that is being added was cancelled or deleted."""


def read_file(name: str, data: Path, document_id: str) -> Document:
    """An upload as a document. Its conversion is not kept elsewhere: of a deleted file nothing may stay."""
    return read_upload(name, data, document_id=document_id)


class Indexer:
    """A store's job is worked on by one process at a time, and says in its progress which files that has in hand.

    An index is changed only for files that are in progress when the change begins. Whoever has cancelled or deleted a
    file in the rows calls `wait_until_left`; after that nothing puts the file back, neither this server nor another one
    of the same home, also if one of them is killed.
    """

    def __init__(
        self,
        work: WorkRows,
        files: FileStore,
        open_indexes: OpenIndexes,
        jobs: Jobs,
        *,
        read: ReadFile = read_file,
        pause_s: float = 1.0,
    ) -> None:
        """`pause_s` is how soon what was in trouble is tried again."""
        self._work = work
        self._files = files
        self._open_indexes = open_indexes
        self._jobs = jobs
        self._read = read
        self._pause_s = pause_s
        self._clearing = threading.Lock()
        self._looked_at = 0.0

    def start(self) -> None:
        """Begin, with what an earlier server left first."""
        self._jobs.begin(KIND, self._index)

    def submit(self, store_id: str, rows: sa.Connection) -> None:
        """Index what waits in a store, if the transaction is committed; `wake` then."""
        self._jobs.rows.submit(KIND, store_id, rows=rows)

    def wake(self) -> None:
        """Look for jobs now."""
        self._jobs.wake()

    def finish_begun(self) -> None:
        """Take out what was cancelled while a server that was killed had it in hand. Raises RagError."""
        for job in self._jobs.rows.adopt(KIND):
            self._clear(job)

    def wait_until_left(self, store_id: str, file_ids: Collection[str] | None = None) -> None:
        """Returns when nobody adds any of these files, or of the store's; what was begun ends with its batch.

        Raises ServingError when that takes too long; the file stays hidden, and that server or the next start takes it
        away.
        """
        rows, name = self._jobs.rows, job_id(KIND, store_id)
        deadline = time.monotonic() + _PATIENCE_S
        while (job := rows.get(name)) is not None and job.state in LIVE:
            in_hand = job.progress.get("files", [])
            if not in_hand or (file_ids is not None and not set(file_ids) & set(in_hand)):
                return
            if not rows.has_owner(job):
                # Whoever works on it next takes out first what the last one had in hand.
                rows.submit(KIND, store_id)
            elif job.state == "queued" and job.owner == rows.owner:
                self._clear(job)
            elif job.state == "running" and not job.progress["is_adding"]:
                # Before it adds them it looks whether they are wanted.
                return
            elif time.monotonic() > deadline:
                raise ServingError(
                    f"another server (process {job.owner}) still indexes into {store_id!r} what was deleted or "
                    "cancelled; it is hidden, and gone when that server is done or stopped"
                )
            else:
                time.sleep(_GLANCE_S)

    def close(self, *, timeout_s: float = 10.0) -> None:
        """Stop; what is unfinished is taken up by the next server. Embeddings that were made are kept."""
        self._jobs.stop(KIND, timeout_s=timeout_s)

    def _index(self, running: RunningJob) -> None:
        """One pass over the files that wait now; whoever attaches another one submits the job again."""
        has_tried = True
        while True:
            try:
                self._clear(running.job, is_attempt=has_tried)
                self._pass(running, running.job.key)
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
            running.wait(self._pause_s)

    def _clear(self, job: Job, *, is_attempt: bool = True) -> None:
        """Takes out of the index what was cancelled while it was in hand, before anything is added again.

        `is_attempt` counts against what was in hand. Nothing is done when the job has moved on since it was read.
        """
        with self._clearing:
            found = self._jobs.rows.get(job.id)
            if found is None or (found.state, found.owner) != (job.state, self._jobs.rows.owner):
                return
            if in_hand := found.progress.get("files", []):
                most = MAX_ATTEMPTS if is_attempt else 0
                if cancelled := self._work.give_back(job.key, in_hand, max_attempts=most):
                    self._open_indexes.delete_documents(job.key, cancelled)
                self._jobs.rows.progress(job.id, {})

    def _pass(self, running: RunningJob, store_id: str) -> None:
        place, last, held_over = 0, self._work.last(store_id), None
        while True:
            group, held_over, place = self._gather(running, store_id, held_over, after=place, last=last)
            if not group:
                return
            self._add(running, group)

    def _gather(
        self, running: RunningJob, store_id: str, held_over: _Ready | None, *, after: int, last: int
    ) -> tuple[list[_Ready], _Ready | None, int]:
        """Files that are converted and ready to be added, none when nothing waits; one for later; the place reached."""
        started = time.monotonic()
        ready = [held_over] if held_over is not None else []
        while len(ready) < _MAX_GROUP and sum(len(one.document.text) for one in ready) < _MAX_GROUP_CHARS:
            running.check()
            if ready and time.monotonic() - started > _MAX_GROUP_S:
                break
            waiting = self._work.next(store_id, after=after, last=last)
            if waiting is None:
                break
            after = waiting.sequence
            self._put_up(running, [*ready, waiting], is_adding=False)
            document = self._convert(waiting)
            if document is not None and ready and len(document.text) >= _MAX_GROUP_CHARS:
                # The small ones need not wait for a large one.
                return ready, _Ready(waiting, document), after
            if document is not None:
                ready.append(_Ready(waiting, document))
        return ready, None, after

    def _convert(self, waiting: Waiting) -> Document | None:
        """The file as a document; None if it cannot be one, which its row then says."""
        try:
            return self._read(waiting.filename, self._files.path(waiting.file_id), waiting.file_id)
        except RagError as error:
            is_known = PurePosixPath(waiting.filename).suffix.lower() in KINDS
            self._fail(waiting, "invalid_file" if is_known else "unsupported_file", str(error))
        except OSError as error:
            self._fail(waiting, "server_error", f"the file cannot be read: {(error.strerror or str(error)).lower()}")
        except Exception:
            _log.exception("file=%s store=%s cannot be converted", waiting.file_id, waiting.store_id)
            self._fail(waiting, "server_error", "the server failed on this file; its log has the reason")
        return None

    def _add(self, running: RunningJob, group: Sequence[_Ready]) -> None:
        """Adds the group in one change, and again without what was cancelled or deleted while that went on."""
        is_done = False
        while not is_done:
            running.check()
            # Put up before the rows are read: whoever cancels after that sees it, and waits.
            self._put_up(running, group, is_adding=True)
            live = self._live(group)
            if len(live) < len(group):
                self._put_up(running, live, is_adding=True)
            group = live
            is_done = self._add_live(running, group)
        running.progress()

    def _put_up(self, running: RunningJob, group: Sequence[_Ready | Waiting], *, is_adding: bool) -> None:
        waiting = [one.waiting if isinstance(one, _Ready) else one for one in group]
        running.progress(files=[one.file_id for one in waiting], is_adding=is_adding)

    def _live(self, group: Sequence[_Ready]) -> list[_Ready]:
        """Those of the files that are still wanted, with the attributes they have now."""
        live = []
        for ready in group:
            attributes = self._work.attributes(ready.waiting)
            if attributes is not None:
                document = replace(ready.document, metadata=dict(attributes))
                live.append(replace(ready, document=document, attributes=attributes))
        return live

    def _add_live(self, running: RunningJob, live: Sequence[_Ready]) -> bool:
        """Whether the files are done with; False if this was interrupted and is to be tried again."""
        if not live:
            return True
        first = live[0].waiting
        try:
            index = self._open_indexes.make(first.store_id, ChunkSettings(**first.chunking))
            index.add([ready.document for ready in live], origin=ORIGIN, progress=lambda *_: self._watch(running, live))
            for ready in live:
                self._finish(ready, index)
        except _Unwanted:
            return False
        except RagError as error:
            # Raises if the database is away, as it will for the next file.
            self._open_indexes.states()
            if len(live) > 1:
                # One by one, so that a fault stays with its file.
                outcomes = [self._add_live(running, [ready]) for ready in live]
                return all(outcomes)
            self._fail(first, "server_error", str(error))
            return True
        except (StorageError, JobStopped):
            raise
        except Exception:
            _log.exception("file=%s store=%s cannot be indexed", first.file_id, first.store_id)
            for ready in live:
                self._fail(ready.waiting, "server_error", "the server failed on this file; its log has the reason")
        return True

    def _finish(self, ready: _Ready, index: Index) -> None:
        """What is in the index now becomes what its row says: completed, with newer attributes, or gone again."""
        waiting = ready.waiting
        attributes = ready.attributes
        num_chunks = len(index.chunks_of(waiting.file_id))
        usage_bytes = vector_bytes(num_chunks, self._open_indexes.embedder.dimension)
        while (outcome := self._work.finish(waiting, attributes, usage_bytes=usage_bytes)) == "changed":
            newer = self._work.attributes(waiting)
            if newer is not None:
                attributes = newer
                index.set_metadata(waiting.file_id, dict(attributes))
        if outcome == "unwanted":
            index.delete([waiting.file_id])
        _log.info("file=%s store=%s %s chunks=%d", waiting.file_id, waiting.store_id, outcome, num_chunks)

    def _fail(self, waiting: Waiting, code: ErrorCode, message: str) -> None:
        _log.warning("file=%s store=%s failed: %s", waiting.file_id, waiting.store_id, message)
        self._work.fail(waiting, code, message)

    def _watch(self, running: RunningJob, live: Sequence[_Ready]) -> None:
        running.check()
        if time.monotonic() - self._looked_at > _LOOK_S:
            self._looked_at = time.monotonic()
            if not self._work.are_wanted(running.job.key, [ready.waiting.file_id for ready in live]):
                raise _Unwanted
