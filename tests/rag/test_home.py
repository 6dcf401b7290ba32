import contextlib
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fakes.embedders import WordEmbedder
from fakes.retrieval_server import CHUNKING

from rag.documents.document import Document
from rag.errors import RagError
from rag.home import IndexHome, OpenIndexes
from rag.store.schema import INDEXES
from storage.errors import StorageError

IN_MEMORY = "langchain_core.vectorstores:InMemoryVectorStore"


def collection(home: Path, url: str | None = None) -> Any:
    database: Any = None  # It is read when a vector is asked for.
    views: Any = IndexHome(home, url=url, store=IN_MEMORY)._views("faq", WordEmbedder(), database)
    return views.collection


def test_data_directories_do_not_share_a_collection_and_a_new_password_opens_the_old_one(tmp_path: Path) -> None:
    url = "postgresql+psycopg://desk:{}@db/rag"

    assert len({collection(tmp_path / "a"), collection(tmp_path / "b"), collection(tmp_path, url)}) == 3
    assert collection(tmp_path / "a", url.format("one")) == collection(tmp_path / "b", url.format("two"))


@pytest.mark.parametrize("store", ["", IN_MEMORY])
def test_a_database_url_that_is_none_is_an_error_of_one_line(tmp_path: Path, store: str) -> None:
    with pytest.raises(StorageError, match="the database URL cannot be used") as caught:
        IndexHome(tmp_path, url="nonsense", store=store).create("faq", WordEmbedder())
    assert "\n" not in str(caught.value)


def test_what_is_left_of_an_index_that_is_gone_is_removed(tmp_path: Path) -> None:
    index_home = IndexHome(tmp_path, chunking=CHUNKING)
    with contextlib.closing(index_home.create("faq", WordEmbedder())) as index:
        index.add([Document("desk", "Desk", "The desk opens at nine.")])
    left = tmp_path / "indexes" / "gone" / "1.faiss"
    left.parent.mkdir()
    left.write_bytes(b"x")

    index_home.remove_leftovers()

    assert [folder.name for folder in (tmp_path / "indexes").iterdir()] == ["faq"]


def test_the_database_is_opened_once_however_often_the_indexes_are_looked_up(tmp_path: Path) -> None:
    num_opened = 0

    def count(*_: object) -> None:
        nonlocal num_opened
        num_opened += 1

    with contextlib.closing(OpenIndexes(IndexHome(tmp_path), WordEmbedder())) as open_indexes:
        assert open_indexes.states() == {}
        assert list(tmp_path.iterdir()) == []
        open_indexes.make("faq", CHUNKING).add([Document("desk", "Desk", "The desk opens at nine.")])
        assert open_indexes.states()["faq"].num_documents == 1
        sa.event.listen(sa.Pool, "connect", count)
        try:
            for _ in range(5):
                assert list(open_indexes.states()) == ["faq"]
        finally:
            sa.event.remove(sa.Pool, "connect", count)
    assert num_opened == 0
    # What is closed opens again.
    assert open_indexes.states()["faq"].num_chunks == 1
    open_indexes.close()


def test_indexes_share_their_connections(tmp_path: Path) -> None:
    names = ["a", "b", "c"]
    num_opened = 0

    def count(*_: object) -> None:
        nonlocal num_opened
        num_opened += 1

    with contextlib.closing(OpenIndexes(IndexHome(tmp_path), WordEmbedder())) as open_indexes:
        for name in names:
            open_indexes.make(name, CHUNKING).add([Document("desk", "Desk", f"The desk {name} opens at nine.")])
    sa.event.listen(sa.Pool, "connect", count)
    try:
        for name in names:
            assert name in open_indexes.open(name).search("desk", 1)[0].text
    finally:
        sa.event.remove(sa.Pool, "connect", count)
        open_indexes.close()
    assert num_opened == 1


def test_documents_are_looked_up_whichever_embedder_built_the_index(tmp_path: Path) -> None:
    for embedder in (WordEmbedder(), WordEmbedder("other@1")):
        with contextlib.closing(OpenIndexes(IndexHome(tmp_path), embedder)) as open_indexes:
            assert open_indexes.entries("none", ["desk"]) == {}
            if embedder.name != "other@1":
                open_indexes.make("faq", CHUNKING).add([Document("desk", "Desk", "At nine.", {"year": 2026})])
            (entry,) = open_indexes.entries("faq", ["desk", "fines"]).values()
            assert (entry.id, entry.metadata, entry.num_chunks) == ("desk", {"year": 2026}, 1)


def test_the_damaged_row_of_one_index_does_not_hide_that_there_is_no_other(tmp_path: Path) -> None:
    index_home = IndexHome(tmp_path, chunking=CHUNKING)
    with contextlib.closing(index_home.create("faq", WordEmbedder())) as index:
        index.add([Document("desk", "Desk", "The desk opens at nine.")])
    database = index_home.database()
    assert database is not None
    with contextlib.closing(database), database.write() as rows:
        rows.execute(sa.update(INDEXES).values(settings="{torn"))
    with contextlib.closing(OpenIndexes(index_home, WordEmbedder())) as open_indexes:
        for ask in (index_home.state, open_indexes.open):
            with pytest.raises(RagError, match=r"no index 'fqa' \(there is faq\)"):
                ask("fqa")
