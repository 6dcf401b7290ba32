"""What the indexer does when servers die, stop, or deletions were only begun."""

import contextlib
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fakes.embedders import WordEmbedder
from fakes.retrieval_server import CHUNKING, read_text, serving

from rag.documents.document import Document
from rag.home import IndexHome, OpenIndexes
from serving.errors import Conflict
from serving.vector_stores.files import FileStore
from serving.vector_stores.indexer import KIND, MAX_ATTEMPTS, Indexer
from serving.vector_stores.request import Attachment, StoreFields
from serving.vector_stores.rows import count_files, find_store
from serving.vector_stores.stores import VectorStores, open_vector_stores
from serving.vector_stores.uploads import Upload
from storage.database import Database, open_database
from storage.errors import StorageError
from storage.jobs.jobs import Jobs
from storage.jobs.rows import JobRows, job_id, process_name

# A process that lives, and one of this machine that does not.
OTHER = process_name(os.getppid())
GONE = OTHER.rsplit(":", 1)[0] + ":0.00"
DESK = "The desk opens at nine."


def until(happened: Callable[[], object], *, limit_s: float = 15) -> None:
    deadline = time.monotonic() + limit_s
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def opened(
    home: Path, embedder: WordEmbedder | None = None, *, owner: str | None = None, **rest: object
) -> VectorStores:
    open_indexes = OpenIndexes(IndexHome(home, chunking=CHUNKING), embedder or WordEmbedder())
    database = open_database(home)
    jobs = Jobs(JobRows(database, **({"owner": owner} if owner else {})))
    return open_vector_stores(open_indexes, database, jobs, **{"read": read_text, **rest})  # type: ignore[arg-type]


def kind_of(home: Path) -> str:
    return KIND + (home / "files.id").read_text()


def taken_up(home: Path, store_id: str, *file_ids: str, owner: str) -> JobRows:
    """As another server leaves the store's job while it adds files, or when it is killed then."""
    rows = JobRows(open_database(home), owner=owner, is_alive=lambda owner: False)
    rows.submit(kind_of(home), store_id)
    job = rows.claim(kind_of(home))
    assert job is not None
    assert rows.progress(job.id, {"files": file_ids, "is_adding": True})
    return rows


def upload(stores: VectorStores, text: str = DESK) -> str:
    with stores.files.draft() as draft:
        (draft / "content").write_text(text)
        return stores.files.publish(draft, Upload("note.txt", "assistants", len(text), "0")).id


def made(stores: VectorStores, *texts: str) -> tuple[str, list[str]]:
    """A store with a file for each text, and the files."""
    ids = [upload(stores, text) for text in texts]
    return stores.create(StoreFields(file_ids=list(ids))).store.id, ids


def is_done(stores: VectorStores, store_id: str) -> bool:
    return stores.get(store_id).counts["in_progress"] == 0


def counted(stores: VectorStores, store_id: str) -> dict[str, int]:
    """Its files by status, as their rows say."""
    return count_files(stores.database, store_id)


SLOW_SERVER = """
import sys, time
from pathlib import Path
from fakes.embedders import WordEmbedder
from fakes.retrieval_server import CHUNKING, read_text
from rag.home import IndexHome, OpenIndexes
from serving.vector_stores.stores import open_vector_stores
from storage.database import open_database
from storage.jobs.jobs import Jobs
from storage.jobs.rows import JobRows

home = Path(sys.argv[1])
open_indexes = OpenIndexes(IndexHome(home, chunking=CHUNKING), WordEmbedder(seconds_per_text=0.05))
database = open_database(home)
stores = open_vector_stores(open_indexes, database, Jobs(JobRows(database)), read=read_text)
stores.indexer.start()
print("started", flush=True)
time.sleep(60)
"""


@pytest.mark.slow
def test_files_of_a_killed_server_are_taken_up_again_and_none_is_lost(tmp_path: Path) -> None:
    first = opened(tmp_path)
    store_id, ids = made(first, *(f"{DESK} Number {i}." for i in range(40)))
    first.open_indexes.close()
    paths = {"PYTHONPATH": f"{Path(__file__).parents[2]}:{Path(__file__).parents[3]}"}
    child = subprocess.Popen([sys.executable, "-c", SLOW_SERVER, str(tmp_path)], stdout=subprocess.PIPE, env=paths)
    assert child.stdout is not None
    assert child.stdout.readline() == b"started\n"
    time.sleep(0.4)
    child.kill()
    child.communicate()
    second = opened(tmp_path)
    assert not is_done(second, store_id)
    second.indexer.start()
    until(lambda: is_done(second, store_id))
    counts = second.get(store_id).counts
    assert (counts["completed"], counts["failed"]) == (40, 0)
    index = second.open_indexes.open(store_id)
    assert [entry.id for entry in index.documents()] == sorted(ids)
    second.indexer.stop()
    second.open_indexes.close()


