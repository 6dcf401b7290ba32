"""Attributes are the same where they are shown and where filters look, whatever fails in between."""

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from fakes.retrieval_server import Server, serving

from rag.home import OpenIndexes
from serving.errors import NotFound
from serving.vector_stores.stores import VectorStores
from storage.database import open_database

DESK = "The desk opens at nine."
OLD, NEW = {"state": "old"}, {"state": "new"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path) as running:
        yield running


def filled(server: Server) -> tuple[str, str]:
    """A store with one file whose state is old."""
    store_id = server.client.vector_stores.create().id
    file_id = server.uploaded(DESK)
    server.client.vector_stores.files.create_and_poll(file_id, vector_store_id=store_id, attributes=OLD)
    return store_id, file_id


def shown_and_filtered(server: Server, store_id: str, file_id: str) -> tuple[object, list[str]]:
    """What the file shows, and which states it is found by."""
    found = []
    for state in ("old", "new"):
        equal: Any = {"type": "eq", "key": "state", "value": state}
        found += [state] * len(server.found(store_id, DESK, filters=equal))
    return server.client.vector_stores.files.retrieve(file_id, vector_store_id=store_id).attributes, found


@contextlib.contextmanager
def refusing(home: Path) -> Iterator[None]:
    """The index's database lets no document be changed until the end of the block."""
    with contextlib.closing(sqlite3.connect(home / "arbiter.db")) as rows:
        rows.execute("CREATE TRIGGER refuse BEFORE UPDATE ON documents BEGIN SELECT RAISE(ABORT, 'refused'); END")
        yield
        rows.execute("DROP TRIGGER refuse")


@pytest.mark.slow
@pytest.mark.parametrize("way", ["update", "attach", "batch"])
def test_attributes_that_the_index_does_not_take_change_nothing(server: Server, tmp_path: Path, way: str) -> None:
    store_id, file_id = filled(server)
    stores = server.client.vector_stores
    calls = {
        "update": lambda: stores.files.update(file_id, vector_store_id=store_id, attributes=NEW),
        "attach": lambda: stores.files.create(store_id, file_id=file_id, attributes=NEW),
        "batch": lambda: stores.file_batches.create(store_id, file_ids=[file_id], attributes=NEW),
    }
    with refusing(tmp_path):
        with pytest.raises(openai.InternalServerError, match="refused") as refused:
            calls[way]()
        assert refused.value.status_code == 503
        assert shown_and_filtered(server, store_id, file_id) == (OLD, ["old"])
    calls[way]()
    assert shown_and_filtered(server, store_id, file_id) == (NEW, ["new"])


@pytest.mark.slow
@pytest.mark.parametrize("way", ["update", "attach"])
def test_one_and_true_are_different_attributes(server: Server, way: str) -> None:
    store_id, file_id = filled(server)
    files = server.client.vector_stores.files
    for value in (1, True, 1):
        if way == "update":
            files.update(file_id, vector_store_id=store_id, attributes={"open": value})
        else:
            files.create(store_id, file_id=file_id, attributes={"open": value})
        for asked in (1, True):
            equal: Any = {"type": "eq", "key": "open", "value": asked}
            assert bool(server.found(store_id, DESK, filters=equal)) == (asked is value)


@pytest.mark.slow
def test_a_file_that_the_index_has_lost_is_indexed_again(server: Server) -> None:
    store_id, file_id = filled(server)
    server.stores.open_indexes.delete_documents(store_id, [file_id])
    server.client.vector_stores.files.create(store_id, file_id=file_id, attributes=NEW)
    server.until_indexed(store_id)
    assert shown_and_filtered(server, store_id, file_id) == (NEW, ["new"])


@pytest.mark.slow
def test_of_many_changes_at_once_one_counts_in_both_places(server: Server) -> None:
    store_id, file_id = filled(server)
    files = server.client.vector_stores.files

    def change(thread: int) -> None:
        for number in range(5):
            state = ("old", "new")[(thread + number) % 2]
            files.update(file_id, vector_store_id=store_id, attributes={"state": state})

    threads = [threading.Thread(target=change, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    shown, found = shown_and_filtered(server, store_id, file_id)
    assert [shown] == [{"state": state} for state in found]


def test_a_deletion_does_not_wait_for_a_change_and_is_not_undone_by_it(server: Server, tmp_path: Path) -> None:
    store_id, file_id = filled(server)

    class Deleting(VectorStores):
        def _document(self, *what: Any) -> Any:
            # Deleted while another server changes it.
            server.stores.detach(store_id, file_id)
            return super()._document(*what)

    with contextlib.closing(open_database(tmp_path)) as database:
        other = Deleting(database, server.stores.files, server.stores.open_indexes, server.stores.indexer)
        with pytest.raises(NotFound):
            other.set_attributes(store_id, file_id, NEW)
    assert server.stores.open_indexes.open(store_id).documents() == []
    assert server.client.vector_stores.retrieve(store_id).file_counts.total == 0


def test_of_two_that_attach_a_new_file_at_once_the_last_is_heeded(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_id, file_id = server.client.vector_stores.create().id, server.uploaded(DESK)
    entries, stores = OpenIndexes.entries, server.client.vector_stores

    def overtaken(*given: Any) -> Any:
        monkeypatch.undo()
        found = entries(*given)
        # What was read is old before anything is written.
        stores.files.create_and_poll(file_id, vector_store_id=store_id, attributes=OLD)
        return found

    monkeypatch.setattr(OpenIndexes, "entries", overtaken)
    assert stores.files.create(store_id, file_id=file_id, attributes=NEW).attributes == NEW
    assert shown_and_filtered(server, store_id, file_id) == (NEW, ["new"])
