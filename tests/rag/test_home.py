import contextlib
from pathlib import Path
from typing import Any

import pytest
from fakes.embedders import WordEmbedder
from fakes.retrieval_server import CHUNKING

from rag.documents.document import Document
from rag.home import IndexHome
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
