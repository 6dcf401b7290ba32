"""The rows of files and vector stores, on both databases."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.embedders import WordEmbedder
from fakes.retrieval_server import CHUNKING, read_text

from rag.home import IndexHome, OpenIndexes
from serving.errors import NotFound, Overloaded, Refused
from serving.http.pages import Page
from serving.vector_stores.files import CONTENT, FileStore
from serving.vector_stores.request import Attachment, StoreFields
from serving.vector_stores.rows import count_files, find_store
from serving.vector_stores.stores import StoreState, VectorStores, open_vector_stores
from serving.vector_stores.uploads import Upload
from storage.database import Database
from storage.jobs.jobs import Jobs
from storage.jobs.rows import JobRows


@pytest.fixture
def files(database: Database, tmp_path: Path) -> FileStore:
    return FileStore(database, tmp_path / "files", clock=lambda: 1_700_000_000.5)


@pytest.fixture
def stores(database: Database, database_url: str, tmp_path: Path) -> Iterator[VectorStores]:
    made = over(database, database_url, tmp_path)
    yield made
    made.open_indexes.close()


def over(database: Database, url: str, home: Path) -> VectorStores:
    open_indexes = OpenIndexes(IndexHome(home, url, chunking=CHUNKING), WordEmbedder())
    return open_vector_stores(open_indexes, database, Jobs(JobRows(database)), read=read_text)


def upload(files: FileStore, name: str = "desk.txt") -> str:
    with files.draft() as draft:
        (draft / CONTENT).write_bytes(b"nine")
        return files.publish(draft, Upload(name, "assistants", 4, "0")).id


def add_store(stores: VectorStores) -> StoreState:
    return stores.create(StoreFields(name="desk", metadata={"team": "é\x00"}))


def attach(stores: VectorStores, store_id: str, *file_ids: str) -> None:
    wanted = {file_id: {"year": 2026, "open": True} for file_id in file_ids}
    stores.attach(store_id, Attachment(wanted), batch_id="vsfb_1")


def counted(stores: VectorStores, store_id: str) -> dict[str, int]:
    return count_files(stores.database, store_id)


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


def test_a_store_comes_back_as_it_was_made_and_changed(stores: VectorStores) -> None:
    made = add_store(stores).store
    assert (made.name, made.metadata, made.is_own) == ("desk", {"team": "é\x00"}, True)
    assert stores.get(made.id).store == made
    changed = stores.update(made.id, {"name": "front", "metadata": None}).store
    assert (changed.name, changed.metadata, changed.created_at) == ("front", None, made.created_at)
    for name in ("faq", "manual"):
        stores.open_indexes.make(name, CHUNKING).add([])
    # Those that were made elsewhere come in when they are looked for.
    assert [found.id for found in stores.page(Page(order="asc")).rows] == [made.id, "faq", "manual"]
    stores.open_indexes.drop("manual")
    assert [found.id for found in stores.page(Page(order="asc")).rows] == [made.id, "faq"]
    stores.delete(made.id)
    with stores.database.read() as rows:
        assert find_store(rows, made.id) is None
    with pytest.raises(NotFound):
        stores.get(made.id)


def test_files_are_worked_off_in_the_order_they_came(files: FileStore, stores: VectorStores) -> None:
    store_id, ids = add_store(stores).id, [upload(files) for _ in range(3)]
    attach(stores, store_id, *ids)
    work, waiting = stores.indexer, stores.indexer.waiting(store_id)
    assert [one.id for one in waiting] == ids
    assert waiting[0].chunking == stores.get(store_id).store.chunking
    assert waiting[0].chunking["chunk_tokens"] == CHUNKING.chunk_tokens
    for file_id in ids:
        attributes = work.wanted(store_id, [file_id])[file_id]
        assert json.dumps(attributes, sort_keys=True) == '{"open": true, "year": 2026}'
        assert work.finish(store_id, file_id, attributes) == "completed"
    assert work.waiting(store_id) == []
    assert counted(stores, store_id) == {"completed": 3}
    assert stores.get_batch(store_id, "vsfb_1")[1] == {"completed": 3}
    with pytest.raises(Refused, match="is done"):
        stores.cancel_batch(store_id, "vsfb_1")


def test_what_is_cancelled_or_taken_out_is_not_indexed(files: FileStore, stores: VectorStores) -> None:
    store_id, ids = add_store(stores).id, [upload(files) for _ in range(2)]
    attach(stores, store_id, *ids)
    work = stores.indexer
    assert set(work.wanted(store_id, ids)) == set(ids)
    stores.detach(store_id, ids[1])
    stores.cancel_batch(store_id, "vsfb_1")
    assert work.finish(store_id, ids[0], {}) == "unwanted"
    assert (work.waiting(store_id), work.wanted(store_id, ids)) == ([], {})
    assert counted(stores, store_id) == {"cancelled": 1}


def test_only_so_many_files_wait_whoever_attaches_them(
    files: FileStore, database_url: str, tmp_path: Path, stores: VectorStores
) -> None:
    store_id, ids = add_store(stores).id, [upload(files) for _ in range(8)]
    barrier, refused = threading.Barrier(len(ids)), []

    def run(file_id: str) -> None:
        database = Database(database_url)
        other = over(database, database_url, tmp_path)
        other.max_waiting = 5
        barrier.wait(timeout=30)
        try:
            other.attach(store_id, Attachment({file_id: {}}))
        except Overloaded:
            refused.append(file_id)
        other.open_indexes.close()
        database.close()

    threads = [threading.Thread(target=run, args=(file_id,)) for file_id in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 3
    assert counted(stores, store_id) == {"in_progress": 5}
