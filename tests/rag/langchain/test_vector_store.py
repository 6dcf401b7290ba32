import uuid
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fakes.stores import CountingStore, LetterEmbeddings
from langchain_core.vectorstores import InMemoryVectorStore

from rag.embedding.embedder import Embedder
from rag.errors import RagError
from rag.langchain.vector_store import RECIPES, Connection, connect, open_vector_store


@pytest.mark.parametrize(
    ("factory", "options", "kind"),
    [
        ("langchain_core.vectorstores:InMemoryVectorStore", {}, "InMemoryVectorStore"),
        ("fakes.stores:open_without_a_name_for_it", {"size": 3}, "InMemoryVectorStore"),
        ("qdrant", {"location": ":memory:"}, "QdrantVectorStore"),
        (
            "langchain_qdrant:QdrantVectorStore.construct_instance",
            {"client_options": {"location": ":memory:"}, "collection_name": "own-{index}"},
            "QdrantVectorStore",
        ),
    ],
)
def test_a_store_is_opened_by_recipe_or_path(factory: str, options: dict[str, object], kind: str) -> None:
    opened = open_vector_store(factory, options, LetterEmbeddings(), name="faq")
    store = opened.store
    assert type(store).__name__ == kind
    ids = ["00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"]
    opened.put(["aa", "bb"], metadatas=[{}, {}], ids=ids)
    assert store.similarity_search("b", k=1)[0].page_content == "bb"
    if kind == "QdrantVectorStore":
        assert store.collection_name == ("arbiter_faq" if factory == "qdrant" else "own-faq")
    opened.close()


def test_chroma_takes_its_graph_s_options_and_its_client_s_also_in_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    called: dict[str, dict[str, Any]] = {}

    def resolve(path: str) -> Any:
        def call(*_: object, **given: Any) -> Any:
            called[path] = given
            return SimpleNamespace(add_texts=None, close=None)

        return call

    monkeypatch.setattr("rag.langchain.vector_store.resolve", resolve)
    RECIPES["chroma"](LetterEmbeddings(), collection_name="c", path="/d", tenant="t", hnsw={"ef_search": 7})
    assert called["langchain_chroma:Chroma"]["collection_configuration"] == {"hnsw": {"ef_search": 7}}
    assert called["chromadb:PersistentClient"].items() >= {"path": "/d", "tenant": "t"}.items()


def test_collections_of_one_folder_do_not_lock_one_another_out(tmp_path: Path) -> None:
    stores = [open_vector_store("qdrant", {"path": str(tmp_path)}, LetterEmbeddings(), name=name) for name in "ab"]
    assert sorted(folder.name for folder in tmp_path.iterdir()) == ["arbiter_a", "arbiter_b"]
    for store in stores:
        store.close()


def test_a_collection_in_a_folder_is_open_once(tmp_path: Path) -> None:
    first = open_vector_store("qdrant", {"path": str(tmp_path)}, LetterEmbeddings(), name="faq")
    with pytest.raises(RagError, match=r"arbiter_faq' is open in another process; end that, or use the store's server"):
        open_vector_store("qdrant", {"path": str(tmp_path)}, LetterEmbeddings(), name="faq")
    first.close()
    open_vector_store("qdrant", {"path": str(tmp_path)}, LetterEmbeddings(), name="faq").close()
    with pytest.raises(RagError, match=r"folder .* cannot be used: Not a directory"):
        open_vector_store("qdrant", {"path": __file__}, LetterEmbeddings(), name="faq")


@pytest.mark.parametrize(
    ("factory", "options", "fault"),
    [
        ("pgvektor", {}, "'pgvektor' names nothing"),
        ("no_such_store:Store", {}, "install the package"),
        ("fakes.stores:open_number", {}, "must give a LangChain VectorStore"),
        ("qdrant", {"location": ":memory:", "url": "http://x"}, "cannot be opened"),
        ("pgvector", {}, "cannot be opened.*connection"),
    ],
)
def test_a_store_that_cannot_be_opened_is_one_line(factory: str, options: dict[str, object], fault: str) -> None:
    with pytest.raises(RagError, match=fault) as caught:
        open_vector_store(factory, options, LetterEmbeddings(), name="faq")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("recipe", "package", "options"),
    [
        ("pgvector", "langchain-postgres", {"connection": "postgresql+psycopg://user:s3cret@127.0.0.1:9/x"}),
        ("chroma", "langchain-chroma", {}),
        ("milvus", "langchain-milvus", {"uri": "http://127.0.0.1:9"}),
    ],
)
def test_a_recipe_whose_package_is_missing_says_so(recipe: str, package: str, options: dict[str, object]) -> None:
    assert recipe in RECIPES
    if find_spec(package.replace("-", "_")) is not None:
        pytest.skip(f"{package} is installed")
    with pytest.raises(RagError, match=f"install the package that holds it: pip install {package}$"):
        open_vector_store(recipe, options, LetterEmbeddings(), name="faq")


