import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fakes.stores import CountingStore
from langchain_core.vectorstores import InMemoryVectorStore

from rag.embedding.embedder import Embedder
from rag.errors import RagError
from rag.langchain.connection import Connection, connect

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