def test_a_file_that_ends_the_server_each_time_fails_at_last(tmp_path: Path) -> None:
    stores = opened(tmp_path)
    store_id, (file_id,) = made(stores, DESK)
    for number in range(MAX_ATTEMPTS):
        assert not is_done(stores, store_id), number
        taken_up(tmp_path, store_id, file_id, owner=GONE)
        stores.finish_begun()
    stores.indexer.start()
    until(lambda: is_done(stores, store_id))
    file = stores.get_file(store_id, file_id)
    assert file.status == "failed"
    assert file.last_error == {
        "code": "server_error",
        "message": "the server stopped 3 times while it indexed this file",
    }
    stores.indexer.stop()
    stores.open_indexes.close()


def test_another_server_of_the_home_leaves_alone_what_this_one_works_on(tmp_path: Path) -> None:
    embedder = WordEmbedder()
    embedder.gate.clear()
    first, second = opened(tmp_path, embedder), opened(tmp_path, owner=OTHER)
    store_id, _ = made(first, DESK)
    first.indexer.start()
    assert embedder.started.wait(10)
    second.indexer.start()
    time.sleep(0.1)
    assert not is_done(second, store_id)
    embedder.gate.set()
    until(lambda: is_done(second, store_id))
    assert second.open_indexes.embedder.num_embedded == 0  # type: ignore[attr-defined]
    for stores in (first, second):
        stores.indexer.stop()
        stores.open_indexes.close()


@pytest.mark.parametrize("way", ["file", "detach", "store", "cancel"])
def test_a_deletion_is_answered_when_another_server_adds_the_file_no_more(tmp_path: Path, way: str) -> None:
    embedder = WordEmbedder()
    embedder.gate.clear()
    # Two servers of one process; the second goes by the name of another one that lives.
    first, second = opened(tmp_path, embedder), opened(tmp_path, owner=OTHER)
    file_id = upload(first)
    store_id = first.create(StoreFields()).store.id
    first.attach(store_id, Attachment({file_id: {}}), batch_id="vsfb_1")
    first.indexer.start()
    assert embedder.started.wait(10)
    calls: dict[str, Callable[[], None]] = {
        "file": lambda: second.delete_file(file_id),
        "detach": lambda: second.detach(store_id, file_id),
        "store": lambda: second.delete(store_id),
        "cancel": lambda: second.cancel_batch(store_id, "vsfb_1"),
    }
    deleting = threading.Thread(target=calls[way])
    deleting.start()
    deleting.join(0.3)
    assert deleting.is_alive()
    embedder.gate.set()
    deleting.join(10)
    assert not deleting.is_alive()
    index = second.open_indexes.find(store_id)
    assert index is None or index.documents() == []
    first.indexer.stop()
    with second.database.read() as rows:
        assert (find_store(rows, store_id) is None) == (way == "store")
    assert first.open_indexes.find(store_id) is None or first.open_indexes.open(store_id).documents() == []
    for stores in (first, second):
        stores.open_indexes.close()


def test_another_server_stops_adding_what_was_deleted(tmp_path: Path) -> None:
    embedder = WordEmbedder(seconds_per_text=0.05)
    first, second = opened(tmp_path, embedder), opened(tmp_path, owner=OTHER)
    # 400 chunks of 20 words: 20 s.
    store_id, (file_id,) = made(first, " ".join(f"word{i}" for i in range(8_000)))
    first.indexer.start()
    assert embedder.started.wait(10)
    second.detach(store_id, file_id)
    assert embedder.num_embedded < 200
    assert second.open_indexes.states() == {}
    for stores in (first, second):
        stores.indexer.stop()
        stores.open_indexes.close()


def test_of_two_deletions_at_once_the_second_spares_what_was_attached_again(tmp_path: Path) -> None:
    stores = opened(tmp_path)
    store_id, (file_id,) = made(stores, DESK)
    stores.indexer.start()
    until(lambda: is_done(stores, store_id))
    stores.indexer.stop()
    other = taken_up(tmp_path, store_id, file_id, owner=OTHER)
    with contextlib.closing(sqlite3.connect(tmp_path / "arbiter.db")) as rows:
        second = threading.Thread(target=stores.detach, args=(store_id, file_id))
        second.start()
        # It waits for another server, and by then the first deletion is done and the file indexed again.
        until(lambda: rows.execute("SELECT 1 FROM vector_store_files WHERE status = 'deleting'").fetchall())
        with rows:
            rows.execute("UPDATE vector_store_files SET status = 'completed'")
    other.end(job_id(kind_of(tmp_path), store_id), "succeeded")
    second.join(10)
    assert [entry.id for entry in stores.open_indexes.open(store_id).documents()] == [file_id]
    assert stores.get_file(store_id, file_id).status == "completed"
    stores.open_indexes.close()


