"""Indexes over real vector stores: Qdrant, and Chroma, Milvus Lite and pgvector where their packages are installed."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from rag.chunking.chunk import ChunkSettings
from rag.documents.document import Document
from rag.embedding.embedder import Embedder
from rag.home import IndexHome
from rag.index import Index
from rag.langchain.embeddings import ArbiterEmbeddings
from rag.langchain.store_view import StoreViews
from rag.langchain.vector_store import open_vector_store
from rag.search.filters import parse_filter
from rag.search.settings import SearchSettings

MODULES = {
    "qdrant": ["langchain_qdrant"],
    "chroma": ["langchain_chroma"],
    "milvus": ["langchain_milvus", "milvus_lite"],
    "pgvector": ["langchain_postgres"],
}
ROOT = Path(__file__).parents[3]
Store = tuple[str, dict[str, Any]]


@pytest.fixture(params=MODULES)
def store(request: pytest.FixtureRequest, home: Path) -> Store:
    for module in MODULES[request.param]:
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    if request.param == "pgvector":
        url = request.getfixturevalue("postgres_url")
        _need_pgvector(request.getfixturevalue("postgres_server"))
        return "pgvector", {"connection": url}
    return request.param, {"path": str(home / "store")}


def _need_pgvector(server: str) -> None:
    import psycopg

    with psycopg.connect(host=server, user="postgres", dbname="postgres") as connection:
        found = connection.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'").fetchone()
    if found is None:
        pytest.skip("the PostgreSQL here has no extension vector")


def library(count: int) -> list[Document]:
    return [Document(f"d{i}", f"Title {i}", f"shelf {i} holds book {i * i}", {"floor": i % 4}) for i in range(count)]


def opened(home: Path, embedder: Embedder, store: Store | None) -> Index:
    name, options = store or ("", {})
    return IndexHome(home, store=name, store_options=options).create("faq", embedder, ChunkSettings(20, 0))


def hits(index: Index, query: str, k: int = 5, **rest: Any) -> list[tuple[str, float]]:
    """Document ids and scores; of the last score, which other documents may have as well, no ids."""
    passages = index.search(query, k, **rest)
    last = passages[-1].score
    return [("" if p.score - last < 1e-6 else p.document_id, round(p.score, 5)) for p in passages]


@pytest.mark.slow
def test_an_index_over_a_store_finds_what_one_over_faiss_finds(
    home: Path, tmp_path: Path, embedder: Embedder, store: Store
) -> None:
    theirs, ours = opened(home, embedder, store), opened(tmp_path / "faiss", embedder, None)
    for index in (theirs, ours):
        index.sync(library(20))
        index.add([Document("new", "New", "shelf 99 holds an atlas", {"floor": 2})])
        index.delete(["d3", "d4"])
        index.add([Document("d5", "Five", "shelf 5 was cleared", {"floor": 1})])
    second_floor = parse_filter({"type": "eq", "key": "floor", "value": 2})
    for query in ("shelf 7", "atlas", "cleared book"):
        assert hits(theirs, query) == hits(ours, query)
        assert hits(theirs, query, filters=second_floor) == hits(ours, query, filters=second_floor)
        for search in (SearchSettings(mode="hybrid"), SearchSettings(mmr=0.5), SearchSettings(neighbours=1)):
            assert hits(theirs, query, settings=search) == hits(ours, query, settings=search)
    assert "d3" not in {passage.document_id for passage in theirs.search("shelf 3", 20)}
    report = theirs.verify()
    assert (report.is_sound, report.recall) == (True, 1.0)
    theirs.close()
    ours.close()


def test_an_index_goes_on_with_the_store_it_finds_and_embeds_nothing_again(
    home: Path, make_embedder: type, store: Store
) -> None:
    index = opened(home, make_embedder(), store)
    index.sync(library(30))
    index.close()
    second = make_embedder()
    again = opened(home, second, store)
    assert again.sync(library(30)).embedded_chunks == 0
    assert again.search("shelf 7 book 49", 1)[0].document_id == "d7"
    # The query, and the dummy text by which the store learns how long a vector is.
    assert second.num_embedded <= 2
    again.close()


def test_an_index_that_is_embedded_anew_with_longer_vectors_is_searched(
    home: Path, make_embedder: type, store: Store
) -> None:
    for dimension in (64, 96):
        embedder = make_embedder(f"fake@{dimension}", dimension)
        index = opened(home, embedder, store)
        index.sync(library(12))
        assert index.search("shelf 7 book 49", 1)[0].document_id == "d7"
        index.close()


def test_a_store_that_never_heard_of_a_change_is_told_when_it_is_opened(
    home: Path, embedder: Embedder, store: Store
) -> None:
    for kept, number in ((store, 12), (None, 20), (store, 20)):
        index = opened(home, embedder, kept)
        index.sync(library(number)[number - 12 :])
        assert {p.document_id for p in index.search("shelf", 20)} == {f"d{i}" for i in range(number - 12, number)}
        index.close()


def test_an_index_is_open_twice_in_one_process(home: Path, embedder: Embedder, store: Store) -> None:
    one, other = opened(home, embedder, store), opened(home, embedder, store)
    one.sync(library(12))
    assert other.search("shelf 7 book 49", 1)[0].document_id == "d7"
    other.add([Document("new", "", "an atlas")])
    assert one.search("atlas", 1)[0].document_id == "new"
    one.close()
    other.delete(["d7"])
    assert other.search("shelf 7 book 49", 1)[0].document_id != "d7"
    other.close()


def test_a_dropped_index_leaves_nothing_in_the_store(home: Path, embedder: Embedder, store: Store) -> None:
    index = opened(home, embedder, store)
    index.sync(library(10))
    index.close()
    index = opened(home, embedder, store)
    index.drop()
    index.close()
    left = opened(home, embedder, store)
    assert isinstance(left._other_store, StoreViews)
    assert left._other_store.nearest(embedder.embed_query("shelf 7"), 20).tolist() == []
    left.close()


@pytest.mark.slow
def test_a_store_in_a_folder_is_one_process_s_until_it_is_closed(home: Path, embedder: Embedder, store: Store) -> None:
    if "path" not in store[1]:
        pytest.skip("a server is shared")
    open_it = f"""
from rag.langchain.vector_store import open_vector_store
from langchain_core.embeddings import DeterministicFakeEmbedding
open_vector_store({store[0]!r}, {store[1]!r}, DeterministicFakeEmbedding(size=8), name="faq").close()
"""
    opened = open_vector_store(*store, ArbiterEmbeddings(embedder), name="faq")
    command = [sys.executable, "-c", open_it]
    refused = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert "arbiter_faq' is open in another process; end that" in refused.stderr.splitlines()[-1]
    opened.close()


def test_a_store_that_lost_everything_is_filled_again_from_the_rows(home: Path, make_embedder: type) -> None:
    in_memory = "qdrant", {"location": ":memory:"}
    index = opened(home, make_embedder(), in_memory)
    index.sync(library(30))
    assert index.search("shelf 7 book 49", 1)[0].document_id == "d7"
    index.close()
    again = opened(home, make_embedder(), in_memory)
    assert again.search("shelf 7 book 49", 1)[0].document_id == "d7"
    assert again.verify().recall == 1.0
    again.close()
