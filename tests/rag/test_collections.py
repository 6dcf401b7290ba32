import contextlib
from pathlib import Path

import sqlalchemy as sa
from fakes.embedders import WordEmbedder
from fakes.retrieval_server import CHUNKING

from rag.collections import Collections
from rag.documents.document import Document
from rag.home import IndexHome


def test_the_database_is_opened_once_however_often_the_indexes_are_looked_up(tmp_path: Path) -> None:
    num_opened = 0

    def count(*_: object) -> None:
        nonlocal num_opened
        num_opened += 1

    with contextlib.closing(Collections(IndexHome(tmp_path), WordEmbedder())) as collections:
        assert collections.states() == {}
        assert list(tmp_path.iterdir()) == []
        collections.make("faq", CHUNKING).add([Document("desk", "Desk", "The desk opens at nine.")])
        assert collections.states()["faq"].num_documents == 1
        sa.event.listen(sa.Pool, "connect", count)
        try:
            for _ in range(5):
                assert list(collections.states()) == ["faq"]
        finally:
            sa.event.remove(sa.Pool, "connect", count)
    assert num_opened == 0
    # What is closed opens again.
    assert collections.states()["faq"].num_chunks == 1
    collections.close()


def test_indexes_share_their_connections(tmp_path: Path) -> None:
    names = ["a", "b", "c"]
    num_opened = 0

    def count(*_: object) -> None:
        nonlocal num_opened
        num_opened += 1

    with contextlib.closing(Collections(IndexHome(tmp_path), WordEmbedder())) as collections:
        for name in names:
            collections.make(name, CHUNKING).add([Document("desk", "Desk", f"The desk {name} opens at nine.")])
    sa.event.listen(sa.Pool, "connect", count)
    try:
        for name in names:
            assert name in collections.open(name).search("desk", 1)[0].text
    finally:
        sa.event.remove(sa.Pool, "connect", count)
        collections.close()
    assert num_opened == 1
