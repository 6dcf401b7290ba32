"""The rows of files and vector stores, on both databases."""

import json
import threading
import uuid
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from serving.errors import NotFound, Overloaded, Refused
from serving.http.pages import Page
from serving.vector_stores.files import CONTENT, FileStore
from serving.vector_stores.indexer import WorkRows
from serving.vector_stores.rows import StoredStore, StoreRows
from serving.vector_stores.uploads import Upload
from storage.database import Database

CHUNKING = {"chunk_tokens": 20}


@pytest.fixture
def files(database: Database, tmp_path: Path) -> FileStore:
    return FileStore(database, tmp_path / "files", clock=lambda: 1_700_000_000.5)


@pytest.fixture
def rows(database: Database) -> StoreRows:
    return StoreRows(database, clock=lambda: 1_700_000_000.5)


@pytest.fixture
def work(database: Database) -> WorkRows:
    return WorkRows(database)


def upload(files: FileStore, name: str = "desk.txt") -> str:
    with files.draft() as draft:
        (draft / CONTENT).write_bytes(b"nine")
        return files.publish(draft, Upload(name, "assistants", 4, "0")).id


def add_store(rows: StoreRows, name: str = "desk") -> StoredStore:
    return rows.add_store(name, metadata={"team": "é\x00"})


def attach(rows: StoreRows, store: StoredStore, *file_ids: str, max_waiting: int = 100) -> str:
    wanted = {file_id: {"year": 2026, "open": True} for file_id in file_ids}
    batch_id = f"vsfb_{uuid.uuid4().hex}"
    rows.attach(store.id, wanted, chunking=CHUNKING, max_waiting=max_waiting, submit=lambda *_: None, batch_id=batch_id)
    return batch_id


def test_a_file_comes_back_and_goes_in_two_steps(files: FileStore) -> None:
    names = [upload(files, f"{number}.txt") for number in range(3)]
    assert [file.id for file in files.page(Page(limit=2, order="asc")).rows] == names[:2]
    assert [file.id for file in files.page(Page(after=names[1], order="asc")).rows] == names[2:]
    assert (files.get(names[0]).filename, files.get(names[0]).created_at) == ("0.txt", 1_700_000_000)
    with files.open(names[0]) as stream:
        assert stream.read() == b"nine"
    files.hide(names[0])
    assert files.hidden() == names[:1]
    with pytest.raises(NotFound):
        files.get(names[0])
    files.remove(names[0])
    assert (files.hidden(), files.path(names[0]).exists()) == ([], False)


def test_a_store_comes_back_as_it_was_made_and_changed(rows: StoreRows) -> None:
    store = add_store(rows)
    assert rows.find_store(store.id) == store
    rows.update_store(store.id, {"name": "front", "metadata": None})
    assert rows.find_store(store.id) == replace(store, name="front", metadata=None)
    rows.adopt(["faq", "manual"])
    rows.adopt(["faq", "rules"])
    page = rows.stores(Page(order="asc"), ["faq", "rules"])
    assert [found.id for found in page.rows] == [store.id, "faq", "rules"]
    rows.hide_store(store.id)
    assert (rows.find_store(store.id), rows.hidden_stores()) == (None, [store.id])
    rows.remove_store(store.id)
    assert rows.hidden_stores() == []


def test_files_are_worked_off_in_the_order_they_came(files: FileStore, rows: StoreRows, work: WorkRows) -> None:
    store, ids = add_store(rows), [upload(files) for _ in range(3)]
    batch_id = attach(rows, store, *ids)
    found = rows.find_store(store.id)
    assert found is not None
    assert found.chunking == CHUNKING
    waiting = work.waiting(store.id, sa.true())
    assert [one.id for one in waiting] == ids
    assert waiting[0].chunking == CHUNKING
    for file_id in ids:
        attributes = work.wanted(store.id, [file_id])[file_id]
        assert json.dumps(attributes, sort_keys=True) == '{"open": true, "year": 2026}'
        assert work.finish(store.id, file_id, attributes) == "completed"
    assert work.waiting(store.id, sa.true()) == []
    assert rows.counts([store.id])[store.id] == {"completed": 3}
    assert rows.get_batch(store.id, batch_id)[1] == {"completed": 3}
    with pytest.raises(Refused, match="is done"):
        rows.cancel_batch(store.id, batch_id)


def test_what_is_cancelled_or_taken_out_is_not_indexed(files: FileStore, rows: StoreRows, work: WorkRows) -> None:
    store, ids = add_store(rows), [upload(files) for _ in range(2)]
    batch_id = attach(rows, store, *ids)
    assert set(work.wanted(store.id, ids)) == set(ids)
    assert rows.detach(ids[1]) == [store.id]
    assert rows.cancel_batch(store.id, batch_id) == ids[:1]
    assert work.finish(store.id, ids[0], {}) == "unwanted"
    assert (work.waiting(store.id, sa.true()), work.wanted(store.id, ids)) == ([], {})
    assert rows.detached() == [(store.id, ids[1])]


def test_only_so_many_files_wait_whoever_attaches_them(files: FileStore, database_url: str, rows: StoreRows) -> None:
    store, ids = add_store(rows), [upload(files) for _ in range(8)]
    barrier, refused = threading.Barrier(len(ids)), []

    def run(file_id: str) -> None:
        other = Database(database_url)
        barrier.wait(timeout=30)
        try:
            attach(StoreRows(other), store, file_id, max_waiting=5)
        except Overloaded:
            refused.append(file_id)
        other.close()

    threads = [threading.Thread(target=run, args=(file_id,)) for file_id in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 3
    assert rows.counts([store.id])[store.id] == {"in_progress": 5}