def test_a_deletion_does_not_wait_for_a_server_that_was_killed(tmp_path: Path) -> None:
    stores = opened(tmp_path)
    store_id, (file_id,) = made(stores, DESK)
    taken_up(tmp_path, store_id, file_id, owner=GONE)
    stores.detach(store_id, file_id)
    assert stores.get(store_id).counts.total() == 0
    stores.open_indexes.close()


def test_what_a_killed_server_had_indexed_is_taken_out_when_its_batch_is_cancelled(tmp_path: Path) -> None:
    stores = opened(tmp_path)
    file_id = upload(stores)
    store_id = stores.create(StoreFields()).store.id
    stores.attach(store_id, Attachment({file_id: {}}), batch_id="vsfb_1")
    taken_up(tmp_path, store_id, file_id, owner=GONE)
    index = stores.open_indexes.make(store_id, CHUNKING)
    index.add([Document(file_id, "note", DESK)])
    stores.cancel_batch(store_id, "vsfb_1")
    assert index.documents() == []
    assert stores.get_file(store_id, file_id).status == "cancelled"
    stores.open_indexes.close()


def test_what_was_cancelled_is_left_to_the_server_that_is_at_it(tmp_path: Path) -> None:
    stores = opened(tmp_path)
    store_id, (file_id,) = made(stores, DESK)
    taken_up(tmp_path, store_id, file_id, owner=OTHER)
    index = stores.open_indexes.make(store_id, CHUNKING)
    index.add([Document(file_id, "note", DESK)])
    with contextlib.closing(sqlite3.connect(tmp_path / "arbiter.db")) as rows, rows:
        rows.execute("UPDATE vector_store_files SET status = 'cancelled'")
    starting = threading.Thread(target=stores.finish_begun, daemon=True)
    starting.start()
    starting.join(5)
    assert not starting.is_alive()
    # It may have been attached again by the time that it would be taken out.
    assert [entry.id for entry in index.documents()] == [file_id]
    stores.open_indexes.close()


def test_a_file_that_another_server_has_finished_is_not_taken_out(tmp_path: Path) -> None:
    stores = opened(tmp_path)
    store_id, (file_id,) = made(stores, DESK)
    other = opened(tmp_path).indexer
    assert [other.finish(store_id, file_id, {}) for _ in range(2)] == ["completed", "completed"]
    assert counted(stores, store_id) == {"completed": 1}
    stores.open_indexes.close()


class Killed(VectorStores):
    """Does the first step of a deletion alone, as a server that is killed after it."""

    def _take_out(self, *_: str) -> None: ...
    def _remove_file(self, *_: str) -> None: ...
    def _remove_store(self, *_: str) -> None: ...


@pytest.mark.slow
@pytest.mark.parametrize("begun", ["file", "detach", "store"])
def test_a_deletion_that_was_only_begun_is_finished_before_anything_is_served(tmp_path: Path, begun: str) -> None:
    with serving(tmp_path) as server:
        store_id = server.filled(DESK)
        file_id = server.found(store_id, DESK)[0]
    whole = opened(tmp_path)
    stores = Killed(whole.database, whole.files, whole.open_indexes, whole.indexer)
    if begun == "file":
        stores.delete_file(file_id)
    elif begun == "detach":
        stores.detach(store_id, file_id)
    else:
        stores.delete(store_id)
    stores.open_indexes.close()
    with serving(tmp_path) as server:
        if begun == "store":
            assert server.stores.open_indexes.states() == {}
            assert server.client.files.retrieve(file_id).id == file_id
        else:
            assert server.found(store_id, DESK) == []
            assert server.client.vector_stores.retrieve(store_id).file_counts.total == 0
        assert (tmp_path / "files" / file_id).exists() == (begun != "file")


