from pathlib import Path

import numpy as np
import pytest
from fakes.stores import LetterEmbeddings
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import InMemoryVectorStore

from rag.chunking.chunk import ChunkSettings
from rag.documents.document import Document
from rag.embedding.embedder import Embedder
from rag.errors import RagError
from rag.langchain.embeddings import ArbiterEmbeddings, LangChainEmbedder, open_embedder
from tests.fakes.indexes import create_index, open_index


def test_vectors_are_float32_unit_rows_in_the_order_of_the_texts() -> None:
    embedder: Embedder = LangChainEmbedder(LetterEmbeddings(scale=7.0), name="letters", batch_size=2)
    done: list[tuple[int, int]] = []
    rows = embedder.embed(["aab", "c", "bbbb"], progress=lambda *seen: done.append(seen))
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, [[2 / 5**0.5, 1 / 5**0.5, 0], [0, 0, 1], [0, 1, 0]], atol=1e-6)
    np.testing.assert_allclose(embedder.embed_query("aab"), rows[0], atol=1e-6)
    assert (embedder.name, embedder.dimension, done) == ("letters", 3, [(2, 3), (3, 3)])
    assert embedder.embed([]).shape == (0, 3)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("When does it open?", ["When", "does", "it", "open", "?"]),
        ("internationally", ["inte", "rnat", "iona", "lly"]),
        ("図書館 open", ["図", "書", "館", "open"]),
        (" \n", []),
    ],
)
def test_tokens_are_approximated(text: str, tokens: list[str]) -> None:
    embedder = LangChainEmbedder(LetterEmbeddings(), name="letters")
    (spans,) = embedder.token_spans([text])
    assert [text[start:end] for start, end in spans] == tokens


class Given(Embeddings):
    def __init__(self, rows: object) -> None:
        self.rows = rows

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        if isinstance(self.rows, Exception):
            raise self.rows
        return self.rows  # type: ignore[return-value]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        ([[0.0, 0.0]], "zero or not finite"),
        ([[float("nan"), 1.0]], "zero or not finite"),
        ([[1.0], [1.0]], "one vector a text"),
        ([], "one vector a text"),
        ([[1.0, 2.0], [1.0]], "failed"),
        (ConnectionError("refused"), r"embeddings 'given' failed \(ConnectionError: refused\); see that"),
    ],
)
def test_what_is_no_vector_is_refused(rows: object, fault: str) -> None:
    with pytest.raises(RagError, match=fault):
        LangChainEmbedder(Given(rows), name="given").embed(["a"])


class Growing(Embeddings):
    """Another model answers from the second call on."""

    num_calls = 0

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.num_calls += 1
        return [[1.0] * self.num_calls for _ in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


def test_vectors_of_different_lengths_are_refused_also_where_they_come_in_two_batches() -> None:
    with pytest.raises(RagError, match="embeddings 'two' gave vectors of different lengths"):
        LangChainEmbedder(Growing(), name="two", batch_size=1).embed(["a", "b"])


def test_a_vector_of_zeros_has_a_length_too() -> None:
    # A model that counts words knows none of a text that it has not seen.
    assert LangChainEmbedder(Given([[0.0, 0.0]]), name="given").dimension == 2


def test_an_index_is_built_and_searched_with_langchain_embeddings(home: Path) -> None:
    embedder = LangChainEmbedder(LetterEmbeddings(), name="letters@1")
    index = create_index(home, "letters", embedder, ChunkSettings(20, 0))
    index.sync([Document("x", "", "a a a"), Document("y", "", "c b c")])
    assert [passage.document_id for passage in index.search("c", 1)] == ["y"]
    index.close()
    with pytest.raises(RagError, match="built with embedder 'letters@1', not 'letters@2'"):
        open_index(home, "letters", LangChainEmbedder(LetterEmbeddings(), name="letters@2"))


def test_our_embedder_serves_a_langchain_store(embedder: Embedder) -> None:
    store = InMemoryVectorStore(ArbiterEmbeddings(embedder))
    store.add_texts(["the desk opens at nine", "the boat leaves at noon"])
    assert store.similarity_search("when does the boat leave", k=1)[0].page_content == "the boat leaves at noon"


def test_an_embedder_is_opened_by_its_path_and_named_after_it() -> None:
    embedder = open_embedder("fakes.stores:LetterEmbeddings", {"scale": 2.0})
    assert embedder.name.startswith("fakes.stores:LetterEmbeddings@")
    assert embedder.name != open_embedder("fakes.stores:LetterEmbeddings", {"scale": 3.0}).name
    assert open_embedder("fakes.stores:LetterEmbeddings", {}, name="letters").name == "letters"
    with pytest.raises(RagError, match="must give LangChain Embeddings"):
        open_embedder("datetime:timedelta", {})
