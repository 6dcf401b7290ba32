"""Indexing in the background: one thread converts what waits, and adds it to its index.

indexer = Indexer(work, files, open_indexes)
indexer.start()
indexer.let_go("vs_1", ["file-1"])      after a cancel or delete: returns when the thread has left the file alone
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

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
from serving.vector_stores.work_rows import Claim, ErrorCode, WorkRows
from storage.errors import ArbiterError, StorageError
from storage.processes import is_running, process_name

ORIGIN = "files"
# A file that ends the process each time it is indexed must not do so forever.
MAX_ATTEMPTS = 3

# Small files share a commit; what is ready is committed when one of these is reached.
_MAX_GROUP = 32
_MAX_GROUP_CHARS = 1_000_000
_MAX_GROUP_S = 1.0
# How often the rows are asked whether a file is still wanted, or whether another server has let go of it.
_LOOK_S = 0.2
# Another server may be at its conversion, which ends after two minutes at the latest.
_PATIENCE_S = 180.0

# (filename, where its bytes are, the document's id) -> the document; raises RagError.
ReadFile = Callable[[str, Path, str], Document]

_log = logging.getLogger("arbiter.files")


@dataclass(frozen=True, slots=True)
class _Ready:
    """A file that was converted and is to be added, with the attributes that it had when they were last looked up."""

    claim: Claim
    document: Document
    attributes: Attributes = field(default_factory=dict)


class _LetGo(Exception):
    """A file that is being added was cancelled or deleted, or the indexer is to stop."""


def read_file(name: str, data: Path, document_id: str) -> Document:
    """An upload as a document. Its conversion is not kept elsewhere: of a deleted file nothing may stay."""
    return read_upload(name, data, document_id=document_id)


class Indexer:
    """One thread. An index is changed only for files that are in progress when the change begins.

    Whoever has cancelled or deleted a file in the rows calls `let_go`; after that nothing puts the file back, neither
    this server nor another one of the same home on this machine, also if one of them is killed.
    """

    def __init__(
        self,
        work: WorkRows,
        files: FileStore,
        open_indexes: OpenIndexes,
        *,
        read: ReadFile = read_file,
        owner: str | None = None,
        poll_s: float = 30.0,
        pause_s: float = 1.0,
    ) -> None:
        """`poll_s` is how often files of servers that died are looked for, `pause_s` how soon what was in trouble is
        tried again. `owner` names this process.
        """
        self.owner = owner or process_name(os.getpid())
        self._work = work
        self._files = files
        self._open_indexes = open_indexes
        self._read = read
        self._poll_s = poll_s
        self._pause_s = pause_s
        self._thread: threading.Thread | None = None
        self._wake = threading.Event()
        self._is_stopping = threading.Event()
        self._state = threading.Condition()
        self._adding: frozenset[tuple[str, str]] = frozenset()
        self._looked_at = 0.0
        self._held_over: _Ready | None = None

    def start(self) -> None:
        """Begin, with what an earlier server left first."""
        self._is_stopping.clear()
        # A daemon: a conversion that hangs must not keep a stopped server from ending.
        self._thread = threading.Thread(target=self._run, name="indexer", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Look for work now."""
        self._wake.set()

    def let_go(self, store_id: str, file_ids: Collection[str] | None = None) -> None:
        """Returns when none of these files, or of the store's, is being added; what was begun ends with its batch.

        A file that another server works on is waited for from its conversion on. Raises ServingError when that takes
        too long; the file stays hidden, and that server or the next start takes it away.
        """

        def is_free() -> bool:
            return not any(store == store_id and (file_ids is None or file in file_ids) for store, file in self._adding)

        with self._state:
            self._state.wait_for(is_free)
        deadline = time.monotonic() + _PATIENCE_S
        while others := self._work.owners_of_unwanted(store_id, file_ids) - {self.owner}:
            if not any(is_running(owner) for owner in others):
                return
            if time.monotonic() > deadline:
                raise ServingError(
                    f"another server (process {', '.join(sorted(others))}) still indexes into {store_id!r} what was "
                    "deleted or cancelled; it is hidden, and gone when that server is done or stopped"
                )
            time.sleep(_LOOK_S)

    def close(self, *, timeout_s: float = 10.0) -> None:
        """Stop; what is unfinished is taken up by the next server. Embeddings that were made are kept."""
        self._is_stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout_s)
            if self._thread.is_alive():
                # What it is at stays its own until the process ends.
                return
            self._thread = None
        self._work.release(self.owner)

    def _run(self) -> None:
        has_stumbled = is_waiting = False
        while not self._is_stopping.is_set():
            self._wake.clear()
            try:
                if has_stumbled or is_waiting:
                    self._held_over = None
                    self._work.release(self.owner, has_tried=has_stumbled)
                has_stumbled = is_waiting = False
                while not self._is_stopping.is_set() and (group := self._gather()):
                    self._add(group)
            except ArbiterError as error:
                # A database is away, which is no file's fault: what is in progress stays so, and is tried again.
                _log.warning("indexing waits: %s", error)
                is_waiting = True
            except Exception:
                _log.exception("indexing stumbled; it goes on")
                has_stumbled = True
            self._wake.wait(self._pause_s if has_stumbled or is_waiting else self._poll_s)

    def _gather(self) -> list[_Ready]:
        """Files of one store that are converted and ready to be added; empty when nothing waits."""
        started = time.monotonic()
        ready = [self._held_over] if self._held_over else []
        self._held_over = None
        while len(ready) < _MAX_GROUP and sum(len(one.document.text) for one in ready) < _MAX_GROUP_CHARS:
            if self._is_stopping.is_set() or (ready and time.monotonic() - started > _MAX_GROUP_S):
                break
            store_id = ready[0].claim.store_id if ready else None
            claim = self._work.claim(self.owner, is_running, store_id=store_id)
            if claim is None:
                break
            document = self._convert(claim)
            if document is not None and ready and len(document.text) >= _MAX_GROUP_CHARS:
                # The small ones need not wait for a large one.
                self._held_over = _Ready(claim, document)
                break
            if document is not None:
                ready.append(_Ready(claim, document))
        return ready

    def _convert(self, claim: Claim) -> Document | None:
        """The file as a document; None if it cannot be one, which its row then says."""
        if claim.attempts > MAX_ATTEMPTS:
            self._fail(claim, "server_error", f"the server stopped {MAX_ATTEMPTS} times while it indexed this file")
            return None
        try:
            return self._read(claim.filename, self._files.path(claim.file_id), claim.file_id)
        except RagError as error:
            is_known = PurePosixPath(claim.filename).suffix.lower() in KINDS
            self._fail(claim, "invalid_file" if is_known else "unsupported_file", str(error))
        except OSError as error:
            self._fail(claim, "server_error", f"the file cannot be read: {(error.strerror or str(error)).lower()}")
        except Exception:
            _log.exception("file=%s store=%s cannot be converted", claim.file_id, claim.store_id)
            self._fail(claim, "server_error", "the server failed on this file; its log has the reason")
        return None

    def _add(self, group: Sequence[_Ready]) -> None:
        """Adds the group in one change, and again without what was cancelled or deleted while that went on."""
        while group and not self._is_stopping.is_set():
            # Put up before the rows are read: whoever cancels after that sees it, and waits.
            self._put_up(group)
            try:
                group = self._live(group)
                self._put_up(group)
                if self._add_live(group):
                    return
            finally:
                self._put_up([])

    def _put_up(self, group: Sequence[_Ready]) -> None:
        with self._state:
            self._adding = frozenset((ready.claim.store_id, ready.claim.file_id) for ready in group)
            self._state.notify_all()

    def _live(self, group: Sequence[_Ready]) -> list[_Ready]:
        """Those of the files that are still wanted, with the attributes they have now; the others are let go."""
        live = []
        for ready in group:
            attributes = self._work.attributes(ready.claim)
            if attributes is None:
                self._work.let_go(ready.claim)
            else:
                document = replace(ready.document, metadata=dict(attributes))
                live.append(replace(ready, document=document, attributes=attributes))
        return live

    def _add_live(self, live: Sequence[_Ready]) -> bool:
        """Whether the files are done with; False if this was interrupted and is to be tried again."""
        if not live:
            return True
        first = live[0].claim
        try:
            index = self._open_indexes.make(first.store_id, ChunkSettings.from_dict(dict(first.chunking)))
            index.add([ready.document for ready in live], origin=ORIGIN, progress=lambda *_: self._watch(live))
            for ready in live:
                self._finish(ready, index)
        except _LetGo:
            return False
        except RagError as error:
            # Raises if the database is away, as it will for the next file.
            self._open_indexes.states()
            if len(live) > 1:
                # One by one, so that a fault stays with its file.
                outcomes = [self._add_live([ready]) for ready in live]
                return all(outcomes)
            self._fail(first, "server_error", str(error))
            return True
        except StorageError:
            raise
        except Exception:
            _log.exception("file=%s store=%s cannot be indexed", first.file_id, first.store_id)
            for ready in live:
                self._fail(ready.claim, "server_error", "the server failed on this file; its log has the reason")
        return True

    def _finish(self, ready: _Ready, index: Index) -> None:
        """What is in the index now becomes what its row says: completed, with newer attributes, or gone again."""
        claim = ready.claim
        attributes = ready.attributes
        num_chunks = len(index.chunks_of(claim.file_id))
        usage_bytes = vector_bytes(num_chunks, self._open_indexes.embedder.dimension)
        while (outcome := self._work.finish(claim, attributes, usage_bytes=usage_bytes)) == "changed":
            newer = self._work.attributes(claim)
            if newer is not None:
                attributes = newer
                index.set_metadata(claim.file_id, dict(attributes))
        if outcome == "unwanted":
            index.delete([claim.file_id])
            self._work.let_go(claim)
        _log.info("file=%s store=%s %s chunks=%d", claim.file_id, claim.store_id, outcome, num_chunks)

    def _fail(self, claim: Claim, code: ErrorCode, message: str) -> None:
        _log.warning("file=%s store=%s failed: %s", claim.file_id, claim.store_id, message)
        self._work.fail(claim, code, message)

    def _watch(self, live: Sequence[_Ready]) -> None:
        if self._is_stopping.is_set():
            raise _LetGo
        if time.monotonic() - self._looked_at > _LOOK_S:
            self._looked_at = time.monotonic()
            if not self._work.are_wanted(live[0].claim.store_id, [ready.claim.file_id for ready in live]):
                raise _LetGo
