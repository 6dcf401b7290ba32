"""What the indexer does when servers die, stop, or deletions were only begun."""

import contextlib
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes.embedders import WordEmbedder
from fakes.retrieval_server import CHUNKING, read_text, serving

from rag.documents.document import Document
from serving.database import Database
from serving.errors import ServingError
from serving.indexes.home import IndexHome
from serving.retrieval.collections import Collections
from serving.retrieval.files import FileStore
from serving.retrieval.indexer import MAX_ATTEMPTS, Indexer
from serving.retrieval.schema import FILES_DB, METADATA
from serving.retrieval.store_request import Attachment, NewStore
from serving.retrieval.store_rows import Attributes, StoreRows, Wanted
from serving.retrieval.uploads import Upload
from serving.retrieval.vector_stores import VectorStores, open_vector_stores
from serving.retrieval.work_rows import Claim, WorkRows

DESK = "The desk opens at nine."


def until(happened: Callable[[], object], *, limit_s: float = 15) -> None:
    deadline = time.monotonic() + limit_s
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def opened(home: Path, embedder: WordEmbedder | None = None, **rest: object) -> VectorStores:
    collections = Collections(IndexHome(home, chunking=CHUNKING), embedder or WordEmbedder())
    return open_vector_stores(collections, **{"read": read_text, **rest})  # type: ignore[arg-type]


def upload(stores: VectorStores, text: str = DESK) -> str:
    with stores.files.draft() as draft:
        (draft / "content").write_text(text)
        return stores.files.publish(draft, Upload("note.txt", len(text), "0", {}), "assistants").id


def made(stores: VectorStores, *texts: str) -> tuple[str, list[str]]:
    """A store with a file for each text, and the files."""
    ids = [upload(stores, text) for text in texts]
    return stores.create(NewStore(None, None, None, Attachment(tuple(Wanted(i, {}) for i in ids)))).store.id, ids


def is_done(stores: VectorStores, store_id: str) -> bool:
    return stores.get(store_id).counts["in_progress"] == 0


SLOW_SERVER = """
import sys, time
from pathlib import Path
from fakes.embedders import WordEmbedder
from fakes.retrieval_server import CHUNKING, read_text
from serving.indexes.home import IndexHome
from serving.retrieval.collections import Collections
from serving.retrieval.vector_stores import open_vector_stores

home = Path(sys.argv[1])
collections = Collections(IndexHome(home, chunking=CHUNKING), WordEmbedder(seconds_per_text=0.05))
stores = open_vector_stores(collections, read=read_text)
stores.start()
print("started", flush=True)
time.sleep(60)
"""


def test_files_of_a_killed_server_are_taken_up_again_and_none_is_lost(tmp_path: Path) -> None:
    first = opened(tmp_path)
    store_id, ids = made(first, *(f"{DESK} Number {i}." for i in range(40)))
    first.close()
    paths = {"PYTHONPATH": f"{Path(__file__).parents[2]}:{Path(__file__).parents[3]}"}
    child = subprocess.Popen([sys.executable, "-c", SLOW_SERVER, str(tmp_path)], stdout=subprocess.PIPE, env=paths)
    assert child.stdout is not None
    assert child.stdout.readline() == b"started\n"
    time.sleep(0.4)
    child.kill()
    child.communicate()
    second = opened(tmp_path)
    assert not is_done(second, store_id)
    second.start()
    until(lambda: is_done(second, store_id))
    counts = second.get(store_id).counts
    assert (counts["completed"], counts["failed"]) == (40, 0)
    index = second.collections.open(store_id)
    assert [entry.id for entry in index.documents()] == sorted(ids)
    second.stop()
    second.close()


def test_a_file_that_ends_the_server_each_time_fails_at_last(tmp_path: Path) -> None:
    stores = opened(tmp_path)
    store_id, (file_id,) = made(stores, DESK)
    work = WorkRows(Database(tmp_path / FILES_DB, METADATA))
    for number in range(MAX_ATTEMPTS):
        # A process that is gone took it up.
        claim = work.claim(f"dead-{number}", lambda owner: False)
        assert claim is not None
        assert claim.attempts == number + 1
    stores.start()
    until(lambda: is_done(stores, store_id))
    file = stores.get_file(store_id, file_id)
    assert file.status == "failed"
    assert file.last_error == {
        "code": "server_error",
        "message": "the server stopped 3 times while it indexed this file",
    }
    stores.stop()
    stores.close()