@pytest.mark.slow
def test_a_file_that_was_cancelled_just_before_the_server_was_killed_is_not_found(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        store_id = server.filled(DESK)
        (file_id,) = server.found(store_id, DESK)
    # As a server leaves it that is killed between indexing the file and looking whether it is still wanted.
    with contextlib.closing(sqlite3.connect(tmp_path / "arbiter.db")) as rows, rows:
        rows.execute("UPDATE vector_store_files SET status = 'cancelled' WHERE id = ?", (file_id,))
    taken_up(tmp_path, store_id, file_id, owner=GONE)
    with serving(tmp_path) as server:
        assert server.found(store_id, DESK) == []


def assembled(home: Path, database: Database, kind: type[Indexer] = Indexer) -> VectorStores:
    """As `opened`, with an indexer that tries again at once, and a database of its own for the indexes."""
    files = FileStore(database, home / "files")
    open_indexes = OpenIndexes(IndexHome(home / "apart", chunking=CHUNKING), WordEmbedder())
    indexer = kind(database, files, open_indexes, Jobs(JobRows(database)), read=read_text, pause_s=0.01)
    return VectorStores(database, files, open_indexes, indexer)


class FullDisk(Indexer):
    """Rows that cannot be written the first time that something is done."""

    num_finished = 0

    def finish(self, *what: Any) -> Any:
        self.num_finished += 1
        if self.num_finished == 1:
            raise StorageError("the disk is full")
        return super().finish(*what)


def test_rows_that_cannot_be_written_lose_nothing(tmp_path: Path) -> None:
    first = opened(tmp_path)
    store_id, _ = made(first, DESK)
    first.open_indexes.close()
    second = assembled(tmp_path, open_database(tmp_path), FullDisk)
    second.indexer.start()
    until(lambda: is_done(second, store_id))
    assert (second.get(store_id).counts["completed"], second.indexer.num_finished) == (1, 2)  # type: ignore[attr-defined]
    second.indexer.stop()
    second.open_indexes.close()


@pytest.mark.slow
def test_files_wait_while_the_database_of_the_indexes_is_away(tmp_path: Path) -> None:
    rows = open_database(tmp_path)
    stores = assembled(tmp_path, rows)
    store_id, ids = made(stores, DESK, f"{DESK} Again.")
    database = tmp_path / "apart" / "arbiter.db"
    database.parent.mkdir()
    database.write_bytes(b"no database" * 100)
    stores.indexer.start()
    # Time for more tries than any file has.
    time.sleep(0.5)
    assert counted(stores, store_id) == {"in_progress": 2}
    database.unlink()
    until(lambda: counted(stores, store_id) == {"completed": 2})
    assert [entry.id for entry in stores.open_indexes.open(store_id).documents()] == sorted(ids)
    stores.indexer.stop()
    stores.open_indexes.close()


def test_a_file_that_is_in_the_index_but_not_done_is_counted_once(tmp_path: Path) -> None:
    stores = opened(tmp_path)
    store_id, (file_id, _) = made(stores, DESK, f"{DESK} Again.")
    index = stores.open_indexes.make(store_id, CHUNKING)
    index.add([Document(name, "note", DESK) for name in (file_id, "elsewhere")])
    assert stores.get(store_id).counts == {"in_progress": 2, "completed": 1}
    stores.open_indexes.close()


def test_two_data_directories_on_one_database_leave_each_other_s_files_alone(tmp_path: Path) -> None:
    database = open_database(tmp_path)

    def over(home: Path) -> VectorStores:
        open_indexes = OpenIndexes(IndexHome(home, str(database.engine.url), chunking=CHUNKING), WordEmbedder())
        return open_vector_stores(open_indexes, database, Jobs(JobRows(database)), read=read_text)

    first, second = over(tmp_path / "a"), over(tmp_path / "b")
    store_id, (file_id, _) = made(first, DESK, f"{DESK} Again.")
    second.indexer.start()
    own = upload(second, "The desk closes at five.")
    second.attach(store_id, Attachment({own: {}}))
    until(lambda: second.get(store_id).counts == {"in_progress": 2, "completed": 1})
    calls: list[Callable[[], object]] = [
        lambda: second.attach(store_id, Attachment({file_id: {}})),
        lambda: second.create(StoreFields(file_ids=[file_id])),
        lambda: second.files.open(file_id),
    ]
    for call in calls:
        with pytest.raises(Conflict, match=f"{file_id}.* not in this server's data directory"):
            call()
    first.indexer.start()
    until(lambda: first.get(store_id).counts == {"completed": 3})
    # Of what another one left that ended nothing comes back, and the rest is still its own.
    for stores in (first, second):
        stores.indexer.stop()
    other = JobRows(database, owner=GONE)
    other.submit(kind_of(tmp_path / "a"), store_id)
    job = other.claim(kind_of(tmp_path / "a"))
    assert job is not None
    other.progress(job.id, {"files": [file_id], "is_adding": True})
    second.detach(store_id, file_id)
    assert second.get(store_id).counts == {"completed": 2}
    left = other.get(job.id)
    assert left is not None
    assert (left.state, left.owner) == ("queued", None)
    for stores in (first, second):
        stores.open_indexes.close()


@pytest.mark.parametrize("seen_by", ["the next start", "a look at the store", "a look at the batch"])
def test_files_whose_job_has_ended_get_another(tmp_path: Path, seen_by: str) -> None:
    stores = opened(tmp_path)
    if seen_by != "the next start":
        stores.indexer.start()
    file_id = upload(stores)
    store_id = stores.create(StoreFields()).store.id
    stores.attach(store_id, Attachment({file_id: {}}), batch_id="vsfb_1")
    until(lambda: counted(stores, store_id)["in_progress"] == (seen_by == "the next start"))
    with contextlib.closing(sqlite3.connect(tmp_path / "arbiter.db")) as rows, rows:
        rows.execute("UPDATE jobs SET state = 'failed', owner = NULL")
        rows.execute("UPDATE vector_store_files SET status = 'in_progress'")
    if seen_by == "the next start":
        stores.indexer.start()
    elif seen_by == "a look at the store":
        stores.get(store_id)
    else:
        stores.get_batch(store_id, "vsfb_1")
    until(lambda: counted(stores, store_id)["completed"] == 1)
    stores.indexer.stop()
    stores.open_indexes.close()


def test_files_that_are_attached_again_are_looked_up_without_their_texts(tmp_path: Path) -> None:
    stores = opened(tmp_path)
    store_id, ids = made(stores, DESK, f"{DESK} Again.")
    stores.indexer.start()
    until(lambda: is_done(stores, store_id))
    stores.open_indexes.delete_documents(store_id, ids[:1])
    told: list[str] = []

    def tell(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        told.append(statement)

    stores.indexer.stop()
    sa.event.listen(sa.Engine, "before_cursor_execute", tell)
    try:
        stores.attach(store_id, Attachment({file_id: {} for file_id in ids}))
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", tell)
    assert [statement for statement in told if "documents.text" in statement] == []
    # The one that the index has lost waits to be indexed again.
    assert counted(stores, store_id) == {"in_progress": 1, "completed": 1}
    stores.open_indexes.close()


def test_attributes_that_change_during_the_indexing_are_the_ones_that_count(tmp_path: Path) -> None:
    embedder = WordEmbedder()
    embedder.gate.clear()
    stores = opened(tmp_path, embedder)
    store_id, (file_id,) = made(stores, DESK)
    stores.indexer.start()
    assert embedder.started.wait(10)
    stores.set_attributes(store_id, file_id, {"state": "new"})
    embedder.gate.set()
    until(lambda: is_done(stores, store_id))
    document = stores.open_indexes.open(store_id).document(file_id)
    assert document is not None
    assert document.metadata == {"state": "new"}
    stores.indexer.stop()
    stores.open_indexes.close()


def test_a_converted_file_does_not_wait_for_the_failing_ones_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.vector_stores.indexer._MAX_GROUP_S", 0.05)
    completed = []

    def reading(name: str, data: Path, document_id: str) -> Document:
        completed.append(stores.get(store_id).counts["completed"])
        if "CORRUPT" in data.read_text():
            time.sleep(0.1)
        return read_text(name, data, document_id)

    stores = opened(tmp_path, read=reading)
    store_id, _ = made(stores, DESK, "CORRUPT 1", "CORRUPT 2")
    stores.indexer.start()
    until(lambda: is_done(stores, store_id))
    assert completed[2] == 1
    stores.indexer.stop()
    stores.open_indexes.close()


def test_a_conversion_that_hangs_does_not_hold_up_the_deletion_of_its_file(tmp_path: Path) -> None:
    begun, let_go = threading.Event(), threading.Event()

    def hanging(name: str, data: Path, document_id: str) -> Document:
        begun.set()
        let_go.wait(10)
        return read_text(name, data, document_id)

    stores = opened(tmp_path, read=hanging)
    store_id, (file_id,) = made(stores, DESK)
    stores.indexer.start()
    assert begun.wait(10)
    started = time.monotonic()
    stores.detach(store_id, file_id)
    assert time.monotonic() - started < 5
    let_go.set()
    time.sleep(0.1)
    assert stores.open_indexes.states() == {}
    stores.indexer.stop()
    stores.open_indexes.close()
