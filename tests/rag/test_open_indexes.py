import contextlib
from pathlib import Path

import sqlalchemy as sa
from fakes.embedders import WordEmbedder
from fakes.retrieval_server import CHUNKING

from rag.documents.document import Document
from rag.home import IndexHome
from rag.open_indexes import OpenIndexes


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
