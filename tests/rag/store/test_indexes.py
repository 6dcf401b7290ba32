from __future__ import annotations

import threading
from contextlib import closing

import pytest
import sqlalchemy as sa

from rag.chunking.chunk import ChunkSettings
from rag.errors import RagError
from rag.store import chunks, indexes
from rag.store.indexes import IndexState
from rag.store.schema import INDEXES
from storage.database import Database


def _add(store: Database, name: str) -> IndexState | None:
    with store.write_beside() as rows:
        return indexes.create(rows, name, "fake@1", ChunkSettings())


def _state(store: Database, name: str) -> IndexState | None:
    with store.read() as rows:
        return indexes.state(rows, name)


def test_what_is_written_is_there_when_opened_again(database: Database, database_url: str) -> None:
    _add(database, "faq")
    with closing(Database(database_url)) as again:
        state = _state(again, "faq")
        assert state is not None
        assert (state.embedder, state.settings, state.generation) == ("fake@1", ChunkSettings(), 0)
        assert _state(again, "other") is None


def test_a_name_that_is_taken_is_not_taken_again(database: Database) -> None:
    first = _add(database, "faq")
    assert _add(database, "faq") is None
    assert _state(database, "faq") == first


def test_a_name_that_was_taken_and_is_free_again_is_tried_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # PostgreSQL lets another process make an index and remove it between the two statements.
    monkeypatch.setattr(indexes, "insert_missing", lambda *_: None)
    assert _add(database, "faq") is None


def test_each_generation_has_a_token_of_its_own(database: Database) -> None:
    _add(database, "faq")
    for _ in range(3):
        with database.write_beside() as rows:
            state = indexes.existing(rows, "faq", is_locked=True)
            indexes.advance(rows, state, state.tally)

    with database.read() as rows:
        state = indexes.existing(rows, "faq")
        tokens = [indexes.token(rows, state.id, generation) for generation in (1, 2, 3)]
        assert indexes.token(rows, state.id, 4) is None
    assert len(set(tokens)) == 3
    assert tokens[2] == state.token


def test_numbers_are_given_once_whoever_asks(database_url: str) -> None:
    stores = [Database(database_url) for _ in range(4)]
    taken: list[int] = []

    def take(store: Database) -> None:
        for _ in range(5):
            taken.extend(chunks.take_numbers(store, 3))

    threads = [threading.Thread(target=take, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(taken) == list(range(1, 61))
    for store in stores:
        store.close()


@pytest.mark.parametrize(
    "damage", [{"settings": "{torn"}, {"settings": "[]"}, {"settings": '{"x": 1}'}, {"content_sum": "no sum"}]
)
def test_the_damaged_row_of_an_index_is_an_error_of_one_line(database: Database, damage: dict[str, str]) -> None:
    _add(database, "faq")
    with database.write() as rows:
        rows.execute(sa.update(INDEXES).values(damage))

    with pytest.raises(
        RagError, match=r"the row of index 'faq' is damaged .*put a copy of the database back"
    ) as caught:
        _state(database, "faq")
    assert "\n" not in str(caught.value)


def test_the_damaged_row_of_another_index_does_not_hide_that_there_is_no_such_index(database: Database) -> None:
    _add(database, "faq")
    with database.write() as rows:
        rows.execute(sa.update(INDEXES).values(settings="{torn"))

    with database.read() as rows, pytest.raises(RagError, match=r"no index 'fqa' \(there is faq\)"):
        indexes.existing(rows, "fqa")