IN_MEMORY = "langchain_core.vectorstores:InMemoryVectorStore"
NUMBERS = np.array([2, 3, 2**62], dtype=np.int64)


@pytest.fixture
def vectors(embedder: Embedder) -> np.ndarray:
    return embedder.embed(["one", "two", "three"])


@pytest.mark.parametrize(
    ("factory", "options"),
    [(IN_MEMORY, {}), ("qdrant", {"location": ":memory:"})],
)
def test_vectors_are_found_by_number_until_they_are_removed(
    factory: str, options: dict[str, object], embedder: Embedder, vectors: np.ndarray
) -> None:
    connection = connect(factory, options, name="faq", embedder=embedder)
    for _ in range(2):
        connection.add(NUMBERS, vectors)
        assert connection.nearest(vectors[2], 1).tolist() == [2**62]
        assert connection.nearest(vectors[2], 9).tolist() == NUMBERS.tolist()
    for _ in range(2):
        connection.remove(NUMBERS[1:])
        assert connection.nearest(vectors[2], 9).tolist() == [2]
    connection.close()


def test_a_number_is_an_id_that_every_store_takes(embedder: Embedder, vectors: np.ndarray) -> None:
    connection = connect(IN_MEMORY, {}, name="faq", embedder=embedder)
    connection.add(NUMBERS, vectors)
    assert isinstance(connection._store, InMemoryVectorStore)
    assert [uuid.UUID(key).int % 2**64 for key in connection._store.store] == NUMBERS.tolist()


def test_collections_that_share_a_table_do_not_share_ids(embedder: Embedder) -> None:
    places = [({}, "faq"), ({}, "library"), ({"collection_name": "own_{index}"}, "faq")]
    ids = set()
    for options, name in places:
        connection = Connection("qdrant", {"location": ":memory:", **options}, name=name, embedder=embedder)
        ids.update(connection._store_ids([1]))
        connection.close()
    assert len(ids) == 3


def test_what_is_there_is_not_sent_again(embedder: Embedder, vectors: np.ndarray) -> None:
    connection = connect("fakes.stores:CountingStore", {}, name="faq", embedder=embedder)
    assert isinstance(connection._store, CountingStore)
    connection.add(NUMBERS[:2], vectors[:2])
    connection.add(NUMBERS, vectors)
    assert connection._store.num_added == 3
    # A number of a restored database may come again with another vector.
    connection.add(NUMBERS[:1], vectors[2:])
    assert connection._store.num_added == 4
    assert connection.nearest(vectors[0], 3).tolist() == NUMBERS.tolist()
    assert connection.nearest(vectors[2], 2).tolist() == [NUMBERS[0], NUMBERS[2]]


def test_more_than_a_batch_is_added_whole(embedder: Embedder) -> None:
    connection = connect(IN_MEMORY, {}, name="faq", embedder=embedder)
    numbers = np.arange(600, dtype=np.int64)
    vectors = np.eye(600, dtype=np.float32)
    connection.add(numbers, vectors)
    assert [connection.nearest(vectors[n], 1).tolist() for n in (0, 255, 256, 599)] == [[0], [255], [256], [599]]
    connection.remove(numbers[:599])
    assert connection.nearest(vectors[0], 600).tolist() == [599]


def test_a_folder_is_shared_until_the_last_one_closes_it(
    tmp_path: Path, embedder: Embedder, vectors: np.ndarray
) -> None:
    options = {"path": str(tmp_path)}
    first = connect("qdrant", options, name="faq", embedder=embedder)
    second = connect("qdrant", options, name="faq", embedder=embedder)
    first.add(NUMBERS, vectors)
    first.close()
    assert second.nearest(vectors[0], 1).tolist() == [2]
    second.close()
    third = connect("qdrant", options, name="faq", embedder=embedder)
    assert third.nearest(vectors[0], 1).tolist() == [2]
    third.close()


def test_a_store_that_lacks_what_an_index_needs_is_refused(embedder: Embedder, vectors: np.ndarray) -> None:
    connection = connect("fakes.stores:TextOnlyStore", {}, name="faq", embedder=embedder)
    connection.add(NUMBERS, vectors)
    needed: list[Callable[[], object]] = [lambda: connection.nearest(vectors[0], 1), lambda: connection.remove(NUMBERS)]
    for call in needed:
        with pytest.raises(RagError, match="lacks a search by vector or a deletion by id; use another one"):
            call()