def test_another_server_of_the_home_leaves_alone_what_this_one_works_on(tmp_path: Path) -> None:
    embedder = WordEmbedder()
    embedder.gate.clear()
    first, second = opened(tmp_path, embedder), opened(tmp_path, owner="1:0.00")
    store_id, _ = made(first, DESK)
    first.start()
    assert embedder.started.wait(10)
    second.start()
    time.sleep(0.1)
    assert not is_done(second, store_id)
    embedder.gate.set()
    until(lambda: is_done(second, store_id))
    assert second.collections.embedder.num_embedded == 0  # type: ignore[attr-defined]
    for stores in (first, second):
        stores.stop()
        stores.close()


@pytest.mark.parametrize("begun", ["file", "detach", "store"])
def test_a_deletion_that_was_only_begun_is_finished_before_anything_is_served(tmp_path: Path, begun: str) -> None:
    with serving(tmp_path) as server:
        store_id = server.filled(DESK)
        file_id = server.found(store_id, DESK)[0]
    stores = opened(tmp_path)
    # The first step alone, as a server leaves it that is killed after it.
    if begun == "file":
        stores.files.hide(file_id)
    elif begun == "detach":
        stores.rows.detach(file_id, store_id=store_id)
    else:
        stores.rows.hide_store(store_id)
    stores.close()
    with serving(tmp_path) as server:
        if begun == "store":
            assert server.stores.collections.states() == {}
            assert server.client.files.retrieve(file_id).id == file_id
        else:
            assert server.found(store_id, DESK) == []
            assert server.client.vector_stores.retrieve(store_id).file_counts.total == 0
        assert (tmp_path / "files" / file_id).exists() == (begun != "file")


def test_a_file_that_was_cancelled_just_before_the_server_was_killed_is_not_found(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        store_id = server.filled(DESK)
        (file_id,) = server.found(store_id, DESK)
    # As a server leaves it that is killed between indexing the file and looking whether it is still wanted.
    with contextlib.closing(sqlite3.connect(tmp_path / "files.db")) as rows, rows:
        rows.execute("UPDATE store_files SET status = 'cancelled' WHERE id = ?", (file_id,))
    with serving(tmp_path) as server:
        assert server.found(store_id, DESK) == []


class FullDisk(WorkRows):
    """Rows that cannot be written the first time that something is done."""

    num_finished = 0

    def finish(self, claim: Claim, attributes: Attributes, *, usage_bytes: int) -> Any:
        self.num_finished += 1
        if self.num_finished == 1:
            raise ServingError("the disk is full")
        return super().finish(claim, attributes, usage_bytes=usage_bytes)


def test_rows_that_cannot_be_written_lose_nothing(tmp_path: Path) -> None:
    first = opened(tmp_path)
    store_id, _ = made(first, DESK)
    first.close()
    database = Database(tmp_path / FILES_DB, METADATA)
    work, files = FullDisk(database), FileStore(database, tmp_path / "files")
    collections = Collections(IndexHome(tmp_path, chunking=CHUNKING), WordEmbedder())
    indexer = Indexer(work, files, collections, read=read_text)
    second = VectorStores(StoreRows(database), files, collections, indexer, close=database.close)
    second.start()
    until(lambda: is_done(second, store_id))
    assert (second.get(store_id).counts["completed"], work.num_finished) == (1, 2)
    second.stop()
    second.close()


def test_attributes_that_change_during_the_indexing_are_the_ones_that_count(tmp_path: Path) -> None:
    embedder = WordEmbedder()
    embedder.gate.clear()
    stores = opened(tmp_path, embedder)
    store_id, (file_id,) = made(stores, DESK)
    stores.start()
    assert embedder.started.wait(10)
    stores.set_attributes(store_id, file_id, {"state": "new"})
    embedder.gate.set()
    until(lambda: is_done(stores, store_id))
    document = stores.collections.open(store_id).document(file_id)
    assert document is not None
    assert document.metadata == {"state": "new"}
    stores.stop()
    stores.close()


def test_a_conversion_that_hangs_does_not_hold_up_the_deletion_of_its_file(tmp_path: Path) -> None:
    begun, let_go = threading.Event(), threading.Event()

    def hanging(name: str, data: Path, document_id: str) -> Document:
        begun.set()
        let_go.wait(10)
        return read_text(name, data, document_id)

    stores = opened(tmp_path, read=hanging)
    store_id, (file_id,) = made(stores, DESK)
    stores.start()
    assert begun.wait(10)
    started = time.monotonic()
    stores.detach(store_id, file_id)
    assert time.monotonic() - started < 5
    let_go.set()
    time.sleep(0.1)
    assert stores.collections.states() == {}
    stores.stop()
    stores.close()
