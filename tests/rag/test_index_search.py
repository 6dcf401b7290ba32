"""What a search gives: modes, filters, wider passages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rag.chunking.chunk import ChunkSettings
from rag.documents.document import Document
from rag.index import Index
from rag.search.filters import MAX_COMPARISONS, parse_filter
from rag.search.settings import SearchSettings
from tests.fakes.indexes import create_index, open_index

TEXT = " ".join(f"w{n}" for n in range(12))


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str | None:
    return None if request.param == "sqlite" else request.getfixturevalue("postgres_url")


@pytest.fixture
def pieces(home: Path, embedder: Any, url: str | None) -> Index:
    """One document of four chunks of three words, and another document."""
    index = create_index(home, "pieces", embedder, ChunkSettings(3, 0), url=url)
    index.sync([Document("a", "", TEXT), Document("b", "", "other things")])
    return index


@pytest.mark.parametrize("mode", ["dense", "bm25", "hybrid"])
def test_every_mode_finds_the_chunk_that_has_the_words(index: Index, mode: Any) -> None:
    passages = index.search("late book", 2, settings=SearchSettings(mode=mode))

    assert passages[0].document_id == "fines"
    assert [passage.rank for passage in passages] == list(range(1, len(passages) + 1))


def test_a_search_by_words_embeds_nothing_and_one_by_vectors_reads_no_words(
    index: Index, home: Path, embedder: Any
) -> None:
    embedded = embedder.num_embedded

    index.search("desk", 3, settings=SearchSettings(mode="bm25"))

    assert embedder.num_embedded == embedded
    assert sorted(file.name for file in (home / "indexes" / "faq").iterdir()) == ["1.bm25", "1.faiss"]


def test_both_views_are_kept_up_once_both_are_used(index: Index) -> None:
    words = SearchSettings(mode="bm25")
    assert index.search("zebra", 3, settings=words) == ()

    index.add([Document("zoo", "", "a zebra")])

    assert index.search("zebra", 3, settings=words)[0].document_id == "zoo"
    index.delete(["zoo"])
    assert index.search("zebra", 3, settings=words) == ()


def test_a_filter_narrows_before_the_best_are_taken(home: Path, embedder: Any, url: str | None) -> None:
    index = create_index(home, "faq", embedder, ChunkSettings(20, 0), url=url)
    index.sync([Document(f"{n:03}", "", "the same words" + " x" * (n % 7), {"n": n}) for n in range(200)])

    for mode in ("dense", "bm25", "hybrid"):
        found = index.search(
            "the same words",
            5,
            settings=SearchSettings(mode=mode),
            filters=parse_filter({"type": "gte", "key": "n", "value": 197}),
        )
        assert {passage.document_id for passage in found} == {"197", "198", "199"}


def test_a_filter_of_the_last_generation_is_not_remembered(index: Index) -> None:
    first_page = parse_filter({"type": "eq", "key": "page", "value": 1})
    assert len(index.search("desk", 3, filters=first_page)) == 1

    index.add([Document("second", "", "Another page one.", {"page": 1})])

    assert len(index.search("desk", 3, filters=first_page)) == 2
    index.set_metadata("second", {})
    assert len(index.search("desk", 3, filters=first_page)) == 1


def test_filters_for_true_and_for_one_are_remembered_apart(home: Path, embedder: Any, url: str | None) -> None:
    index = create_index(home, "boats", embedder, ChunkSettings(20, 0), url=url)
    index.sync([Document("flag", "", "a boat", {"x": True}), Document("count", "", "a boat", {"x": 1})])

    for value, found in ((True, "flag"), (1, "count"), (True, "flag")):
        filters = parse_filter({"type": "eq", "key": "x", "value": value})
        assert [passage.document_id for passage in index.search("boat", 5, filters=filters)] == [found]


def test_a_filter_of_as_many_comparisons_as_may_be_is_searched(home: Path, embedder: Any, url: str | None) -> None:
    index = create_index(home, "boats", embedder, ChunkSettings(20, 0), url=url)
    index.sync([Document("a", "", "a boat", {"x": MAX_COMPARISONS - 1}), Document("b", "", "a boat")])
    parts = [{"type": "eq", "key": "x", "value": number} for number in range(MAX_COMPARISONS)]

    passages = index.search("boat", 5, filters=parse_filter({"type": "or", "filters": parts}))

    assert [passage.document_id for passage in passages] == ["a"]


def test_the_source_can_be_filtered_on(home: Path, embedder: Any, url: str | None) -> None:
    index = create_index(home, "faq", embedder, ChunkSettings(20, 0), url=url)
    index.sync([Document("a", "", "words", source="x/a.pdf"), Document("b", "", "words")])

    found = index.search("words", 5, filters=parse_filter({"type": "eq", "key": "source", "value": "x/a.pdf"}))

    assert [(passage.document_id, passage.source) for passage in found] == [("a", "x/a.pdf")]


def test_a_value_too_long_for_a_filter_is_stored_all_the_same(home: Path, embedder: Any, url: str | None) -> None:
    index = create_index(home, "faq", embedder, ChunkSettings(20, 0), url=url)
    metadata = {"long": "é" * 5000, "k" * 5000: 1, "nan": float("nan"), "huge": 10**400, "ok": 1}
    index.sync([Document("a", "", "words", metadata)])

    assert index.search("words", 1, filters=parse_filter({"type": "eq", "key": "ok", "value": 1}))[0].document_id == "a"
    assert index.search("words", 1, filters=parse_filter({"type": "eq", "key": "huge", "value": 1})) == ()


def test_neighbours_widen_a_passage_by_the_documents_own_text(pieces: Index) -> None:
    def search(neighbours: int) -> str:
        return pieces.search("w4", 1, settings=SearchSettings(neighbours=neighbours))[0].text

    assert search(0) == "w3 w4 w5"
    assert search(1) == "w0 w1 w2 w3 w4 w5 w6 w7 w8"
    assert search(20) == TEXT


def test_a_passage_within_a_better_one_is_left_out_and_the_next_takes_its_place(pieces: Index) -> None:
    passages = pieces.search("w4 w5 w6", 2, settings=SearchSettings(neighbours=20))

    assert [(passage.document_id, passage.rank) for passage in passages] == [("a", 1), ("b", 2)]


def test_a_search_gives_the_parent_of_a_chunk_once(home: Path, embedder: Any, url: str | None) -> None:
    settings = ChunkSettings(3, 0, strategy="parent_child", parent_tokens=6)
    index = create_index(home, "parents", embedder, settings, url=url)
    index.sync([Document("a", "", TEXT)])

    passages = index.search("w4", 5)

    assert passages[0].text == "w0 w1 w2 w3 w4 w5"
    assert sorted(passage.text for passage in passages) == ["w0 w1 w2 w3 w4 w5", "w6 w7 w8 w9 w10 w11"]


def test_a_passage_tells_the_page_of_each_of_its_characters(home: Path, embedder: Any, url: str | None) -> None:
    # Pages begin at w0, w2, w4 and w9, and the third has no text.
    pages = (0, 6, 12, 12, 27)
    index = create_index(home, "pages", embedder, ChunkSettings(3, 0), url=url)
    index.sync([Document("a", "", TEXT, pages=pages), Document("b", "", "other things")])

    def starts(query: str, neighbours: int = 0) -> tuple[tuple[int, int], ...]:
        return index.search(query, 1, settings=SearchSettings(neighbours=neighbours))[0].page_starts

    assert starts("w0 w1 w2") == ((0, 1), (6, 2))
    assert starts("w6 w7 w8") == starts("other things") == ()
    assert starts("w3 w4 w5") == ((0, 2), (3, 3), (3, 4))
    (passage,) = index.search("w6 w7 w8", 1, settings=SearchSettings(neighbours=1))
    assert {word: passage.page_at(passage.text.index(word)) for word in ("w3", "w4", "w8", "w9")} == {
        "w3": 2,
        "w4": 4,
        "w8": 4,
        "w9": 5,
    }
    assert passage.page == 4


def test_a_query_with_hidden_characters_finds_what_the_plain_one_finds(index: Index) -> None:
    assert index.search("de\u200bsk", 3) == index.search("desk", 3)


def test_the_indexs_own_settings_are_those_of_its_searches(
    index: Index, home: Path, embedder: Any, url: str | None
) -> None:
    strict = open_index(home, "faq", embedder, url=url, settings=SearchSettings(threshold=0.4))

    assert len(index.search("desk", 3)) == 3
    assert [passage.document_id for passage in strict.search("desk", 3)] == ["hours"]
